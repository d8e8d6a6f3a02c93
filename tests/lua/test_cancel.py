"""cancel, cancels, discard: a job that has not begun is forgotten, one that runs is asked to stop."""

from __future__ import annotations

import pytest

from redjobs import commands
from redjobs.commands import Finished
from redjobs.ids import new_id
from tests.lua.seeds import DAY, Lab

pytestmark = pytest.mark.fakeredis


def cancel(lab: Lab, job_id: str, key: str = "") -> str:
    return lab.run(commands.cancel(lab.keys, job_id, key))[0]


@pytest.mark.parametrize("priority", [0, -3, 10**15])
def test_a_ready_job_is_forgotten(lab: Lab, priority: int) -> None:
    first, cancelled, last = lab.ready(3, priority=priority)
    assert cancel(lab, cancelled) == "cancelled"
    assert lab.waiting(priority)[-2:] == [first, last]
    assert lab.fields(cancelled) == {}
    assert lab.count("cancelled") == 1


def test_a_scheduled_job_is_forgotten(lab: Lab) -> None:
    cancelled, other = lab.scheduled(2, priority=5)
    assert cancel(lab, cancelled) == "cancelled"
    assert (lab.places(cancelled), lab.places(other)) == ([], ["scheduled"])
    assert lab.fields(cancelled) == {}


def test_a_job_that_waits_for_its_retry_is_forgotten(lab: Lab) -> None:
    (job,) = lab.begun("w1")
    lab.run(commands.retry(lab.keys, lab.claim(job), DAY))
    assert cancel(lab, job) == "cancelled"
    assert lab.places(job) == []


def test_its_key_is_free_again(lab: Lab) -> None:
    (job,) = lab.scheduled(key="invoice")
    assert lab.run(commands.cancel(lab.keys, job)) == ("keyed", "invoice")
    assert lab.places(job) == ["scheduled"]
    assert cancel(lab, job, "invoice") == "cancelled"
    (again,) = lab.ready(key="invoice")
    assert lab.holder("invoice") == again


@pytest.mark.unchecked("two jobs with one key: the older one lost it to a person's mistake")
def test_a_key_that_another_job_holds_by_now_stays_its_own(lab: Lab) -> None:
    (job,) = lab.scheduled(key="invoice")
    lab.redis.delete(lab.keys.unique("invoice"))
    (other,) = lab.ready(key="invoice")
    assert cancel(lab, job, "invoice") == "cancelled"
    assert lab.holder("invoice") == other


def test_cancelled_twice_it_was_there_once(lab: Lab) -> None:
    (job,) = lab.ready()
    assert [cancel(lab, job), cancel(lab, job)] == ["cancelled", "missing"]
    assert lab.count("cancelled") == 1


def test_a_job_that_a_worker_has_just_taken_is_not_touched(lab: Lab) -> None:
    (job,) = lab.taken("w1")
    assert cancel(lab, job) == "processing"
    assert lab.places(job) == ["processing"]


def test_dead_and_completed_jobs_are_not_touched(lab: Lab) -> None:
    (dead,), (completed,) = lab.dead(), lab.completed()
    assert [cancel(lab, dead), cancel(lab, completed)] == ["dead", "completed"]
    assert (lab.places(dead), lab.places(completed)) == (["dead"], ["completed"])


def test_a_running_job_is_asked_to_stop(lab: Lab) -> None:
    (job,) = lab.begun("w1", key="invoice")
    before = lab.fields(job)
    assert cancel(lab, job) == "processing"
    assert lab.run(commands.cancels(lab.keys, [job])) == [job]
    assert lab.fields(job) == before
    assert lab.run(commands.discard(lab.keys, lab.claim(job))) == "discarded"
    assert (lab.places(job), lab.holder("invoice")) == ([], None)
    assert lab.wishes() == []
    assert lab.count("cancelled") == 1


def test_a_job_that_was_taken_and_has_not_begun_is_asked_to_stop_too(lab: Lab) -> None:
    """Whoever has taken it may die, and it runs elsewhere later: the wish is not lost with the worker."""
    (job,) = lab.taken("w1")
    assert cancel(lab, job) == "processing"
    assert lab.run(commands.cancels(lab.keys, [job])) == [job]


def test_a_wish_to_stop_is_forgotten_after_a_day(lab: Lab) -> None:
    old, new = lab.begun("w1", 2)
    cancel(lab, old)
    cancel(lab, new)
    lab.redis.zadd(lab.keys.cancels, {old: lab.now_ms() - 2 * DAY})
    assert lab.run(commands.cancels(lab.keys, [old, new])) == [new]
    assert lab.wishes() == [new]


def test_only_wishes_of_the_jobs_that_are_asked_about_are_told(lab: Lab) -> None:
    """However many others there are, of jobs that completed all the same or wait elsewhere."""
    mine, other = lab.begun("w1", 2)
    cancel(lab, mine)
    lab.redis.zadd(lab.keys.cancels, {new_id(): lab.now_ms() + 1 for _ in range(1_500)})
    assert lab.run(commands.cancels(lab.keys, [mine, other])) == [mine]
    assert lab.run(commands.cancels(lab.keys, [])) == []


@pytest.mark.row(31)
def test_a_stale_worker_discards_nothing(lab: Lab) -> None:
    (job,) = lab.begun("w1", token="old", key="invoice")
    stale = lab.claim(job)
    cancel(lab, job)
    lab.lose("w1")
    lab.recover("w1")
    lab.take("w2")
    lab.run(commands.begin(lab.keys, "w2", "new", [job]))
    assert lab.run(commands.discard(lab.keys, stale)) == "lost"
    assert lab.processing("w2") == [job]
    assert lab.holder("invoice") == job
    assert lab.run(commands.cancels(lab.keys, [job])) == [job]


@pytest.mark.row(31)
def test_discarded_twice_it_is_discarded_once(lab: Lab) -> None:
    (job,) = lab.begun("w1")
    claim = lab.claim(job)
    assert [lab.run(commands.discard(lab.keys, claim)) for _ in "ab"] == ["discarded", "lost"]
    assert lab.count("cancelled") == 1


def test_a_job_that_ends_before_it_is_stopped_is_completed(lab: Lab) -> None:
    (job,) = lab.begun("w1")
    cancel(lab, job)
    assert lab.run(commands.complete(lab.keys, "w1", "t1", [Finished(job)])) == []
    assert lab.places(job) == []


def test_a_running_job_may_be_left_alone(lab: Lab) -> None:
    (job,) = lab.begun("w1")
    assert lab.run(commands.cancel(lab.keys, job, stop=False))[0] == "processing"
    assert lab.wishes() == []
