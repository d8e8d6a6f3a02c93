"""bury: a job that is given up is kept for people to look at."""

from __future__ import annotations

import pytest

from redjobs import commands
from redjobs.commands import Finished
from tests.lua.seeds import ERRORS, Lab

pytestmark = pytest.mark.fakeredis


def test_a_buried_job_is_dead_with_its_reason(lab: Lab) -> None:
    (job,) = lab.begun("w1")
    before = lab.now_ms()
    assert lab.run(commands.bury(lab.keys, lab.claim(job), ERRORS)) == "dead"
    assert lab.places(job) == ["dead"]
    assert lab.fields(job)["errors"] == ERRORS
    assert before <= lab.redis.zscore(lab.keys.dead, job) <= lab.now_ms()
    assert lab.count("dead") == 1


def test_a_dead_job_holds_no_key(lab: Lab) -> None:
    (job,) = lab.begun("w1", key="invoice")
    lab.run(commands.bury(lab.keys, lab.claim(job), ERRORS))
    (again,) = lab.ready(key="invoice")
    assert lab.holder("invoice") == again


def test_one_that_was_cancelled_while_it_ran_is_forgotten_and_not_dead(lab: Lab) -> None:
    (job,) = lab.begun("w1", key="invoice")
    lab.run(commands.cancel(lab.keys, job, "invoice"))
    claim = lab.claim(job)
    assert lab.run(commands.bury(lab.keys, claim, ERRORS)) == "discarded"
    assert (lab.places(job), lab.fields(job), lab.holder("invoice"), lab.wishes()) == ([], {}, None, [])
    assert (lab.count("cancelled"), lab.count("dead")) == (1, 0)
    assert lab.run(commands.bury(lab.keys, claim, ERRORS)) == "lost"


@pytest.mark.row(31)
def test_buried_twice_it_died_once(lab: Lab) -> None:
    (job,) = lab.begun("w1")
    claim = lab.claim(job)
    lab.run(commands.bury(lab.keys, claim, ERRORS))
    assert lab.run(commands.bury(lab.keys, claim, ERRORS)) == "lost"
    assert lab.count("dead") == 1


@pytest.mark.row(31)
def test_a_stale_worker_buries_nothing(lab: Lab) -> None:
    (job,) = lab.begun("w1", token="old", key="invoice")
    stale = lab.claim(job)
    lab.lose("w1")
    lab.recover("w1")
    lab.take("w2")
    lab.run(commands.begin(lab.keys, "w2", "new", [job]))
    assert lab.run(commands.bury(lab.keys, stale, ERRORS)) == "lost"
    assert lab.places(job) == ["processing"]
    assert lab.holder("invoice") == job
    assert not lab.run(commands.complete(lab.keys, "w2", "new", [Finished(job, "invoice")]))
