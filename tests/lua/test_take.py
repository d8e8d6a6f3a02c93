"""take: what is due is promoted, and the best jobs go to the worker's own list."""

from __future__ import annotations

import pytest

from redjobs import commands
from redjobs.commands import BATCH, Taken
from redjobs.keys import BELL
from tests.lua.seeds import HOUR, Lab

pytestmark = pytest.mark.fakeredis


def take(lab: Lab, count: int = 100, priorities: tuple[int, ...] = (), worker: str = "w1") -> Taken:
    return lab.run(commands.take(lab.keys, worker, count, priorities))


@pytest.fixture(autouse=True)
def w1(lab: Lab) -> None:
    lab.worker("w1")


def test_an_empty_queue_gives_nothing(lab: Lab) -> None:
    assert take(lab) == Taken(lapsed=False, ids=[], next_ms=None, more=0, missing=[], promoted=0)


def test_jobs_are_taken_first_in_first_out(lab: Lab) -> None:
    ids = lab.ready(5)
    assert take(lab, 3).ids == ids[:3]
    assert lab.processing("w1") == ids[:3]
    assert take(lab, 3).ids == ids[3:]
    assert lab.processing("w1") == ids


def test_it_says_how_many_were_left(lab: Lab) -> None:
    lab.ready(5)
    assert take(lab, 3).more == 2


@pytest.mark.row(31)
def test_taken_twice_no_job_is_given_twice(lab: Lab) -> None:
    ids = lab.ready(4)
    lab.worker("w2")
    assert take(lab, 2).ids + take(lab, 4, worker="w2").ids == ids


def test_a_worker_without_a_lease_gets_nothing_and_moves_nothing(lab: Lab) -> None:
    (ready,), (due,) = lab.ready(), lab.due()
    lab.lose("w1")
    assert take(lab).lapsed
    assert lab.waiting() == [ready]
    assert lab.places(due) == ["scheduled"]


def test_an_expired_lease_that_nobody_swept_is_still_one(lab: Lab) -> None:
    ids = lab.ready()
    lab.run(commands.heartbeat(lab.keys, ["w1"], -1))
    assert take(lab).ids == ids


def test_a_scheduled_job_stays_until_it_is_due(lab: Lab) -> None:
    (job,) = lab.scheduled(in_ms=HOUR)
    taken = take(lab)
    assert taken.ids == []
    assert taken.next_ms is not None
    assert 0 < taken.next_ms <= HOUR
    assert lab.places(job) == ["scheduled"]


@pytest.mark.row(29)
def test_due_jobs_are_run_in_the_order_of_their_time(lab: Lab) -> None:
    late, early = lab.due(ago_ms=1_000)[0], lab.due(ago_ms=2_000)[0]
    soon = lab.ready()[0]
    assert take(lab).ids == [soon, early, late]


def test_due_jobs_of_several_priorities_keep_their_order(lab: Lab) -> None:
    low, urgent, normal = lab.due(3, priority=7), lab.due(3, priority=-7), lab.due(3)
    assert take(lab, 100, (7, -7)).ids == [*urgent, *normal, *low]


def test_lower_numbers_run_first_whatever_came_first(lab: Lab) -> None:
    huge, low, normal = lab.ready(priority=10**15), lab.ready(priority=2), lab.ready()
    urgent, most_urgent = lab.ready(priority=-1), lab.ready(priority=-(10**15))
    order = [*most_urgent, *urgent, *normal, *low, *huge]
    assert take(lab, 100, (10**15, 2, -1, -(10**15))).ids == order
    assert lab.levels() == []


def test_a_small_count_takes_the_best_of_several_levels(lab: Lab) -> None:
    low, normal, urgent = lab.ready(2, priority=3), lab.ready(2), lab.ready(2, priority=-3)
    taken = take(lab, 3, (3, -3))
    assert taken.ids == [*urgent, normal[0]]
    assert lab.waiting() == normal[1:]
    assert lab.waiting(3) == low
    assert lab.levels() == [3]


