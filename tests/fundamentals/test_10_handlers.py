"""A decorator names the functions that workers may run, and says how."""

from __future__ import annotations

import time
from datetime import timedelta

import redjobs
from redjobs import Queue, State, current_job
from tests.fundamentals.conftest import Work

inbox: list[str] = []


@redjobs.job
def greet(name: str, *, loudly: bool = False) -> str:
    greeting = f"hello {name}"
    inbox.append(greeting.upper() if loudly else greeting)
    return greeting


@redjobs.job(max_attempts=1, timeout=0.05)
def slow() -> None:
    try:
        time.sleep(30)
    finally:
        inbox.append("cleaned up")


@redjobs.job(priority=-5)
def urgent() -> None:
    inbox.append("urgent")


def note_attempt() -> None:
    job = current_job()
    assert job is not None
    inbox.append(f"{job.id} attempt {job.attempt}")


def test_a_handler_is_still_a_function() -> None:
    """A plain call is a plain call."""
    assert greet("Ada") == "hello Ada"


def test_a_handler_enqueues_itself(queue: Queue, work: Work) -> None:
    """With its arguments, which a type checker knows. `@queue.job` binds it to one queue; a handler of
    `@redjobs.job` goes to the queue of its `queue` option, by default `default`, at $REDJOBS_URL."""
    bound = queue.job(greet.fn)
    bound.enqueue("Ada")
    bound.enqueue_in(timedelta(days=3), "Grace")
    bound.options(priority=-1).enqueue("Barbara", loudly=True)
    work()
    assert inbox == ["HELLO BARBARA", "hello Ada"]


def test_what_the_handler_says_holds_for_all_its_jobs(queue: Queue, work: Work) -> None:
    """And what a single job says goes before it."""
    queue.enqueue(greet, "Ada")
    queue.enqueue(urgent)
    queue.options(priority=5).enqueue(urgent)
    work()
    assert inbox == ["urgent", "hello Ada", "urgent"]


def test_a_timeout_ends_what_takes_too_long(queue: Queue, work: Work) -> None:
    """By raising JobTimeout inside of it, so that it can clean up."""
    job = queue.enqueue(slow)
    work()
    assert inbox == ["cleaned up"]
    dead = queue.get(job.id)
    assert dead.state is State.DEAD
    assert dead.errors[-1].error.startswith("JobTimeout")


def test_a_handler_may_ask_which_job_it_runs(queue: Queue, work: Work) -> None:
    """Id and attempt make a key for what must not be done twice."""
    job = queue.enqueue(note_attempt)
    work()
    assert inbox == [f"{job.id} attempt 1"]
    assert current_job() is None
