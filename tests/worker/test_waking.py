"""An idle worker sleeps until there is something to do, and is awake within milliseconds then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from redjobs import Queue, call, commands
from redjobs.keys import BELL, Keys
from tests.servers import Server
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.conftest import Burst
from tests.worker.runs import Runs

pytestmark = pytest.mark.timeout(30, method="thread")

#: A worker that nobody wakes looks by itself after this long, here.
BLOCK_SECONDS = 20.0
#: Late is who needs longer than this: much more than is normal, and much less than the above.
LATE_MS = 3_000


@pytest.fixture(autouse=True)
def sound_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redjobs.worker.link.BLOCK_SECONDS", BLOCK_SECONDS)


@pytest.fixture
def asleep(server: Server, burst: Burst) -> Callable[..., None]:
    """Let a worker fall asleep, do something then, and return when it has been idle for a while."""

    def run(action: Callable[[], Any], blocked: int = 1, **options: Any) -> None:
        def act() -> None:
            wait_until(lambda: server.client().info("clients")["blocked_clients"] == blocked)
            action()

        thread = threading.Thread(target=act)
        thread.start()
        burst(burst=False, **{"max_idle": 1.0, **options})
        thread.join()

    return run


Asleep = Callable[..., None]


def lateness(runs: Runs) -> list[int]:
    """Milliseconds between the time when each job was due and its start."""
    return [int(text) for text in runs.texts()]


def in_ms(ms: int) -> timedelta:
    return timedelta(milliseconds=ms)


def test_a_new_job_wakes_it(queue: Queue, asleep: Asleep, runs: Runs) -> None:
    asleep(lambda: queue.enqueue(handlers.moments))
    (late_ms,) = lateness(runs)
    assert late_ms < LATE_MS


def test_a_job_of_another_priority_wakes_it(queue: Queue, asleep: Asleep, runs: Runs) -> None:
    asleep(lambda: queue.options(priority=5).enqueue(handlers.moments))
    (late_ms,) = lateness(runs)
    assert late_ms < LATE_MS


def test_the_first_scheduled_job_wakes_it(queue: Queue, asleep: Asleep, runs: Runs) -> None:
    asleep(lambda: queue.enqueue_in(in_ms(200), handlers.moments))
    (late_ms,) = lateness(runs)
    assert 0 <= late_ms < LATE_MS


@pytest.mark.parametrize("priority", [0, 5])
def test_a_job_that_is_due_before_all_it_knows_wakes_it(
    queue: Queue, asleep: Asleep, runs: Runs, priority: int
) -> None:
    queue.enqueue_in(timedelta(hours=1), handlers.moments)
    asleep(lambda: queue.options(priority=priority).enqueue_in(in_ms(200), handlers.moments))
    (late_ms,) = lateness(runs)
    assert 0 <= late_ms < LATE_MS


def test_a_job_that_is_rescheduled_to_the_front_wakes_it(queue: Queue, asleep: Asleep, runs: Runs) -> None:
    queue.enqueue_in(timedelta(hours=1), handlers.moments)
    job = queue.enqueue_in(timedelta(hours=2), handlers.moments)
    asleep(lambda: queue.reschedule(job.id, in_ms(200)))
    (late_ms,) = lateness(runs)
    assert 0 <= late_ms < LATE_MS


def test_a_dead_job_that_is_requeued_wakes_it(queue: Queue, asleep: Asleep, burst: Burst, runs: Runs) -> None:
    job = queue.options(max_attempts=1, priority=5).enqueue(handlers.fail_until, 2)
    burst()
    before = time.monotonic()
    asleep(lambda: queue.requeue(job.id))
    assert runs.count("start") == 2
    assert time.monotonic() - before < BLOCK_SECONDS / 2


def test_it_wakes_by_itself_when_a_job_falls_due(queue: Queue, burst: Burst, runs: Runs) -> None:
    for ms in (200, 300, 400):
        queue.enqueue_in(in_ms(ms), handlers.moments)
    burst(burst=False, max_idle=0.5)
    assert len(lateness(runs)) == 3
    assert all(0 <= late_ms < LATE_MS for late_ms in lateness(runs))


def test_of_very_many_that_fall_due_a_few_are_begun_first(
    queue: Queue, asleep: Asleep, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one does not wait for its whole batch; the others come by the batch."""
    sizes: list[int] = []
    begin = commands.begin

    def noted(keys: Keys, worker: str, token: str, ids: list[str], solo: int = 0) -> Any:
        sizes.append(len(ids))
        return begin(keys, worker, token, ids, solo)

    monkeypatch.setattr(commands, "begin", noted)
    queue.enqueue_many(call(handlers.record) for _ in range(100))  # it learns that jobs here are short

    def plan() -> None:
        sizes.clear()
        moment = time.time() + 0.5
        queue.enqueue_many(call(handlers.record).at(moment) for _ in range(300))

    asleep(plan)
    assert runs.count("start") == 400
    first, *others = sizes
    assert first <= 8
    assert max(others) > 50


def test_a_retry_wakes_it_when_it_is_due(queue: Queue, burst: Burst, runs: Runs) -> None:
    queue.enqueue_in(timedelta(hours=1), handlers.moments)
    queue.options(backoff=0.2).enqueue(handlers.fail_until, 2)
    before = time.monotonic()
    burst(burst=False, max_idle=0.5)
    assert runs.texts("start") == ["1", "2"]
    assert time.monotonic() - before < BLOCK_SECONDS / 2


def test_each_of_several_queues_wakes_it(asleep: Asleep, server: Server, runs: Runs) -> None:
    names = ("a", "b")
    for name in names:
        queue = Queue(name, url=server.url)

        def enqueue(queue: Queue = queue) -> None:
            queue.enqueue(handlers.moments)

        asleep(enqueue, blocked=2, queues=names)
        queue.close()
    assert len(lateness(runs)) == 2
    assert all(late_ms < LATE_MS for late_ms in lateness(runs))


def test_a_worker_of_other_priorities_looks_now_and_then(queue: Queue, asleep: Asleep, runs: Runs) -> None:
    """It cannot block on priority 0, which is not its own, so nothing wakes it."""

    def enqueue_both() -> None:
        wait_until(lambda: queue.redis.zcard(queue.keys.workers) == 1)
        queue.enqueue(handlers.record, "not for it")
        queue.options(priority=5).enqueue(handlers.moments)

    asleep(enqueue_both, blocked=0, min_priority=1)
    (late_ms,) = lateness(runs)
    assert late_ms < LATE_MS


def test_a_bell_is_no_job_and_does_not_stay(queue: Queue, burst: Burst, runs: Runs) -> None:
    queue.options(priority=5).enqueue(handlers.record, "5")
    assert queue.redis.lrange(queue.keys.ready, 0, -1) == [BELL.encode()]
    burst()
    assert runs.texts() == ["5"]
    assert queue.redis.llen(queue.keys.ready) == 0


@pytest.mark.slow
def test_a_server_that_is_left_alone_is_asked_seldom(queue: Queue, server: Server, asleep: Asleep) -> None:
    def commands() -> int:
        return int(server.client().info("stats")["total_commands_processed"])

    counts = []

    def watch() -> None:
        counts.append(commands())
        time.sleep(0.5)  # half a second of idleness is what is looked at
        counts.append(commands())

    asleep(watch, max_idle=0.8, lease=15.0)
    assert counts[1] - counts[0] < 100  # what scripts call is counted, too
