"""release: what a worker gives back is run as if it had never been taken."""

from __future__ import annotations

import pytest

from redjobs.ids import new_id
from redjobs.keys import BELL
from tests.lua.seeds import Lab

pytestmark = pytest.mark.fakeredis


def test_jobs_that_were_not_begun_go_to_the_front_in_their_order(lab: Lab) -> None:
    ids = lab.taken("w1", 5)
    later = lab.ready(2)
    assert lab.release("w1", "", ids) == 5
    assert lab.waiting() == [*ids, *later]
    assert lab.processing("w1") == []
    assert lab.count("released") == 5


def test_a_job_that_was_begun_gets_its_attempt_back(lab: Lab) -> None:
    ids = lab.begun("w1", 3)
    later = lab.ready()
    assert lab.release("w1", "t1", ids) == 3
    assert lab.waiting() == [*ids, *later]
    assert [lab.number(job, "attempt") for job in ids] == [0, 0, 0]
    assert lab.number(ids[0], "crashes") == 0


def test_each_priority_has_its_own_front(lab: Lab) -> None:
    urgent, normal, low = (lab.taken("w1", 2, priority=p) for p in (-5, 0, 10**15))
    waiting = lab.ready(priority=-5)
    assert lab.release("w1", "", [urgent[0], low[0], normal[0], urgent[1], normal[1], low[1]]) == 6
    lab.rung()
    assert lab.waiting(-5) == [*urgent, *waiting]
    assert lab.waiting(0) == normal
    assert lab.waiting(10**15) == low
    assert lab.levels() == [-5, 10**15]


def test_a_wrong_token_gives_nothing_back(lab: Lab) -> None:
    (job,) = lab.begun("w1", token="t1")
    assert lab.release("w1", "t2", [job]) == lab.release("w1", "", [job]) == 0
    assert (lab.places(job), lab.number(job, "attempt")) == (["processing"], 1)


def test_a_token_is_no_right_to_a_job_that_was_not_begun(lab: Lab) -> None:
    (job,) = lab.taken("w1")
    assert lab.release("w1", "t1", [job]) == 0
    assert lab.places(job) == ["processing"]


@pytest.mark.row(31)
def test_released_twice_it_is_released_once(lab: Lab) -> None:
    taken, (begun,) = lab.taken("w1", 2), lab.begun("w1")
    lab.release("w1", "", taken)
    lab.release("w1", "t1", [begun])
    assert lab.release("w1", "", taken) == lab.release("w1", "t1", [begun]) == 0
    assert lab.waiting() == [begun, *taken]
    assert lab.number(begun, "attempt") == 0


@pytest.mark.row(31)
def test_a_stale_worker_releases_nothing(lab: Lab) -> None:
    (job,) = lab.begun("w1", token="old")
    lab.lose("w1")
    lab.recover("w1")
    lab.take("w2")
    assert lab.release("w1", "", [job]) == lab.release("w1", "old", [job]) == 0
    assert lab.processing("w2") == [job]


def test_only_some_of_a_worker_are_given_back(lab: Lab) -> None:
    first, second, third = lab.taken("w1", 3)
    assert lab.release("w1", "", [second]) == 1
    assert lab.processing("w1") == [first, third]


def test_ids_without_a_job_and_bells_are_dropped_and_not_counted(lab: Lab) -> None:
    (job,) = lab.taken("w1")
    ghost = new_id()
    lab.redis.lpush(lab.keys.processing("w1"), ghost, BELL)
    assert lab.release("w1", "", [job, ghost, BELL]) == 1
    assert (lab.waiting(), lab.processing("w1")) == ([job], [])
    assert lab.count("released") == 1
