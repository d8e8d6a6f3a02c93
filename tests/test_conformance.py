"""The whole API on Valkey, on Redis and on fakeredis, from ordinary code and from coroutines: the same.

So what a user tests with fakeredis holds on a server. What fakeredis cannot tell is listed in
docs/testing.md; workers, and whatever blocks, are tested on real servers only.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import UUID

import fakeredis
import pytest
import redis.asyncio

from redjobs import (
    AsyncQueue,
    HandlerError,
    Job,
    JobFailed,
    JobNotFound,
    PayloadError,
    Queue,
    ResultTimeout,
    SettingsError,
    State,
    Verdict,
    call,
    commands,
)
from redjobs.access import Role
from redjobs.commands import Command, Finished
from redjobs.ids import new_id
from redjobs.jobs import Claim, JobError, append_error
from redjobs.keys import queues_key
from tests.servers import Server, protocol
from tests.waiting import wait_until

pytestmark = pytest.mark.fakeredis

T = TypeVar("T")
SOON = timedelta(hours=1)
NOON = datetime(2090, 1, 1, 12, tzinfo=UTC)


def remind(user_id: int, template: str = "gentle") -> None:
    """A function that can be a job."""


def anything(value: object) -> None:
    """A function that takes any value."""


class Blocking:
    """An AsyncQueue whose methods are awaited by the test's event loop."""

    def __init__(self, queue: AsyncQueue, runner: asyncio.Runner) -> None:
        self._queue = queue
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._queue, name)
        if name == "options":
            return lambda **options: Blocking(self._queue.options(**options), self._runner)
        if not inspect.iscoroutinefunction(value):
            return value
        return lambda *args, **kwargs: self._runner.run(value(*args, **kwargs))


def async_client(server: Server) -> redis.asyncio.Redis:
    if server.real:
        return redis.asyncio.Redis(unix_socket_path=str(server.socket), **protocol())
    fake = server.client().connection_pool.connection_kwargs["server"]
    client: redis.asyncio.Redis = fakeredis.FakeAsyncRedis(server=fake)
    return client


@pytest.fixture(params=["sync", "async"])
def queue(server: Server, request: pytest.FixtureRequest) -> Iterator[Queue]:
    """A queue of either kind, with a client as a user would make it."""
    if request.param == "sync":
        yield Queue("mail", client=server.client_as(Role.ADMIN))
        return
    with asyncio.Runner() as runner:
        asynchronous = AsyncQueue("mail", client=async_client(server))
        yield cast(Queue, Blocking(asynchronous, runner))
        runner.run(asynchronous.close())


class Worker:
    """Does what a worker does to one job at a time, step by step."""

    def __init__(self, server: Server, queue: Queue) -> None:
        self.redis = server.client_as(Role.WORKER)
        self.queue = queue
        self.run(commands.heartbeat(queue.keys, ["w1"], 60_000, register=True))

    def run(self, command: Command[T]) -> T:
        script, keys = command.script, command.keys
        return command.parse(self.redis.eval(script.text, len(keys), *keys, *command.args))

    def begin(self) -> Claim:
        """Take the next job and begin it."""
        taken = self.run(commands.take(self.queue.keys, "w1", 1, (-10, 5, 10)))
        (claim,) = self.run(commands.begin(self.queue.keys, "w1", "t1", taken.ids)).claims
        return claim

    def complete(self, claim: Claim, result: object = None, result_ttl_ms: int = 0) -> None:
        packed = self.queue.registry.codec.encode(result)
        done = Finished(claim.id, claim.key, result_ttl_ms, packed if result_ttl_ms else b"")
        assert self.run(commands.complete(self.queue.keys, "w1", "t1", [done])) == []

    def bury(self, claim: Claim, reason: str = "ValueError: no such user") -> None:
        errors = append_error(claim.errors, JobError(claim.started_at_ms, claim.attempt, reason))
        assert self.run(commands.bury(self.queue.keys, claim, errors)) == "dead"

    def order(self) -> list[str]:
        """Take and complete all that is due: ids in the order they were begun."""
        ids = []
        while self.run(commands.take(self.queue.keys, "w1", 0, (-10, 5, 10))).more:
            claim = self.begin()
            self.complete(claim)
            ids.append(claim.id)
        return ids


@pytest.fixture
def worker(server: Server, queue: Queue) -> Worker:
    return Worker(server, queue)


# Enqueue --------------------------------------------------------------------------------------


