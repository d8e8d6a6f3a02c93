"""What a worker runs: now and later, by priority, in the main thread, in threads and on an event loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from redjobs import JobNotFound, Queue, State, call
from redjobs.access import Role
from redjobs.commands import SCRIPTS
from tests.roles import as_role
from tests.servers import Server
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.conftest import Burst
from tests.worker.runs import Runs

pytestmark = [pytest.mark.every_server, pytest.mark.timeout(30, method="thread")]


def test_jobs_run_in_the_order_in_which_they_came(queue: Queue, burst: Burst, runs: Runs) -> None:
    queue.enqueue_many(call(handlers.record, str(number)) for number in range(20))
    assert burst() == 0
    assert runs.texts() == [str(number) for number in range(20)]


def test_a_job_that_is_done_is_forgotten(queue: Queue, burst: Burst, runs: Runs) -> None:
    job = queue.enqueue(handlers.record)
    burst()
    assert runs.count("end", job_id=job.id) == 1
    with pytest.raises(JobNotFound):
        queue.get(job.id)


def test_more_jobs_than_one_call_moves(queue: Queue, burst: Burst, runs: Runs) -> None:
    queue.enqueue_many(call(handlers.record, str(number)) for number in range(1_200))
    burst()
    # Where the machine stands still for 100 ms, what waited goes back, and others may overtake it.
    assert sorted(runs.texts(), key=int) == [str(number) for number in range(1_200)]


def test_a_burst_runs_what_it_gave_back_itself(
    queue: Queue, burst: Burst, runs: Runs, gate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a server that does not know the script yet, jobs go back only after a take that stood behind."""
    monkeypatch.setitem(SCRIPTS, "release", replace(SCRIPTS["release"], sha="0" * 40))
    queue.enqueue_many(call(handlers.record) for _ in range(300))
    queue.enqueue_many(call(handlers.wait_async, str(gate)) for _ in range(30))

    def open_it() -> None:
        wait_until(lambda: queue.redis.hexists(queue.keys.stats, "released"))
        gate.touch()

    opener = threading.Thread(target=open_it)
    opener.start()
    burst(threads=4, concurrency=2)
    opener.join()
    assert runs.count("end") == 330


def test_a_job_for_later_runs_later_and_not_before(queue: Queue, burst: Burst, runs: Runs) -> None:
    queue.enqueue_in(timedelta(milliseconds=200), handlers.moments)
    burst(burst=False, max_idle=0.4)
    (late_ms,) = map(int, runs.texts())
    assert 0 <= late_ms < 5_000


def test_a_burst_leaves_what_is_not_due(queue: Queue, burst: Burst, runs: Runs) -> None:
    job = queue.enqueue_in(timedelta(hours=1), handlers.record)
    burst()
    assert runs.lines() == []
    assert queue.get(job.id).state is State.SCHEDULED


def test_a_job_whose_time_is_past_runs_now(queue: Queue, burst: Burst, runs: Runs) -> None:
    queue.enqueue_at(datetime.now(UTC) - timedelta(days=1), handlers.record)
    burst()
    assert runs.count("end") == 1


def test_what_falls_due_while_nobody_works_runs_in_the_order_of_its_time(
    queue: Queue, burst: Burst, runs: Runs
) -> None:
    soon = datetime.now(UTC) + timedelta(milliseconds=100)
    for number in (2, 0, 3, 1):
        queue.enqueue_at(soon + timedelta(milliseconds=number), handlers.record, str(number))
    wait_until(lambda: datetime.now(UTC) > soon + timedelta(milliseconds=10))
    burst()
    assert runs.texts() == ["0", "1", "2", "3"]


def test_a_lower_priority_number_runs_first(queue: Queue, burst: Burst, runs: Runs) -> None:
    for priority in (5, 0, -3, 7, -3, 0):
        queue.options(priority=priority).enqueue(handlers.record, str(priority))
    burst()
    assert runs.texts() == ["-3", "-3", "0", "0", "5", "7"]


def test_scheduled_jobs_keep_their_priority(queue: Queue, burst: Burst, runs: Runs) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    for priority in (5, 0, -3):
        queue.options(priority=priority).enqueue_at(past, handlers.record, str(priority))
    burst()
    assert sorted(runs.texts(), key=int) == ["-3", "0", "5"]
    assert runs.texts()[0] == "-3"


def test_plain_functions_run_in_the_main_thread_one_at_a_time(queue: Queue, burst: Burst, runs: Runs) -> None:
    queue.enqueue_many(call(handlers.take_seconds, 0.03, str(number)) for number in range(3))
    burst()
    assert [line.word for line in runs.lines()] == ["start", "end"] * 3


