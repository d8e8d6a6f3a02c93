"""Plans change: a job that has not begun can get another time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from redjobs import Queue, State, Verdict
from tests.fundamentals.conftest import Work

inbox: list[str] = []


def remind(user_id: int) -> None:
    inbox.append(f"user {user_id}")


def test_a_job_can_be_put_off(queue: Queue, work: Work) -> None:
    """By a delay from now."""
    job = queue.enqueue(remind, 7)
    assert queue.reschedule(job.id, timedelta(days=3))
    work()
    assert inbox == []
    assert queue.get(job.id).state is State.SCHEDULED


def test_a_job_can_be_brought_forward(queue: Queue, work: Work) -> None:
    """Even to now."""
    job = queue.enqueue_in(timedelta(days=3), remind, 7)
    assert queue.reschedule(job.id, 0)
    work()
    assert inbox == ["user 7"]


def test_a_moment_will_do_as_well(queue: Queue) -> None:
    """An aware datetime, or a POSIX timestamp."""
    moment = datetime(2090, 1, 1, 9, tzinfo=UTC)
    job = queue.enqueue(remind, 7)
    queue.reschedule(job.id, at=moment)
    assert queue.get(job.id).run_at == moment


def test_a_job_can_be_rescheduled_by_its_key(queue: Queue) -> None:
    """Nobody has to remember ids."""
    queue.options(key="reminder:7").enqueue_in(timedelta(days=3), remind, 7)
    assert queue.reschedule("reminder:7", timedelta(days=4)) is Verdict.RESCHEDULED
    assert queue.reschedule("reminder:8", timedelta(days=4)) is Verdict.NOT_FOUND