def test_a_level_that_was_not_declared_is_named_and_its_jobs_stay(lab: Lab) -> None:
    ready, due = lab.ready(priority=-4), lab.due(2, priority=9)
    normal = lab.ready()
    taken = take(lab)
    # Nothing worse is taken before them.
    assert taken.ids == []
    assert sorted(taken.missing) == [-4, 9]
    assert lab.waiting(-4) == ready
    assert [lab.places(job) for job in due] == [["scheduled"], ["scheduled"]]
    assert take(lab, 10, (-4, 9)).ids == [*ready, *normal, *due]


def test_a_level_that_has_become_empty_is_tidied_away(lab: Lab) -> None:
    (job,) = lab.ready(priority=6)
    lab.run(commands.cancel(lab.keys, job))
    assert lab.levels() == [6]
    assert take(lab, 1, (6,)).missing == []
    assert lab.levels() == []


@pytest.mark.parametrize(
    ("limits", "expected"),
    [((None, -1), [-5]), ((0, 0), [0]), ((0, None), [0, 5]), ((-5, 0), [-5, 0]), ((6, None), [])],
    ids=str,
)
def test_a_worker_for_some_priorities_takes_only_those(
    lab: Lab, limits: tuple[int | None, int | None], expected: list[int]
) -> None:
    ids = {priority: lab.due(priority=priority)[0] for priority in (-5, 0, 5)}
    taken = lab.run(commands.take(lab.keys, "w1", 10, (-5, 5), limits))
    assert taken.ids == [ids[priority] for priority in expected]
    assert (taken.promoted, taken.more, taken.missing) == (3, 0, [])
    others = [ids[priority] for priority in ids if priority not in expected]
    assert [lab.places(job) for job in others] == [["ready"]] * len(others)


def test_one_call_promotes_no_more_than_its_limit(lab: Lab) -> None:
    ids = lab.due(BATCH + 1)
    first = take(lab, 1)
    assert (first.promoted, first.next_ms, first.ids) == (BATCH, 0, ids[:1])
    assert lab.places(ids[-1]) == ["scheduled"]
    second = take(lab, 1)
    assert (second.promoted, second.next_ms) == (1, None)


def test_one_call_takes_no_more_than_a_batch(lab: Lab) -> None:
    lab.enqueue(*(lab.new() for _ in range(1_000)))
    taken = take(lab, 100_000)
    assert len(taken.ids) == BATCH
    assert taken.more == 1_000 - BATCH


def test_without_a_worker_it_only_promotes(lab: Lab) -> None:
    ids, urgent = lab.due(2), lab.due(1, priority=-1)
    lab.rung()
    taken = take(lab, 0, (-1,), worker="")
    assert (taken.lapsed, taken.ids, taken.promoted, taken.more) == (False, [], 3, 3)
    assert lab.waiting() == ids
    assert lab.waiting(-1) == urgent


def test_a_bell_is_dropped_and_is_no_job(lab: Lab) -> None:
    lab.redis.lpush(lab.keys.ready, BELL)
    assert take(lab) == Taken(lapsed=False, ids=[], next_ms=None, more=0, missing=[], promoted=0)
    assert not lab.rung()


def test_a_bell_that_a_blocked_worker_got_leaves_its_list(lab: Lab) -> None:
    lab.scheduled()
    assert lab.redis.rpoplpush(lab.keys.ready, lab.keys.processing("w1")) == BELL.encode()
    assert take(lab).ids == []
    assert lab.processing("w1") == []


def test_a_bell_takes_no_jobs_place(lab: Lab) -> None:
    lab.redis.lpush(lab.keys.ready, BELL)
    ids = lab.ready(2)
    assert take(lab, 1).ids == ids[:1]


def test_a_bell_is_not_counted_as_left(lab: Lab) -> None:
    lab.ready(priority=-1)
    assert lab.waiting() == [BELL]
    assert take(lab, 1, (-1,)).more == 0
