"""What becomes of a job after it ran: retried, snoozed, buried, dead, kept with its result."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from redjobs import Job, JobFailed, JobNotFound, Queue, State
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.conftest import Burst
from tests.worker.runs import Runs

pytestmark = [pytest.mark.every_server, pytest.mark.timeout(30, method="thread")]

HOUR = timedelta(hours=1)


def seconds_to_go(job: Job) -> float:
    return job.run_at.timestamp() - time.time()


@pytest.mark.row(33)
def test_a_job_that_fails_waits_for_its_next_attempt(queue: Queue, burst: Burst) -> None:
    job = queue.enqueue(handlers.fail, "no such user")
    assert burst() == 1
    found = queue.get(job.id)
    assert (found.state, found.attempt) == (State.SCHEDULED, 1)
    assert 0 < seconds_to_go(found) < 7  # delayed_job's 5 + 1 seconds, and up to a tenth more


def test_its_error_is_kept_with_the_place_where_it_was_raised(queue: Queue, burst: Burst) -> None:
    job = queue.enqueue(handlers.fail)
    burst()
    (error,) = queue.get(job.id).errors
    assert (error.attempt, error.error) == (1, "ValueError: no such user")
    assert "raise ValueError" in error.traceback
    assert "handlers.py" in error.traceback


def test_an_error_does_not_repeat_the_jobs_arguments(queue: Queue, burst: Burst) -> None:
    job = queue.enqueue(handlers.fail, "secret-4711")
    burst()
    (error,) = queue.get(job.id).errors
    assert "secret-4711" not in repr(error)


@pytest.mark.row(33)
def test_attempts_go_on_until_one_works(queue: Queue, burst: Burst, runs: Runs) -> None:
    queue.options(backoff=0).enqueue(handlers.fail_until, 3)
    burst()
    assert runs.texts("start") == ["1", "2", "3"]
    assert runs.texts("end") == ["3"]


def test_a_job_that_runs_again_keeps_the_history_of_its_errors(queue: Queue, burst: Burst) -> None:
    job = queue.options(backoff=0, max_attempts=3).enqueue(handlers.fail_until, 9)
    burst()
    found = queue.get(job.id)
    assert found.state is State.DEAD
    assert [(error.attempt, error.error) for error in found.errors] == [
        (1, "ValueError: attempt 1"),
        (2, "ValueError: attempt 2"),
        (3, "ValueError: attempt 3"),
    ]


@pytest.mark.row(33)
def test_after_its_last_attempt_a_job_is_dead_with_its_reason(queue: Queue, burst: Burst, runs: Runs) -> None:
    job = queue.options(max_attempts=2, backoff=0).enqueue(handlers.fail)
    assert burst() == 2
    assert queue.get(job.id).state is State.DEAD
    assert runs.count("start") == 2
    with pytest.raises(JobFailed, match="ValueError"):
        queue.result(job.id)


def test_a_dead_job_may_have_another_life(queue: Queue, burst: Burst, runs: Runs) -> None:
    job = queue.options(max_attempts=1).enqueue(handlers.fail_until, 1)
    bad = queue.options(max_attempts=1).enqueue(handlers.fail)
    burst()
    assert queue.requeue(bad.id)
    burst()
    assert runs.count("start", job_id=bad.id) == 2
    assert runs.count("end", job_id=job.id) == 1


@pytest.mark.row(33)
@pytest.mark.parametrize(
    ("backoff", "waits"),
    [(100, [100, 100, 100]), ([10, 200], [10, 200, 200]), (timedelta(minutes=2), [120, 120, 120])],
)
def test_the_backoff_is_a_number_or_a_list_by_attempt(
    queue: Queue, burst: Burst, backoff: Any, waits: list[int]
) -> None:
    job = queue.options(backoff=backoff).enqueue(handlers.fail)
    for wait in waits:
        burst()
        assert wait - 5 < seconds_to_go(queue.get(job.id)) <= wait
        queue.reschedule(job.id, 0)


def test_the_backoff_may_be_a_function_of_attempt_and_error(queue: Queue, burst: Burst) -> None:
    job = queue.enqueue(handlers.fail_with_backoff_function)
    for hours in (1, 2, 3):
        burst()
        assert hours * 3600 - 5 < seconds_to_go(queue.get(job.id)) <= hours * 3600
        queue.reschedule(job.id, 0)


def test_a_job_may_ask_to_be_run_again(queue: Queue, burst: Burst) -> None:
    job = queue.enqueue(handlers.ask_for_retry, 1800)
    burst()
    found = queue.get(job.id)
    assert 1795 < seconds_to_go(found) <= 1800
    assert found.attempt == 1
    assert found.errors[-1].error == "Retry: the shop is closed"


@pytest.mark.row(33)
def test_a_job_that_asks_too_often_is_dead(queue: Queue, burst: Burst, runs: Runs) -> None:
    job = queue.options(max_attempts=3).enqueue(handlers.ask_for_retry, 0)
    burst()
    assert runs.count("start") == 3
    assert queue.get(job.id).state is State.DEAD


def test_a_snoozed_job_keeps_its_attempt(queue: Queue, burst: Burst, runs: Runs) -> None:
    job = queue.options(max_attempts=1).enqueue(handlers.snooze, 1800)
    for _ in range(3):
        assert burst() == 0
        found = queue.get(job.id)
        assert (found.state, found.attempt, found.errors) == (State.SCHEDULED, 0, ())
        assert 1795 < seconds_to_go(found) <= 1800
        queue.reschedule(job.id, 0)
    assert [line.attempt for line in runs.lines("start")] == [1, 1, 1]


def test_a_buried_job_is_dead_at_once(queue: Queue, burst: Burst, runs: Runs) -> None:
    job = queue.enqueue(handlers.bury)
    burst()
    found = queue.get(job.id)
    assert (found.state, found.errors[-1].error) == (State.DEAD, "wrong address")
    assert runs.count("start") == 1


def test_coroutines_fail_like_plain_functions(queue: Queue, burst: Burst) -> None:
    job = queue.options(max_attempts=1).enqueue(handlers.fail_async)
    assert burst() == 1
    found = queue.get(job.id)
    assert (found.state, found.errors[-1].error) == (State.DEAD, "ValueError: no such user")


@pytest.mark.row(8)
@pytest.mark.parametrize("how", ["exit", "interrupt", "generator", "base"])
@pytest.mark.parametrize("leave", [handlers.leave, handlers.leave_async])
def test_what_ends_a_program_is_a_jobs_failure_and_not_the_workers_end(
    queue: Queue, burst: Burst, runs: Runs, leave: Any, how: str
) -> None:
    job = queue.options(max_attempts=1).enqueue(leave, how)
    queue.enqueue(handlers.record, "after")
    assert burst() == 1
    assert queue.get(job.id).state is State.DEAD
    assert runs.texts() == ["after"]


@pytest.mark.row(8)
@pytest.mark.parametrize("threads", [1, 2])
def test_so_it_is_in_threads(queue: Queue, burst: Burst, runs: Runs, threads: int) -> None:
    queue.options(max_attempts=1).enqueue(handlers.leave, "exit")
    queue.enqueue(handlers.record, "after")
    assert burst(threads=threads) == 1
    assert runs.texts() == ["after"]


@pytest.mark.parametrize("fail", [handlers.fail_unspeakably, handlers.fail_unspeakably_async])
def test_an_error_that_cannot_be_shown_is_a_failure_like_others(
    queue: Queue, burst: Burst, runs: Runs, fail: Any
) -> None:
    job = queue.options(max_attempts=1).enqueue(fail)
    queue.enqueue(handlers.record, "after")
    assert burst() == 1
    assert queue.get(job.id).state is State.DEAD
    assert runs.texts() == ["after"]


@pytest.mark.parametrize("give", [handlers.give_nonsense, handlers.give_a_value_that_raises])
def test_a_result_that_cannot_be_kept_buries_the_job_which_is_not_run_twice(
    queue: Queue, burst: Burst, runs: Runs, give: Callable[[], object]
) -> None:
    job = queue.options(result_ttl=60).enqueue(give)
    assert burst() == 1, "it is told as a failure"
    found = queue.get(job.id)
    assert found.state is State.DEAD
    assert "PayloadError" in found.errors[-1].error
    assert runs.count("end") == 1


def test_a_result_is_forgotten_after_its_time(queue: Queue, burst: Burst, runs: Runs) -> None:
    job = queue.options(result_ttl=0.05).enqueue(handlers.give, "for a moment")
    burst()
    wait_until(lambda: queue.sweep().trimmed == 1)
    with pytest.raises(JobNotFound):
        queue.get(job.id)
    assert runs.count("end") == 1


@pytest.mark.row(8)
def test_a_job_without_memory_fails_and_is_run_again(queue: Queue, burst: Burst) -> None:
    job = queue.enqueue(handlers.exhaust_memory)
    assert burst() == 1
    assert queue.get(job.id).errors[-1].error == "MemoryError"
