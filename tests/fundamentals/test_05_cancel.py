"""Plans change: a job that has not begun can be cancelled."""

from __future__ import annotations

from datetime import timedelta

import pytest

from redjobs import JobNotFound, Queue, Verdict
from tests.fundamentals.conftest import Work

inbox: list[str] = []


def remind(user_id: int) -> None:
    inbox.append(f"user {user_id}")


def test_a_cancelled_job_never_runs(queue: Queue, work: Work) -> None:
    """Whether it was scheduled or ready, it is forgotten."""
    later = queue.enqueue_in(timedelta(days=3), remind, 7)
    now = queue.enqueue(remind, 8)
    assert queue.cancel(later.id)
    assert queue.cancel(now.id)
    work()
    assert inbox == []
    with pytest.raises(JobNotFound):
        queue.get(later.id)


def test_a_job_can_be_cancelled_by_its_key(queue: Queue) -> None:
    """And the key is free again."""
    reminders = queue.options(key="reminder:7")
    reminders.enqueue_in(timedelta(days=3), remind, 7)
    assert queue.cancel("reminder:7")
    assert reminders.enqueue(remind, 7).created


def test_cancel_says_what_it_found(queue: Queue) -> None:
    """A verdict is true where the job was cancelled, and else says why it was not."""
    job = queue.enqueue(remind, 7)
    assert queue.cancel(job.id) is Verdict.CANCELLED
    assert queue.cancel(job.id) is Verdict.NOT_FOUND
    assert not queue.cancel(job.id)
