"""peek and holder: a job as it stands."""

from __future__ import annotations

import pytest

from redjobs import commands
from redjobs.jobs import Job, State
from tests.lua.seeds import ARGS, HOUR, NAME, Lab

pytestmark = pytest.mark.fakeredis


def peek(lab: Lab, job_id: str) -> Job:
    job = lab.run(commands.peek(lab.keys, job_id))
    assert job is not None
    return job


def test_each_state_is_told_by_where_the_job_stands(lab: Lab) -> None:
    seeds = {
        State.READY: lab.ready(priority=3),
        State.SCHEDULED: lab.scheduled(priority=3),
        State.PROCESSING: lab.begun("w1", priority=3),
        State.DEAD: lab.dead(priority=3),
        State.COMPLETED: lab.completed(priority=3),
    }
    for state, (job_id,) in seeds.items():
        job = peek(lab, job_id)
        assert (job.id, job.state, job.name, job.priority) == (job_id, state, NAME, 3)


def test_a_job_that_was_taken_and_not_begun_is_still_ready(lab: Lab) -> None:
    (job,) = lab.taken("w1")
    assert peek(lab, job).state is State.READY


def test_it_tells_the_whole_story(lab: Lab) -> None:
    (job_id,) = lab.begun("w1", key="invoice", max_attempts=7, timeout=1.5)
    job = peek(lab, job_id)
    assert (job.key, job.options.max_attempts, job.options.timeout) == ("invoice", 7, 1.5)
    assert (job.attempt, job.worker, job.payload) == (1, "w1", ARGS)
    assert job.started_at_ms == lab.number(job_id, "started_at")
    assert job.errors == ()


def test_a_scheduled_job_tells_when_it_is_due(lab: Lab) -> None:
    (job_id,) = lab.scheduled(in_ms=HOUR)
    assert peek(lab, job_id).run_at_ms == lab.run_at(job_id)


def test_over_it_tells_when_and_why(lab: Lab) -> None:
    (dead,), (completed,) = lab.dead(), lab.completed()
    assert peek(lab, dead).ended_at_ms == lab.redis.zscore(lab.keys.dead, dead)
    assert peek(lab, dead).errors[0].error == "ValueError: no such user"
    assert peek(lab, completed).result_payload == b"result"
    assert peek(lab, completed).ended_at_ms == lab.number(completed, "completed_at")


def test_a_job_that_is_not_there_is_none(lab: Lab) -> None:
    assert lab.run(commands.peek(lab.keys, "gone")) is None


def test_a_key_leads_to_its_job(lab: Lab) -> None:
    (job,) = lab.ready(key="invoice")
    assert lab.run(commands.holder(lab.keys, "invoice")) == job
    assert lab.run(commands.holder(lab.keys, "letter")) == ""
