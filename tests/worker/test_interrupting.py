"""Jobs that must stop: after their timeout, because they were cancelled, and those that do not want to."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from redjobs import Job, Queue, State, Verdict
from tests.servers import Server
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.conftest import Start, is_gone
from tests.worker.processes import WorkerProcess
from tests.worker.runs import Runs


@pytest.fixture
def server(valkey: Server) -> Server:
    return valkey


#: What follows a timeout, and a wish to cancel, sooner than usual.
HASTY = {"redjobs.worker.work.HARD_SECONDS": 0.2, "redjobs.worker.tending._CANCELS_SECONDS": 0.1}


def is_dead(queue: Queue, job_id: str) -> bool:
    return queue.get(job_id).state is State.DEAD


#: Where plain functions and coroutines run, with the handler that waits there and the worker's options.
STATIONS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "main thread": (handlers.clean_up, {"threads": 1}),
    "thread": (handlers.clean_up, {"threads": 3}),
    "uvloop": (handlers.clean_up_async, {"threads": 1}),
    "asyncio's own loop": (handlers.clean_up_async, {"threads": 1, "without": ("uvloop",)}),
}

# Timeouts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [pytest.param(0, marks=pytest.mark.slow), 1])
@pytest.mark.parametrize("station", STATIONS)
def test_after_its_timeout_a_job_is_interrupted_and_can_clean_up(
    queue: Queue, worker: Start, runs: Runs, gate: Path, station: str, processes: int
) -> None:
    clean_up, options = STATIONS[station]
    process = worker(processes=processes, **options)
    job = queue.options(timeout=0.3, max_attempts=1).enqueue(clean_up, str(gate))
    runs.wait("cleanup", "JobTimeout")
    wait_until(lambda: is_dead(queue, job.id))
    assert queue.get(job.id).errors[-1].error.startswith("JobTimeout")
    queue.enqueue(handlers.record, "after")
    (after,) = runs.wait("end", "after")
    assert after.pid == runs.lines("start")[0].pid, "the process went on"
    assert process.count("died") == 0


def test_a_timeout_is_a_failed_attempt_and_the_next_may_work(
    queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    worker(processes=1)
    job = queue.options(timeout=0.4, backoff=0).enqueue(handlers.clean_up, str(gate))
    runs.wait("cleanup", "JobTimeout")
    gate.touch()
    (line,) = runs.wait("end", job_id=job.id)
    assert line.attempt == 2


BOTH = [1, pytest.param(2, marks=pytest.mark.slow)]
STUBBORN: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "swallows every exception": (handlers.spin, ()),
    "holds the interpreter in C": (handlers.hold_the_interpreter, (60,)),
    "sleeps for thirty years": (handlers.sleep_for_ever, ()),
}


@pytest.mark.parametrize("how", STUBBORN)
@pytest.mark.parametrize("threads", BOTH)
def test_a_job_that_ignores_its_timeout_is_ended_with_its_process(
    queue: Queue, worker: Start, runs: Runs, how: str, threads: int
) -> None:
    """Its neighbours run again, and are not charged."""
    handler, args = STUBBORN[how]
    worker(processes=1, threads=threads, constants=HASTY)
    job = queue.options(timeout=0.3, max_attempts=1).enqueue(handler, *args)
    runs.wait("start", job_id=job.id)
    mate = queue.enqueue(handlers.record, "mate")
    wait_until(lambda: is_dead(queue, job.id), timeout=5)
    runs.wait("end", job_id=mate.id)
    assert runs.count("start", job_id=job.id) == 1
    assert queue.get(job.id).crashes == 0
    assert queue.get(job.id).errors[-1].error.startswith("JobTimeout")


def test_what_a_coroutine_has_started_ends_with_it(
    queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    worker(processes=1)
    job = queue.options(timeout=0.3, max_attempts=1).enqueue(handlers.clean_up_a_group, str(gate))
    wait_until(lambda: is_dead(queue, job.id))
    assert runs.texts("cleanup") == ["part", "a timeout"]
    assert queue.get(job.id).errors[-1].error.startswith("JobTimeout")


@pytest.mark.parametrize("how", ["default", "ignored", "own"])
def test_a_timeout_holds_whatever_the_job_before_has_made_of_the_alarm(
    queue: Queue, worker: Start, runs: Runs, how: str
) -> None:
    process = worker(processes=1)
    queue.enqueue(handlers.change_alarm, how)
    runs.wait("end", how)
    job = queue.options(timeout=0.3, max_attempts=1).enqueue(handlers.sleep_for_ever)
    wait_until(lambda: is_dead(queue, job.id))
    assert queue.get(job.id).errors[-1].error == "JobTimeout: ran longer than its timeout of 0.3 s"
    assert process.count("died") == 0, "it slept in its process' main thread, and was interrupted there"


def test_a_job_that_uses_the_alarm_itself_can_be_stopped_and_ends_no_process(
    queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    process = worker(processes=1)
    timed = queue.options(timeout=0.3, max_attempts=1).enqueue(
        handlers.clean_up_with_another_alarm, str(gate)
    )
    runs.wait("cleanup", "JobTimeout", job_id=timed.id)
    wait_until(lambda: is_dead(queue, timed.id))
    # So it is left; and this one has no timeout.
    cancelled = queue.enqueue(handlers.clean_up, str(gate))
    runs.wait("start", job_id=cancelled.id)
    queue.cancel(cancelled.id)
    runs.wait("cleanup", "JobCancelled")
    queue.enqueue(handlers.record, "after")
    runs.wait("end", "after")
    assert process.count("died") == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_whoever_has_a_timeout_of_two_seconds_is_gone_within_three(
    server: Server, worker: Start, runs: Runs, threads: int
) -> None:
    """At the real settings. Side by side: each has a worker and a queue of its own."""
    deadlines: dict[str, float] = {}
    jobs: list[tuple[Queue, Job]] = []
    processes: list[WorkerProcess] = []
    with contextlib.ExitStack() as stack:
        for number, (handler, args) in enumerate([(handlers.loop, ()), *STUBBORN.values()]):
            queue = stack.enter_context(contextlib.closing(Queue(f"stubborn-{number}", url=server.url)))
            processes.append(worker(processes=1, threads=threads, queues=(queue.name,)))
            jobs.append((queue, queue.options(timeout=2, max_attempts=1).enqueue(handler, *args)))

        def all_are_dead() -> bool:
            now = time.monotonic()
            for line in runs.lines("start"):
                deadlines.setdefault(line.job_id, now + 3)
            late = [
                job.name
                for queue, job in jobs
                if now > deadlines.get(job.id, now) and not is_dead(queue, job.id)
            ]
            assert not late
            return all(is_dead(queue, job.id) for queue, job in jobs)

        wait_until(all_are_dead)
        for process, (queue, job) in zip(processes, jobs, strict=True):
            assert queue.get(job.id).errors[-1].error.startswith("JobTimeout")
            process.says("dead", job.id, "JobTimeout")
        assert runs.count("start") == len(jobs)


def test_a_neighbour_of_a_job_that_was_killed_is_not_charged(
    queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    worker(processes=1, threads=2, constants=HASTY)
    neighbour = queue.enqueue(handlers.wait, str(gate))
    runs.wait("start", job_id=neighbour.id)
    job = queue.options(timeout=0.3, max_attempts=2, backoff=0).enqueue(handlers.sleep_for_ever)
    wait_until(lambda: is_dead(queue, job.id))
    runs.wait("start", job_id=neighbour.id, times=3)
    found = queue.get(neighbour.id)
    assert (found.crashes, found.errors) == (0, ())
    gate.touch()
    (line,) = runs.wait("end", job_id=neighbour.id)
    assert line.attempt == 1


def test_two_jobs_that_ignore_their_timeouts_together_have_both_failed(
    queue: Queue, worker: Start, runs: Runs
) -> None:
    worker(processes=1, threads=2, constants=HASTY)
    jobs = [queue.options(timeout=0.3, max_attempts=1).enqueue(handlers.sleep_for_ever) for _ in range(2)]
    for job in jobs:
        wait_until(partial(is_dead, queue, job.id))
        found = queue.get(job.id)
        assert (found.crashes, found.attempt) == (0, 1)
        assert found.errors[-1].error.startswith("JobTimeout")
    assert runs.count("start") == 2


def test_a_job_that_is_killed_for_its_timeout_is_retried_by_its_backoff(
    queue: Queue, worker: Start, runs: Runs
) -> None:
    worker(processes=1, threads=2, constants=HASTY)
    job = queue.options(timeout=0.3, backoff=3600).enqueue(handlers.sleep_for_ever)
    wait_until(lambda: queue.get(job.id).state is State.SCHEDULED)
    found = queue.get(job.id)
    assert (found.attempt, found.crashes) == (1, 0)


# Cancellation ---------------------------------------------------------------------------------

SEEN = {
    "main thread": "JobCancelled",
    "thread": "JobCancelled",
    "uvloop": "CancelledError",
    "asyncio's own loop": "CancelledError",
}


@pytest.mark.parametrize("station", STATIONS)
def test_a_running_job_that_is_cancelled_stops_within_a_second(
    queue: Queue, worker: Start, runs: Runs, gate: Path, station: str
) -> None:
    clean_up, options = STATIONS[station]
    # At its real settings: how often it asks is the promise.
    process = worker(processes=1, **options)
    job = queue.enqueue(clean_up, str(gate))
    runs.wait("start")
    assert queue.cancel(job.id) is Verdict.RUNNING
    runs.wait("cleanup", SEEN[station], timeout=1)
    wait_until(lambda: is_gone(queue, job.id))
    assert queue.redis.hget(queue.keys.stats, "cancelled") == b"1"
    process.says("cancelled", job.id)
    queue.enqueue(handlers.record, "after")
    runs.wait("end", "after")


def test_a_cancelled_job_may_finish_all_the_same(queue: Queue, worker: Start, runs: Runs, gate: Path) -> None:
    worker(processes=1)
    job = queue.options(result_ttl=60).enqueue(handlers.refuse_to_stop, str(gate))
    runs.wait("start")
    queue.cancel(job.id)
    runs.wait("ignored", "JobCancelled", timeout=3)
    gate.touch()
    wait_until(lambda: queue.get(job.id).state is State.COMPLETED)


def test_others_are_not_interrupted(queue: Queue, worker: Start, runs: Runs, gate: Path) -> None:
    worker(processes=1, threads=3, constants=HASTY)
    jobs = [queue.enqueue(handlers.clean_up, str(gate), str(number)) for number in range(3)]
    runs.wait("start", times=3)
    queue.cancel(jobs[1].id)
    runs.wait("cleanup", timeout=3)
    gate.touch()
    runs.wait("end", times=2)
    assert sorted(runs.texts()) == ["0", "2"]
    assert runs.count("cleanup") == 1


@pytest.mark.slow
def test_a_cancelled_job_whose_worker_dies_is_cancelled_when_it_runs_again(
    queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    process = worker(processes=0, lease=0.5)
    job = queue.enqueue(handlers.clean_up, str(gate))
    runs.wait("start")
    process.destroy()
    queue.cancel(job.id)
    other = worker(processes=0, lease=0.5)
    # It may hear of that before its first line.
    other.says("cancelled", job.id)
    assert is_gone(queue, job.id)
    assert runs.count("end") == 0


def test_a_cancelled_job_that_fails_before_its_worker_hears_of_it_does_not_run_again(
    queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    process = worker(processes=0, constants={"redjobs.worker.tending._CANCELS_SECONDS": 60.0})
    first = queue.enqueue(handlers.take_seconds, 0.0)  # the worker asks for wishes when a job runs
    wait_until(lambda: is_gone(queue, first.id))
    job = queue.options(key="once", backoff=0).enqueue(handlers.fail_first, str(gate))
    runs.wait("start", job_id=job.id)
    assert queue.cancel(job.id) is Verdict.RUNNING
    gate.touch()
    wait_until(lambda: is_gone(queue, job.id))
    assert runs.count("end", job_id=job.id) == 0
    process.says("cancelled")  # a moment after the server knows it
    assert queue.options(key="once").enqueue(handlers.record).created
