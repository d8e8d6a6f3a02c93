"""A worker's view of one queue, and the order among several."""

from __future__ import annotations

import time
from collections import Counter

from redjobs.commands import Taken
from redjobs.keys import Keys
from redjobs.worker.lane import WAIT_SECONDS, Lane, Order


def taken(*ids: str, next_ms: int | None = None, more: int = 0, missing: tuple[int, ...] = ()) -> Taken:
    """A reply of take."""
    return Taken(False, list(ids), next_ms, more, list(missing), 0)


def test_a_lane_with_nothing_to_take_closes_until_the_next_job_is_due() -> None:
    lane = Lane(Keys("mail"))
    lane.took(taken(next_ms=50))
    now = time.monotonic()
    assert not lane.is_open(now)
    assert lane.is_open(now + 0.06)
    assert lane.wake_at <= now + 0.06


def test_a_lane_stays_open_while_there_may_be_more() -> None:
    lane = Lane(Keys("mail"))
    for reply in (taken("a"), taken(more=3), taken(next_ms=0), taken(missing=(-5,))):
        lane.took(reply)
        assert lane.is_open(time.monotonic())


def test_missing_priorities_are_declared_from_then_on() -> None:
    lane = Lane(Keys("mail"))
    lane.took(taken(missing=(10, -5)))
    lane.took(taken(missing=(-5,)))
    assert lane.priorities == [-5, 10]
    assert {key for key in lane.take(1).keys if ":ready:" in key} == {
        "redjobs:{mail}:ready:-5",
        "redjobs:{mail}:ready:10",
    }


def test_a_lane_that_cannot_block_is_looked_at_now_and_then() -> None:
    lane = Lane(Keys("mail"), lowest=1)
    assert not lane.blocks
    lane.take(1)
    lane.took(taken())
    now = time.monotonic()
    assert not lane.is_open(now)
    assert lane.is_open(now + 1)
    assert lane.wake_at < now + 1


def test_what_waits_too_long_is_given_up_oldest_first() -> None:
    lane = Lane(Keys("mail"))
    lane.took(taken("a", "b"))
    now = time.monotonic()
    assert lane.overdue(now, solo=False) == []
    assert lane.overdue(now + WAIT_SECONDS + 0.01, solo=False) == ["a", "b"]
    assert lane.known() == set()


def test_a_suspect_waits_for_all_but_another_suspect() -> None:
    lane = Lane(Keys("mail"))
    now = time.monotonic()
    lane.suspects.append(("a", now))
    assert lane.overdue(now + WAIT_SECONDS + 0.01, solo=False) == []
    assert lane.overdue(now + WAIT_SECONDS + 0.01, solo=True) == ["a"]


def test_of_a_batch_that_is_refused_each_is_begun_by_itself_once() -> None:
    lane = Lane(Keys("mail"))
    lane.took(taken("a", "b"))
    assert lane.drop_taken() == [["a", "b"]]
    lane.refused(["a", "b"])
    lane.took(taken("c"))
    assert lane.drop_taken() == [["a"], ["b"], ["c"]]
    lane.took(taken("d", "e"))
    assert lane.drop_taken() == [["d", "e"]]


def test_one_that_is_refused_alone_is_given_back_after_its_neighbours_had_a_turn() -> None:
    lane = Lane(Keys("mail"))
    lane.refused(["a"])
    now = time.monotonic()
    assert lane.known() == {"a"}
    assert lane.overdue(now + WAIT_SECONDS + 0.01, solo=True) == lane.drop_aside(now + WAIT_SECONDS) == []
    assert lane.drop_aside(now + 1.01) == ["a"]
    assert not lane.holds


def test_a_lane_that_rests_gives_back_what_it_has_and_wakes_its_worker_for_it() -> None:
    lane = Lane(Keys("mail"))
    lane.took(taken("a"))
    lane.suspects.append(("b", time.monotonic()))
    assert lane.returns_at == float("inf")
    lane.rest(60)
    assert lane.returns_at <= time.monotonic() + WAIT_SECONDS
    assert lane.overdue(time.monotonic() + WAIT_SECONDS + 0.01, solo=False) == ["a", "b"]
    assert lane.wake_at == lane.rests_until


def test_a_stranger_is_one_that_was_unknown_twice() -> None:
    lane = Lane(Keys("mail"))
    lane.took(taken("known"))
    lane.begun.add(("begun", "t1"))
    assert lane.compare(["new", "begun", "known"]) == []
    assert lane.compare(["newer", "new", "begun", "known"]) == ["new"]


def test_a_new_incarnation_has_another_name_and_knows_nothing() -> None:
    lane = Lane(Keys("mail"), name="web-1")
    before = lane.worker
    lane.took(taken("a"))
    lane.renew()
    assert lane.worker != before and lane.worker.startswith("web-1.")
    assert not lane.taken and lane.is_open(time.monotonic())


def test_strict_order_is_the_order_given() -> None:
    lanes = [Lane(Keys(name)) for name in ("a", "b", "c")]
    assert Order(()).lanes(lanes) == lanes


def test_shards_of_one_queue_take_turns_within_its_place() -> None:
    names = ["a", "mail/0", "mail/1", "mail/2", "mail", "z"]
    lanes = [Lane(Keys(name)) for name in names]
    orders = [[lane.keys.queue for lane in Order(()).lanes(lanes)] for _ in range(400)]
    assert all(order[0] == "a" and order[-1] == "z" for order in orders)
    # 100 of each are expected; below 50 it is more than five standard deviations.
    firsts = Counter(order[1] for order in orders)
    assert set(firsts) == {"mail/0", "mail/1", "mail/2", "mail"} and min(firsts.values()) > 50


def test_a_queue_is_not_heavier_for_being_sharded() -> None:
    lanes = [Lane(Keys(name)) for name in ("plain", *(f"mail/{number}" for number in range(8)))]
    order = Order((("mail", 1), ("plain", 1)))
    first = Counter(order.lanes(lanes)[0].keys.queue for _ in range(2_000))
    # 1,000 are expected for the eight together; it would be 1,778 if each counted as one.
    assert 800 < first["plain"] < 1_200


def test_a_heavier_queue_comes_first_more_often() -> None:
    lanes = [Lane(Keys(name)) for name in ("light", "heavy-1")]
    order = Order((("heavy-*", 9),))
    first = Counter(order.lanes(lanes)[0].keys.queue for _ in range(2_000))
    # 1,800 are expected; 1,700 are seven standard deviations away.
    assert first["heavy-1"] > 1_700
    assert first["light"] > 0