def test_threads_run_plain_functions_at_the_same_time(
    queue: Queue, burst: Burst, runs: Runs, gate: Path
) -> None:
    """Three wait for what only the fourth can bring about."""
    for _ in range(3):
        queue.enqueue(handlers.wait, str(gate))
    queue.enqueue(handlers.open_gate, str(gate), 3)
    burst(threads=4)
    assert runs.count("end") == 4


@pytest.mark.parametrize("handler", [handlers.count_at_once, handlers.count_at_once_async])
@pytest.mark.parametrize("at_once", [1, 3])
def test_never_more_run_at_once_than_was_said(
    queue: Queue, burst: Burst, runs: Runs, handler: Callable[[int], object], at_once: int
) -> None:
    """And as many as that: the first of them wait for each other."""
    queue.enqueue_many(call(handler, at_once) for _ in range(at_once))
    # Short ones, of which a worker takes many at a time.
    queue.enqueue_many(call(handler, 0) for _ in range(30 * at_once))
    burst(threads=at_once, concurrency=at_once)
    counts = [int(text) for text in runs.texts()]
    assert len(counts) == 31 * at_once
    assert max(counts) == at_once


def test_coroutines_run_at_the_same_time(queue: Queue, burst: Burst, runs: Runs, gate: Path) -> None:
    for _ in range(30):
        queue.enqueue(handlers.wait_async, str(gate))
    queue.enqueue(handlers.open_gate, str(gate), 30)
    burst(concurrency=40)
    assert runs.count("end") == 31


@pytest.mark.parametrize("threads", [1, 4])
def test_more_coroutines_than_may_run_at_a_time(queue: Queue, burst: Burst, runs: Runs, threads: int) -> None:
    """Short plain jobs let a worker take many at once, and then they turn out to be coroutines."""
    queue.enqueue_many(call(handlers.record) for _ in range(300))
    queue.enqueue_many(call(handlers.record_async) for _ in range(300))
    queue.enqueue_many(call(handlers.record) for _ in range(10))
    burst(threads=threads, concurrency=3)
    assert runs.count("end") == 610


def test_plain_jobs_go_on_while_all_places_for_coroutines_are_taken(
    queue: Queue, burst: Burst, runs: Runs, gate: Path
) -> None:
    queue.enqueue(handlers.record)
    for _ in range(4):
        queue.enqueue(handlers.wait_async, str(gate))
    queue.enqueue(handlers.record, "plain")
    queue.enqueue(handlers.open_gate, str(gate), 3)
    burst(concurrency=2)
    assert runs.count("end") == 7
    assert [line.attempt for line in runs.lines("end")] == [1] * 7


def test_a_job_knows_its_id_and_attempt(queue: Queue, burst: Burst, runs: Runs) -> None:
    plain = queue.enqueue(handlers.record, "plain")
    coroutine = queue.enqueue(handlers.record_async, "coroutine")
    burst()
    assert [(line.job_id, line.attempt) for line in runs.lines("end")] == [(plain.id, 1), (coroutine.id, 1)]


def test_a_result_is_kept_where_it_was_asked_for(queue: Queue, burst: Burst) -> None:
    kept = queue.options(result_ttl=60).enqueue(handlers.give, {"total": 7})
    queue.enqueue(handlers.give, "nobody asks")
    burst()
    assert queue.result(kept.id) == {"total": 7}
    assert queue.get(kept.id).state is State.COMPLETED


def test_a_unique_key_is_free_once_its_job_is_done(queue: Queue, burst: Burst, runs: Runs) -> None:
    keyed = queue.options(key="invoice-7")
    first = keyed.enqueue(handlers.record)
    assert keyed.enqueue(handlers.record).id == first.id
    burst()
    assert keyed.enqueue(handlers.record).created
    burst()
    assert runs.count("end") == 2


def test_a_job_may_enqueue_jobs(queue: Queue, burst: Burst, runs: Runs, server: Server) -> None:
    queue.enqueue(handlers.enqueue_more, as_role(server.url, Role.WORKER), 3)
    burst()
    assert runs.texts() == ["3", "2", "1", "0"]


def test_a_worker_that_may_idle_so_long_leaves_after_that(queue: Queue, burst: Burst, runs: Runs) -> None:
    queue.enqueue_in(timedelta(seconds=0.2), handlers.record)
    begun = time.monotonic()
    burst(burst=False, max_idle=0.5)
    assert time.monotonic() - begun >= 0.5
    assert runs.count("end") == 1


def test_a_burst_counts_what_failed(queue: Queue, burst: Burst) -> None:
    queue.options(max_attempts=1).enqueue(handlers.fail)
    queue.enqueue(handlers.record)
    queue.enqueue(handlers.fail)
    assert burst() == 2
