"""Work for later: after a delay."""

from __future__ import annotations

from datetime import timedelta

from redjobs import Queue, State
from tests.fundamentals.conftest import Work
from tests.waiting import wait_until

inbox: list[str] = []


def send_reminder(user_id: int, template: str = "gentle") -> None:
    inbox.append(f"{template} reminder for user {user_id}")


def test_a_job_may_wait_for_days(queue: Queue, work: Work) -> None:
    """It is scheduled, and no worker runs it before its time."""
    job = queue.enqueue_in(timedelta(days=3), send_reminder, 7)
    assert job.state is State.SCHEDULED
    assert job.run_at - job.enqueued_at == timedelta(days=3)
    work()
    assert inbox == []
    assert queue.get(job.id).state is State.SCHEDULED


def test_a_worker_runs_it_when_it_is_due(queue: Queue, work: Work) -> None:
    """Late by milliseconds, and never early."""
    queue.enqueue_in(timedelta(milliseconds=20), send_reminder, 7, template="firm")
    wait_until(lambda: work() == 0 and inbox)
    assert inbox == ["firm reminder for user 7"]


def test_the_keyword_form(queue: Queue) -> None:
    """The same with the units by name, and the function's arguments in `args` and `kwargs`."""
    job = queue.enqueue_in(days=3, hours=12, fn=send_reminder, args=(7,), kwargs={"template": "firm"})
    assert job.run_at - job.enqueued_at == timedelta(days=3.5)
    assert queue.arguments(job) == ((7,), {"template": "firm"})


def test_jobs_run_in_the_order_in_which_they_become_due(queue: Queue, work: Work) -> None:
    """And not in the order in which they were enqueued."""
    queue.enqueue_in(timedelta(milliseconds=20), send_reminder, 2)
    queue.enqueue_in(timedelta(milliseconds=10), send_reminder, 1)
    wait_until(lambda: work() == 0 and len(inbox) == 2)
    assert inbox == ["gentle reminder for user 1", "gentle reminder for user 2"]
