"""What fails runs again, later each time."""

from __future__ import annotations

from datetime import timedelta

import redjobs
from redjobs import Queue, Retry, Snooze, State
from tests.fundamentals.conftest import Work

inbox: list[str] = []
outages: list[str] = []


def deliver(user_id: int) -> None:
    if outages:
        raise ConnectionError(outages.pop())
    inbox.append(f"delivered to user {user_id}")


@redjobs.job(backoff=[1, 60, 3600])
def patient(user_id: int) -> None:
    raise ConnectionError("still down")


@redjobs.job(backoff=lambda attempt, error: timedelta(hours=attempt))
def calculated(user_id: int) -> None:
    raise ConnectionError("still down")


def rate_limited(user_id: int) -> None:
    raise Retry("try again in an hour", after=timedelta(hours=1))


def not_yet(user_id: int) -> None:
    raise Snooze(timedelta(minutes=5))


def wait_of(queue: Queue, job_id: str) -> float:
    """How many seconds a failed job waits, counted from its failure."""
    job = queue.get(job_id)
    return (job.run_at - job.errors[-1].at).total_seconds()


def test_a_job_that_fails_runs_again(queue: Queue, work: Work) -> None:
    """It waits as a scheduled job, and its errors are remembered."""
    outages.append("the mail server is down")
    job = queue.enqueue(deliver, 7)
    assert work() == 1
    failed = queue.get(job.id)
    assert (failed.state, failed.attempt) == (State.SCHEDULED, 1)
    assert failed.errors[0].error == "ConnectionError: the mail server is down"

    queue.reschedule(job.id, 0)  # instead of waiting
    assert work() == 0
    assert inbox == ["delivered to user 7"]


def test_by_default_the_waits_grow_fast(queue: Queue, work: Work) -> None:
    """5 + attempt**4 seconds and up to a tenth more, 25 attempts in three weeks: as delayed_job does it."""
    outages.extend(["down"] * 2)
    job = queue.enqueue(deliver, 7)
    work()
    assert 5.5 < wait_of(queue, job.id) < 7
    queue.reschedule(job.id, 0)
    work()
    assert 20.5 < wait_of(queue, job.id) < 24


def test_a_list_of_waits(queue: Queue, work: Work) -> None:
    """One for each attempt; the last one stays."""
    job = queue.enqueue(patient, 7)
    work()
    assert 0.5 < wait_of(queue, job.id) < 1.5
    queue.reschedule(job.id, 0)
    work()
    assert 59.5 < wait_of(queue, job.id) < 60.5


def test_a_function_of_the_attempt_and_the_error(queue: Queue, work: Work) -> None:
    """For everything else."""
    job = queue.enqueue(calculated, 7)
    work()
    assert 3599 < wait_of(queue, job.id) < 3601


def test_a_handler_may_say_when_to_try_again(queue: Queue, work: Work) -> None:
    """By raising Retry; the attempt counts."""
    job = queue.enqueue(rate_limited, 7)
    work()
    assert 3599 < wait_of(queue, job.id) < 3601
    assert queue.get(job.id).attempt == 1


def test_a_handler_may_ask_to_be_called_later(queue: Queue, work: Work) -> None:
    """By raising Snooze, which is no failure and counts as no attempt."""
    job = queue.enqueue(not_yet, 7)
    assert work() == 0
    snoozed = queue.get(job.id)
    assert (snoozed.state, snoozed.attempt, snoozed.errors) == (State.SCHEDULED, 0, ())
