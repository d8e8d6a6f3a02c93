"""requeue and delete: what people do with jobs that are over."""

from __future__ import annotations

import pytest

from redjobs import commands
from redjobs.commands import Finished
from tests.lua.seeds import Lab

pytestmark = pytest.mark.fakeredis


def requeue(lab: Lab, job_id: str, key: str = "") -> tuple[str, str]:
    return lab.run(commands.requeue(lab.keys, job_id, key))


@pytest.mark.parametrize("priority", [0, -3, 10**15])
def test_a_dead_job_gets_another_life(lab: Lab, priority: int) -> None:
    (job,) = lab.begun("w1", priority=priority)
    lab.lose("w1")
    lab.recover("w1")
    lab.take("w2", 1, (priority,) if priority else ())
    lab.run(commands.begin(lab.keys, "w2", "t2", [job]))
    lab.run(commands.bury(lab.keys, lab.claim(job), b"\x90"))
    assert requeue(lab, job) == ("ready", "")
    assert lab.places(job) == ["ready"]
    assert (lab.number(job, "attempt"), lab.number(job, "crashes")) == (0, 0)
    assert lab.fields(job)["errors"] == b"\x90"  # why it died the last time is still worth knowing
    assert lab.drain() == [job]
    assert lab.count("requeued") == 1


def test_it_waits_behind_what_is_ready(lab: Lab) -> None:
    (dead,), (waiting,) = lab.dead(), lab.ready()
    requeue(lab, dead)
    assert lab.waiting() == [waiting, dead]


def test_it_takes_its_key_again(lab: Lab) -> None:
    (job,) = lab.dead(key="invoice")
    assert requeue(lab, job) == ("keyed", "invoice")
    assert lab.places(job) == ["dead"]
    assert requeue(lab, job, "invoice") == ("ready", "")
    assert lab.holder("invoice") == job


def test_it_stays_dead_while_another_job_holds_its_key(lab: Lab) -> None:
    (dead,) = lab.dead(key="invoice")
    (holder,) = lab.ready(key="invoice")
    assert requeue(lab, dead, "invoice") == ("duplicate", holder)
    assert lab.places(dead) == ["dead"]
    assert lab.holder("invoice") == holder


def test_requeued_twice_it_is_requeued_once(lab: Lab) -> None:
    (job,) = lab.dead()
    assert [requeue(lab, job)[0], requeue(lab, job)[0]] == ["ready", "notdead"]
    assert lab.waiting() == [job]


def test_what_is_not_dead_is_not_touched(lab: Lab) -> None:
    (ready,), (scheduled,), (begun,), (completed,) = (
        lab.ready(),
        lab.scheduled(),
        lab.begun("w1"),
        lab.completed(),
    )
    jobs = (ready, scheduled, begun, completed)
    places = [lab.places(job) for job in jobs]
    assert {requeue(lab, job)[0] for job in jobs} == {"notdead"}
    assert [lab.places(job) for job in jobs] == places
    assert requeue(lab, "gone") == ("missing", "")


def test_jobs_that_are_over_can_be_deleted(lab: Lab) -> None:
    first, second, third = lab.dead(3)
    (result,) = lab.completed()
    assert lab.run(commands.delete(lab.keys, lab.keys.dead, [first, third])) == 2
    assert lab.run(commands.delete(lab.keys, lab.keys.completed, [result])) == 1
    assert [lab.places(job) for job in (first, second, third, result)] == [[], ["dead"], [], []]
    assert lab.fields(first) == lab.fields(result) == {}


def test_deleted_twice_it_is_deleted_once(lab: Lab) -> None:
    (job,) = lab.dead()
    command = commands.delete(lab.keys, lab.keys.dead, [job])
    assert [lab.run(command), lab.run(command)] == [1, 0]


def test_a_job_that_has_another_life_by_now_is_not_deleted(lab: Lab) -> None:
    (job,) = lab.dead()
    requeue(lab, job)
    assert lab.run(commands.delete(lab.keys, lab.keys.dead, [job])) == 0
    assert lab.places(job) == ["ready"]


def test_what_is_not_over_cannot_be_deleted(lab: Lab) -> None:
    (ready,), (begun,) = lab.ready(), lab.begun("w1")
    for place in (lab.keys.dead, lab.keys.completed):
        assert lab.run(commands.delete(lab.keys, place, [ready, begun, "gone"])) == 0
    assert lab.run(commands.complete(lab.keys, "w1", "t1", [Finished(begun)])) == []
