"""A web process hands a function over; a worker runs it."""

from __future__ import annotations

import pytest

from redjobs import PayloadError, Queue, State
from tests.fundamentals.conftest import Work

inbox: list[str] = []


def send_confirmation(user_id: int, template: str = "friendly") -> None:
    inbox.append(f"{template} confirmation for user {user_id}")


def test_a_worker_runs_what_was_enqueued(queue: Queue, work: Work) -> None:
    """`enqueue` takes a function of a module, and returns before it has run."""
    queue.enqueue(send_confirmation, 7)
    assert inbox == []
    work()
    assert inbox == ["friendly confirmation for user 7"]


def test_everything_after_the_function_is_for_the_function(queue: Queue, work: Work) -> None:
    """Arguments are given as they would be to the function itself, and arrive as they were given."""
    queue.enqueue(send_confirmation, 7, template="short")
    queue.enqueue(send_confirmation, user_id=8)
    work()
    assert inbox == ["short confirmation for user 7", "friendly confirmation for user 8"]


def test_enqueue_returns_a_job(queue: Queue) -> None:
    """It has an id, under which it can be looked up as long as it is not done."""
    job = queue.enqueue(send_confirmation, 7)
    assert job.state is State.READY
    assert queue.get(job.id).name.endswith(":send_confirmation")


def test_jobs_run_in_the_order_they_were_enqueued(queue: Queue, work: Work) -> None:
    """First come, first served."""
    for user_id in range(5):
        queue.enqueue(send_confirmation, user_id)
    work()
    assert inbox == [f"friendly confirmation for user {user_id}" for user_id in range(5)]


def test_a_mistake_fails_where_it_is_made(queue: Queue) -> None:
    """Arguments that do not fit the function are refused at once, and not by the worker at night."""
    with pytest.raises(PayloadError):
        queue.enqueue(send_confirmation)  # type: ignore[call-arg]


def test_the_function_is_still_a_function(queue: Queue) -> None:
    """Called, it runs here and now."""
    send_confirmation(7)
    assert inbox == ["friendly confirmation for user 7"]
