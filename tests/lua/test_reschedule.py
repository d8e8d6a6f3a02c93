"""reschedule: a job that has not begun gets another time."""

from __future__ import annotations

import pytest

from redjobs import commands
from tests.lua.seeds import DAY, HOUR, Lab

pytestmark = pytest.mark.fakeredis


def reschedule(lab: Lab, job_id: str, run_at: str) -> str:
    return lab.run(commands.reschedule(lab.keys, job_id, run_at))[0]


def test_a_scheduled_job_runs_later(lab: Lab) -> None:
    (job,) = lab.scheduled()
    before = lab.now_ms()
    word, run_at = lab.run(commands.reschedule(lab.keys, job, f"+{DAY}"))
    assert word == "rescheduled"
    assert before + DAY <= run_at <= lab.now_ms() + DAY
    assert lab.run_at(job) == lab.number(job, "run_at") == run_at


@pytest.mark.parametrize("priority", [0, -3, 10**15])
def test_a_ready_job_runs_later(lab: Lab, priority: int) -> None:
    first, job = lab.ready(2, priority=priority)
    assert reschedule(lab, job, f"+{HOUR}") == "rescheduled"
    assert lab.waiting(priority) == [first]
    assert lab.places(job) == ["scheduled"]


@pytest.mark.parametrize("run_at", ["", "+0", "1"])
def test_a_scheduled_job_runs_now(lab: Lab, run_at: str) -> None:
    (job,) = lab.scheduled(key="invoice")
    before = lab.now_ms()
    word, at_ms = lab.run(commands.reschedule(lab.keys, job, run_at))
    assert word == "rescheduled"
    assert before <= at_ms <= lab.now_ms()  # never in the past: lateness is counted from here
    assert lab.take("w1") == [job]
    assert lab.holder("invoice") == job


def test_a_moment_is_kept_to_the_millisecond(lab: Lab) -> None:
    (job,) = lab.scheduled()
    moment = lab.now_ms() + DAY + 17
    assert lab.run(commands.reschedule(lab.keys, job, str(moment))) == ("rescheduled", moment)
    assert lab.run_at(job) == moment


def test_what_has_begun_or_is_over_is_not_touched(lab: Lab) -> None:
    (taken,), (begun,), (dead,), (completed,) = (
        lab.taken("w1"),
        lab.begun("w1"),
        lab.dead(),
        lab.completed(),
    )
    jobs = (taken, begun, dead, completed, "gone")
    places = [lab.places(job) for job in jobs]
    words = [reschedule(lab, job, "") for job in jobs]
    assert words == ["processing", "processing", "dead", "completed", "missing"]
    assert [lab.places(job) for job in jobs] == places
