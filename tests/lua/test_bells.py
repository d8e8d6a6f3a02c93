"""Bells: whoever sleeps learns of work that its blocking call cannot see, and nobody is woken for nothing."""

from __future__ import annotations

import pytest

from redjobs import commands
from redjobs.keys import BELL
from tests.lua.seeds import DAY, HOUR, Lab

pytestmark = pytest.mark.fakeredis


def test_an_ordinary_job_needs_no_bell(lab: Lab) -> None:
    ids = lab.ready(2)
    assert lab.waiting() == ids


def test_a_job_of_another_priority_rings(lab: Lab) -> None:
    lab.ready(priority=-1)
    assert lab.rung()


def test_a_new_head_of_the_schedule_rings(lab: Lab) -> None:
    lab.scheduled(in_ms=DAY)
    assert lab.rung()
    lab.scheduled(in_ms=HOUR)
    assert lab.rung()


def test_what_is_due_after_the_head_does_not_ring(lab: Lab) -> None:
    lab.scheduled(in_ms=HOUR)
    lab.rung()
    lab.scheduled(in_ms=DAY)
    assert not lab.rung()


@pytest.mark.parametrize("seed", ["priority", "head"])
def test_where_jobs_are_ready_nobody_sleeps(lab: Lab, seed: str) -> None:
    ids = lab.ready()
    if seed == "priority":
        lab.ready(priority=-1)
    else:
        lab.scheduled()
    assert lab.waiting() == ids


def test_there_are_never_two_bells(lab: Lab) -> None:
    for hours in (5, 4, 3):
        lab.scheduled(in_ms=hours * HOUR)
        lab.ready(priority=hours)
    assert lab.waiting() == [BELL]


def test_a_retry_that_is_the_new_head_rings(lab: Lab) -> None:
    first, second = lab.begun("w1", 2)
    lab.run(commands.retry(lab.keys, lab.claim(first), HOUR))
    assert lab.rung()
    lab.run(commands.retry(lab.keys, lab.claim(second), DAY))
    assert not lab.rung()


def test_a_reschedule_to_the_front_rings(lab: Lab) -> None:
    _, second = lab.scheduled(2)
    lab.rung()
    lab.run(commands.reschedule(lab.keys, second, "+1000"))
    assert lab.rung()
    lab.run(commands.reschedule(lab.keys, second, f"+{DAY}"))
    assert not lab.rung()


@pytest.mark.parametrize("verb", ["release", "recover", "requeue"])
@pytest.mark.parametrize("priority", [0, 4])
def test_what_comes_back_rings_unless_it_wakes_by_itself(lab: Lab, verb: str, priority: int) -> None:
    if verb == "requeue":
        (job,) = lab.dead(priority=priority)
        lab.rung()
        lab.run(commands.requeue(lab.keys, job))
    else:
        (job,) = lab.taken("w1", priority=priority)
        lab.rung()
        if verb == "release":
            lab.release("w1", "", [job])
        else:
            lab.lose("w1")
            lab.recover("w1")
    assert lab.waiting() == ([BELL] if priority else [job])


def test_a_busy_worker_passes_the_bell_on_while_there_is_more(lab: Lab) -> None:
    lab.ready(2, priority=-1)
    lab.rung()
    lab.take("w1", 1, (-1,))
    assert lab.rung()
    lab.take("w1", 1, (-1,))
    assert not lab.rung()


def test_a_busy_worker_passes_the_bell_on_before_the_next_job_is_due(lab: Lab) -> None:
    lab.ready(1)
    lab.scheduled(in_ms=900)
    lab.take("w1", 1)
    assert len(lab.waiting()) == 1  # the bell, or the job itself where the machine was that slow


def test_a_level_that_a_busy_worker_does_not_know_is_rung_for(lab: Lab) -> None:
    lab.ready(priority=7)
    lab.rung()
    lab.ready()
    lab.take("w1", 1)
    assert lab.rung()


def test_an_idle_worker_does_not_wake_others(lab: Lab) -> None:
    lab.ready(priority=7)
    lab.rung()
    assert lab.take("w1", 10) == []
    assert not lab.rung()


def test_who_promotes_for_others_wakes_one_of_them(lab: Lab) -> None:
    lab.due(priority=5)
    lab.rung()
    lab.run(commands.take(lab.keys, "", 0, (5,)))
    assert lab.rung()


def test_who_promotes_for_others_leaves_the_bell(lab: Lab) -> None:
    lab.ready(priority=5)
    lab.run(commands.take(lab.keys, "", 0, (5,)))
    assert lab.waiting() == [BELL]
    assert lab.levels() == [5]
