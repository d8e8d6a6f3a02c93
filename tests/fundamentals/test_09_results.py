"""What a job returned, for those who ask: most jobs are forgotten once they are done."""

from __future__ import annotations

from datetime import timedelta

import pytest

import redjobs
from redjobs import JobFailed, JobNotFound, Queue, ResultTimeout, State
from tests.fundamentals.conftest import Work


@redjobs.job(result_ttl=timedelta(hours=1))
def count_words(text: str) -> dict[str, int]:
    return {word: text.split().count(word) for word in text.split()}


@redjobs.job(max_attempts=1)
def fails(text: str) -> None:
    raise ValueError("no words")


def test_a_result_is_kept_for_who_asks_in_time(queue: Queue, work: Work) -> None:
    """As long as `result_ttl` says, for the handler or for one job."""
    job = queue.enqueue(count_words, "to be or not to be")
    work()
    assert queue.get(job.id).state is State.COMPLETED
    assert queue.result(job.id) == {"to": 2, "be": 2, "or": 1, "not": 1}


def test_a_job_that_is_not_over_has_no_result_yet(queue: Queue) -> None:
    """`timeout` says how long to wait for it."""
    job = queue.enqueue(count_words, "to be")
    with pytest.raises(ResultTimeout):
        queue.result(job.id, timeout=0.01)


def test_a_job_that_is_dead_says_why(queue: Queue, work: Work) -> None:
    """Instead of a result."""
    job = queue.enqueue(fails, "to be")
    work()
    with pytest.raises(JobFailed, match="ValueError: no words"):
        queue.result(job.id)


def test_without_a_time_to_keep_it_a_result_is_forgotten(queue: Queue, work: Work) -> None:
    """With the job: a queue costs memory only for what is still to be done."""
    job = queue.enqueue(fails.fn, "to be")
    queue.cancel(job.id)
    with pytest.raises(JobNotFound):
        queue.result(job.id)
