"""What has failed too often is kept for people to look at, and can be given another life."""

from __future__ import annotations

import pytest

from redjobs import Bury, JobNotFound, Queue, State, Verdict
from tests.fundamentals.conftest import Work

inbox: list[str] = []
fixed: list[bool] = []


def charge(order_id: int) -> None:
    if not fixed:
        raise ValueError("no such order")
    inbox.append(f"charged order {order_id}")


def hopeless(order_id: int) -> None:
    raise Bury("the card was stolen")


@pytest.fixture(autouse=True)
def broken() -> None:
    fixed.clear()


def test_the_last_attempt_is_followed_by_none(queue: Queue, work: Work) -> None:
    """The job is dead, with its errors; it is not thrown away."""
    job = queue.options(max_attempts=2, backoff=0).enqueue(charge, 7)
    assert work() == 2
    dead = queue.get(job.id)
    assert dead.state is State.DEAD
    assert [each.error for each in dead.errors] == ["ValueError: no such order"] * 2


def test_a_dead_job_can_be_given_another_life(queue: Queue, work: Work) -> None:
    """Once the cause is mended; its attempts are counted from the start."""
    job = queue.options(max_attempts=1).enqueue(charge, 7)
    work()
    fixed.append(True)
    assert queue.requeue(job.id)
    assert queue.get(job.id).attempt == 0
    work()
    assert inbox == ["charged order 7"]


def test_a_handler_may_give_up_at_once(queue: Queue, work: Work) -> None:
    """By raising Bury, whatever attempts are left."""
    job = queue.enqueue(hopeless, 7)
    work()
    dead = queue.get(job.id)
    assert (dead.state, dead.attempt, dead.errors[-1].error) == (State.DEAD, 1, "the card was stolen")


def test_a_dead_job_can_be_forgotten(queue: Queue, work: Work) -> None:
    """When nobody needs it any more."""
    job = queue.enqueue(hopeless, 7)
    assert queue.delete(job.id) is Verdict.WAITING
    work()
    assert queue.delete(job.id)
    with pytest.raises(JobNotFound):
        queue.get(job.id)