def test_a_job_comes_back_as_it_was_enqueued(queue: Queue) -> None:
    job = queue.enqueue(remind, 7, template="firm")
    assert (job.state, job.queue, job.name) == (State.READY, "mail", f"{__name__}:remind")
    assert job.run_at == job.enqueued_at
    assert queue.get(job.id) == job
    assert queue.arguments(job) == ((7,), {"template": "firm"})


def test_jobs_are_begun_in_the_order_they_were_enqueued(queue: Queue, worker: Worker) -> None:
    ids = [queue.enqueue(remind, number).id for number in range(10)]
    assert worker.order() == ids


@pytest.mark.parametrize(
    "value",
    [
        None,
        -(2**63),
        2**64 - 1,
        1.5,
        "ÿ🎉\0",
        b"\xff\0",
        [1, [2]],
        (1, 2),
        {"a": {"b": 1}},
        {1, 2},
        NOON,
        date(2090, 1, 1),
        time(12, 30),
        SOON,
        Decimal("1.10"),
        UUID(int=7),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_arrive_equal_and_of_the_same_type(queue: Queue, worker: Worker, value: object) -> None:
    queue.enqueue(anything, value)
    args, _ = queue.registry.codec.decode_call(worker.begin().payload)
    assert args == (value,)
    assert type(args[0]) is type(value)


def test_both_forms_of_enqueue_in(queue: Queue) -> None:
    jobs = [
        queue.enqueue_in(timedelta(days=3), remind, 7, "firm"),
        queue.enqueue_in(days=3, fn=remind, args=(7, "firm")),
        queue.enqueue_in(hours=72, fn=remind, args=(7,), kwargs={"template": "firm"}),
    ]
    for job in jobs:
        assert job.state is State.SCHEDULED
        assert job.run_at - job.enqueued_at == timedelta(days=3)
        assert queue.get(job.id) == job
    assert [len(queue.arguments(job)[0]) for job in jobs] == [2, 2, 1]


def test_both_forms_of_enqueue_at(queue: Queue) -> None:
    for job in (
        queue.enqueue_at(NOON, remind, 7),
        queue.enqueue_at(at=NOON, fn=remind, args=(7,)),
        queue.enqueue_at(NOON.timestamp(), remind, 7),
    ):
        assert job.run_at == NOON
        assert queue.get(job.id) == job


def test_the_past_is_now(queue: Queue, worker: Worker) -> None:
    first = queue.enqueue_at(datetime(2001, 1, 1, tzinfo=UTC), remind, 7)
    second = queue.enqueue_in(timedelta(days=-1), remind, 7)
    assert first.state is second.state is State.READY
    assert worker.order() == [first.id, second.id]


def test_many_calls_go_together(queue: Queue) -> None:
    jobs = queue.enqueue_many(call(remind, number).in_(number) for number in range(1, 1_002))
    assert len({job.id for job in jobs}) == 1_001
    assert jobs[-1].run_at - jobs[-1].enqueued_at == timedelta(seconds=1_001)
    assert queue.get(jobs[-1].id) == jobs[-1]
    assert queue.enqueue_many([]) == []


def test_what_cannot_be_a_job_is_refused_before_anything_is_sent(queue: Queue) -> None:
    with pytest.raises(HandlerError):
        queue.enqueue(lambda: None)
    with pytest.raises(PayloadError):
        queue.enqueue(remind)  # type: ignore[call-arg]
    with pytest.raises(PayloadError):
        queue.enqueue(anything, object())
    with pytest.raises(SettingsError):
        queue.enqueue_in("tomorrow", remind, 7)  # type: ignore[call-overload]
    with pytest.raises(SettingsError):
        queue.options(priority="high")  # type: ignore[arg-type]


def test_the_queue_is_known_by_name(queue: Queue, server: Server) -> None:
    queue.enqueue(remind, 7)
    queue.options(queue="post").enqueue(remind, 7)
    assert server.client().smembers(queues_key()) == {b"mail", b"post"}


def test_queues_are_separate(queue: Queue) -> None:
    post = queue.options(queue="post")
    job = post.enqueue(remind, 7)
    assert (post.name, job.queue) == ("post", "post")
    assert post.get(job.id) == job
    with pytest.raises(JobNotFound):
        queue.get(job.id)


@pytest.mark.parametrize(
    "options",
    [
        {"priority": 0},
        {"priority": 5, "key": "a"},
        {"max_attempts": 3, "backoff": [1, 2.5], "timeout": SOON, "result_ttl": 0.5},
        {"queue": "mail"},
    ],
)
def test_options_come_back_as_they_were_said(queue: Queue, options: dict[str, Any]) -> None:
    for job in (
        queue.options(**options).enqueue(remind, 7),
        queue.options(**options).enqueue_in(SOON, remind, 7),
    ):
        assert queue.get(job.id) == replace(job, created=True)


def test_a_handler_enqueues_itself(queue: Queue) -> None:
    handler = queue.job(max_attempts=3, priority=5)(remind)
    assert inspect.iscoroutinefunction(handler.enqueue) == isinstance(queue, Blocking)
    job = queue.enqueue(handler, 7)
    assert (job.name, job.priority) == (f"{__name__}:remind", 5)


# Priorities -----------------------------------------------------------------------------------


def test_lower_priorities_go_first_and_equal_ones_in_their_order(queue: Queue, worker: Worker) -> None:
    order = {
        priority: [queue.options(priority=priority).enqueue(remind, number).id for number in range(2)]
        for priority in (10, 0, -10, 5)
    }
    assert worker.order() == [*order[-10], *order[0], *order[5], *order[10]]


def test_a_scheduled_job_keeps_its_priority(queue: Queue, worker: Worker) -> None:
    late = queue.enqueue(remind, 7)
    urgent = queue.options(priority=-10).enqueue_in(SOON, remind, 7)
    assert urgent.priority == queue.get(urgent.id).priority == -10
    assert queue.get(urgent.id) == urgent
    queue.reschedule(urgent.id, 0)
    assert worker.order() == [urgent.id, late.id]


# Unique keys ----------------------------------------------------------------------------------


def test_a_key_is_held_by_one_job(queue: Queue) -> None:
    keyed = queue.options(key="reminder:7")
    first = keyed.enqueue_in(SOON, remind, 7)
    second = keyed.enqueue(remind, 8)
    assert (first.created, second.created) == (True, False)
    assert queue.get("reminder:7") == first
    assert queue.get(second.id) == first
    assert queue.options(key="reminder:8").enqueue(remind, 8).created


def test_a_key_is_held_within_one_call_too(queue: Queue) -> None:
    jobs = queue.enqueue_many(call(remind, n).with_options(key=f"k{n % 2}") for n in range(4))
    assert [job.created for job in jobs] == [True, True, False, False]
    assert [job.id for job in jobs[2:]] == [job.id for job in jobs[:2]]


@pytest.mark.parametrize("end", ["complete", "result", "bury", "cancel"])
def test_a_key_is_free_when_its_job_is_over(queue: Queue, worker: Worker, end: str) -> None:
    keyed = queue.options(key="reminder:7")
    first = keyed.enqueue(remind, 7)
    if end == "cancel":
        assert queue.cancel("reminder:7")
    elif end == "bury":
        worker.bury(worker.begin())
    else:
        worker.complete(worker.begin(), result_ttl_ms=60_000 if end == "result" else 0)
    with pytest.raises(JobNotFound):
        queue.get("reminder:7")
    second = keyed.enqueue(remind, 7)
    assert second.created and second.id != first.id


def test_a_key_is_held_while_its_job_runs(queue: Queue, worker: Worker) -> None:
    keyed = queue.options(key="reminder:7")
    first = keyed.enqueue(remind, 7)
    claim = worker.begin()
    second = keyed.enqueue(remind, 7)
    assert (second.id, second.created, second.state) == (first.id, False, State.PROCESSING)
    worker.complete(claim)


@pytest.mark.parametrize("key", ["{other}", "}", "a:b", "é\0\n", "k" * 512])
def test_any_text_is_a_key(queue: Queue, key: str) -> None:
    job = queue.options(key=key).enqueue(remind, 7)
    assert queue.get(key) == job
    assert job.key == key
    assert queue.cancel(key)


# Get ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["", "reminder:7", "no such job", new_id(), new_id(5)],
    ids=["nothing", "a key", "a text", "an id", "with a priority"],
)
def test_what_is_not_there_is_not_found(queue: Queue, name: str) -> None:
    with pytest.raises(JobNotFound, match="in queue 'mail'"):
        queue.get(name)
    assert queue.cancel(name) is Verdict.NOT_FOUND
    assert queue.reschedule(name, SOON) is Verdict.NOT_FOUND
    assert queue.requeue(name) is Verdict.NOT_FOUND
    assert queue.delete(name) is Verdict.NOT_FOUND
    with pytest.raises(JobNotFound):
        queue.result(name)


def test_a_job_shows_who_runs_it(queue: Queue, worker: Worker) -> None:
    job = queue.options(timeout=30, max_attempts=3).enqueue(remind, 7)
    claim = worker.begin()
    running = queue.get(job.id)
    assert (running.state, running.worker, running.attempt) == (State.PROCESSING, "w1", 1)
    assert running.started_at_ms == claim.started_at_ms
    assert (running.options.timeout, running.options.max_attempts) == (30, 3)
    worker.complete(claim)
    with pytest.raises(JobNotFound):
        queue.get(job.id)


def test_a_dead_job_shows_why(queue: Queue, worker: Worker) -> None:
    job = queue.enqueue(remind, 7)
    worker.bury(worker.begin())
    dead = queue.get(job.id)
    assert (dead.state, dead.errors[-1].error) == (State.DEAD, "ValueError: no such user")
    assert dead.ended_at_ms is not None and dead.ended_at_ms >= job.enqueued_at_ms
    assert queue.arguments(dead) == ((7,), {})


# Cancel and reschedule ------------------------------------------------------------------------


@pytest.mark.parametrize("priority", [0, 5])
@pytest.mark.parametrize("delay", [timedelta(0), SOON])
def test_a_job_that_waits_can_be_cancelled(
    queue: Queue, worker: Worker, delay: timedelta, priority: int
) -> None:
    keep = queue.enqueue(remind, 1)
    job = queue.options(priority=priority).enqueue_in(delay, remind, 7)
    assert queue.cancel(job.id) is Verdict.CANCELLED
    assert queue.cancel(job.id) is Verdict.NOT_FOUND
    assert worker.order() == [keep.id]


def test_a_job_can_be_cancelled_by_its_key(queue: Queue) -> None:
    job = queue.options(key="reminder:7", priority=5).enqueue(remind, 7)
    assert queue.cancel("reminder:7")
    with pytest.raises(JobNotFound):
        queue.get(job.id)


@pytest.mark.unchecked("a wish to stop a job stays after the job, for a day")
def test_a_job_that_runs_is_not_forgotten(queue: Queue, worker: Worker) -> None:
    job = queue.enqueue(remind, 7)
    claim = worker.begin()
    assert queue.cancel(job.id) is Verdict.RUNNING
    assert queue.reschedule(job.id, SOON) is Verdict.RUNNING
    assert queue.requeue(job.id) is Verdict.NOT_DEAD
    assert queue.delete(job.id) is Verdict.RUNNING
    worker.complete(claim)


def test_a_job_can_be_put_off_and_brought_forward(queue: Queue, worker: Worker) -> None:
    job = queue.enqueue(remind, 7)
    assert queue.reschedule(job.id, SOON) is Verdict.RESCHEDULED
    later = queue.get(job.id)
    assert (later.state, later.run_at > job.run_at) == (State.SCHEDULED, True)
    assert worker.order() == []
    assert queue.reschedule(job.id, at=NOON)
    assert queue.get(job.id).run_at == NOON
    assert queue.reschedule(job.id, 0)
    assert worker.order() == [job.id]


def test_a_job_can_be_rescheduled_by_its_key(queue: Queue) -> None:
    queue.options(key="reminder:7", priority=5).enqueue(remind, 7)
    assert queue.reschedule("reminder:7", at=NOON)
    assert queue.get("reminder:7").run_at == NOON


def test_reschedule_takes_one_time(queue: Queue) -> None:
    job = queue.enqueue(remind, 7)
    with pytest.raises(SettingsError):
        queue.reschedule(job.id)
    with pytest.raises(SettingsError):
        queue.reschedule(job.id, SOON, at=NOON)


# Dead and completed jobs ----------------------------------------------------------------------


@pytest.mark.parametrize("priority", [0, 5])
def test_a_dead_job_can_have_another_life(queue: Queue, worker: Worker, priority: int) -> None:
    job = queue.options(priority=priority, key="reminder:7").enqueue(remind, 7)
    worker.bury(worker.begin())
    assert queue.cancel(job.id) is Verdict.DEAD
    assert queue.reschedule(job.id, SOON) is Verdict.DEAD
    assert queue.requeue(job.id) is Verdict.REQUEUED
    again = queue.get("reminder:7")
    assert (again.state, again.attempt) == (State.READY, 0)
    assert len(again.errors) == 1, "its history stays"
    assert queue.requeue(job.id) is Verdict.NOT_DEAD
    assert worker.order() == [job.id]


def test_a_dead_job_does_not_take_its_key_from_a_newer_one(queue: Queue, worker: Worker) -> None:
    keyed = queue.options(key="reminder:7")
    old = keyed.enqueue(remind, 7)
    worker.bury(worker.begin())
    new = keyed.enqueue(remind, 7)
    assert queue.requeue(old.id) is Verdict.DUPLICATE
    assert queue.get("reminder:7").id == new.id
    assert queue.get(old.id).state is State.DEAD


def test_what_is_over_can_be_deleted(queue: Queue, worker: Worker) -> None:
    dead, completed, waiting = (queue.enqueue(remind, number) for number in range(3))
    worker.bury(worker.begin())
    worker.complete(worker.begin(), "fine", result_ttl_ms=60_000)
    assert queue.delete(dead.id) is queue.delete(completed.id) is Verdict.DELETED
    assert queue.delete(dead.id) is Verdict.NOT_FOUND
    assert queue.delete(waiting.id) is Verdict.WAITING
    with pytest.raises(JobNotFound):
        queue.get(completed.id)


# Results --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, 42, {"words": ["to", "be"]}, NOON])
def test_a_result_comes_back(queue: Queue, worker: Worker, value: object) -> None:
    job = queue.options(result_ttl=60).enqueue(remind, 7)
    worker.complete(worker.begin(), value, result_ttl_ms=60_000)
    assert queue.get(job.id).state is State.COMPLETED
    assert queue.result(job.id) == value
    assert queue.result(job.id, timeout=1) == value, "as often as one asks"


def test_a_result_is_waited_for(queue: Queue, worker: Worker) -> None:
    job = queue.options(result_ttl=60).enqueue(remind, 7)
    with pytest.raises(ResultTimeout, match="is ready still"):
        queue.result(job.id)
    claim = worker.begin()
    with pytest.raises(ResultTimeout, match="is processing still"):
        queue.result(job.id, timeout=timedelta(milliseconds=20))
    worker.complete(claim, 42, result_ttl_ms=60_000)
    assert queue.result(job.id, timeout=5) == 42


def test_a_job_without_a_result_is_gone(queue: Queue, worker: Worker) -> None:
    job = queue.enqueue(remind, 7)
    worker.complete(worker.begin())
    with pytest.raises(JobNotFound):
        queue.result(job.id)


def test_the_result_of_a_dead_job_is_its_last_error(queue: Queue, worker: Worker) -> None:
    job = queue.enqueue(remind, 7)
    worker.bury(worker.begin())
    with pytest.raises(JobFailed, match=f"{job.id}.* is dead: ValueError: no such user"):
        queue.result(job.id, timeout=5)


def test_a_result_expires(queue: Queue, worker: Worker) -> None:
    job = queue.enqueue(remind, 7)
    worker.complete(worker.begin(), 42, result_ttl_ms=1)
    wait_until(lambda: queue.sweep().trimmed == 1)
    with pytest.raises(JobNotFound):
        queue.result(job.id)


# Maintenance and the rest ---------------------------------------------------------------------


def test_a_sweep_promotes_what_is_due(queue: Queue, worker: Worker) -> None:
    jobs: list[Job] = [
        queue.options(priority=priority).enqueue_in(timedelta(milliseconds=5), remind, 7)
        for priority in (0, 5)
    ]
    wait_until(lambda: queue.sweep() and all(queue.get(job.id).state is State.READY for job in jobs))


def test_the_client_underneath_is_at_hand(queue: Queue) -> None:
    if not isinstance(queue, Blocking):
        assert queue.redis.time()
    assert queue.name == "mail"
    assert repr(queue) if isinstance(queue, Blocking) else repr(queue) == "<Queue mail>"


def test_a_queue_may_be_used_after_it_was_closed(queue: Queue) -> None:
    job = queue.enqueue(remind, 7)
    queue.close()
    assert queue.get(job.id) == job


@pytest.mark.row(18)
def test_scripts_are_sent_again_where_the_server_has_lost_them(queue: Queue, server: Server) -> None:
    queue.enqueue(remind, 7)
    server.client().script_flush()
    assert queue.enqueue(remind, 8).state is State.READY


# The page about testing -----------------------------------------------------------------------


@pytest.mark.timeout(60)
def test_the_examples_of_the_page_work(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "testing.md").read_text()
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, flags=re.DOTALL):
        (tmp_path / name).write_text(code)
    assert len(list(tmp_path.iterdir())) == 4
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    environ = {**os.environ, "REDJOBS_EMBEDDED_IDLE_S": "1", "TMPDIR": str(tmp_path)}
    told = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert "3 passed" in told.stdout, told.stdout + told.stderr
