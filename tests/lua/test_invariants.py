"""The check after each test sees what it is there to see."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from redjobs.ids import new_id
from redjobs.keys import BELL
from tests import invariants
from tests.lua.seeds import Lab

pytestmark = [pytest.mark.fakeredis, pytest.mark.unchecked("each of these breaks the data on purpose")]


@pytest.mark.row(36)
def test_a_busy_queue_breaks_nothing(lab: Lab) -> None:
    lab.ready(priority=5)
    lab.ready(key="a")
    lab.due()
    lab.begun("w1", key="b")
    lab.taken("w1")
    lab.dead()
    lab.completed()
    assert invariants.violations(lab.redis) == []


def two_places(lab: Lab) -> None:
    lab.redis.zadd(lab.keys.scheduled, {lab.ready()[0]: 1})


def twice_in_one_list(lab: Lab) -> None:
    lab.redis.lpush(lab.keys.ready, lab.ready()[0])


def no_hash(lab: Lab) -> None:
    lab.redis.lpush(lab.keys.ready, new_id())


def no_place(lab: Lab) -> None:
    lab.ready()
    lab.redis.delete(lab.keys.ready)


def token_without_worker(lab: Lab) -> None:
    lab.redis.hset(lab.keys.job(lab.ready()[0]), mapping={"token": "t", "worker": "w"})


def two_owners(lab: Lab) -> None:
    lab.begun("w1")
    lab.worker("w2")
    lab.redis.lmove(lab.keys.processing("w1"), lab.keys.processing("w2"))


def unknown_worker(lab: Lab) -> None:
    lab.taken("w1")
    lab.redis.delete(lab.keys.workers)


def unnamed_level(lab: Lab) -> None:
    lab.ready(priority=5)
    lab.redis.delete(lab.keys.levels)


def wrong_list(lab: Lab) -> None:
    lab.ready(priority=5)
    lab.redis.rename(lab.keys.list_of(5), lab.keys.list_of(6))


def two_bells(lab: Lab) -> None:
    lab.redis.lpush(lab.keys.ready, BELL, BELL)


def bell_that_wakes_nobody(lab: Lab) -> None:
    lab.redis.lpush(lab.keys.list_of(5), BELL)


def key_of_nobody(lab: Lab) -> None:
    lab.redis.set(lab.keys.unique("invoice"), new_id())


def job_that_lost_its_key(lab: Lab) -> None:
    lab.ready(key="invoice")
    lab.redis.delete(lab.keys.unique("invoice"))


def two_times(lab: Lab) -> None:
    lab.redis.zadd(lab.keys.scheduled, {lab.scheduled()[0]: 1})


def unknown_key(lab: Lab) -> None:
    lab.redis.set(f"{lab.keys.prefix}:{{{lab.keys.queue}}}:typo", "x")


def foreign_key(lab: Lab) -> None:
    lab.redis.set("cache", "x")


@pytest.mark.parametrize(
    "mischief",
    [
        two_places,
        twice_in_one_list,
        no_hash,
        no_place,
        token_without_worker,
        two_owners,
        unknown_worker,
        unnamed_level,
        wrong_list,
        two_bells,
        bell_that_wakes_nobody,
        key_of_nobody,
        job_that_lost_its_key,
        two_times,
        unknown_key,
        foreign_key,
    ],
)
def test_mischief_is_seen(lab: Lab, mischief: Callable[[Lab], None]) -> None:
    mischief(lab)
    with pytest.raises(AssertionError, match="breaks its invariants"):
        invariants.check(lab.redis)
