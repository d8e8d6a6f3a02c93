"""The checker itself: Jepsen's three vectors for a total queue, and what explains a repeat."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.chaos.checker import (
    ORPHANED,
    Fault,
    early,
    living,
    percentile,
    ran_after,
    recoveries,
    repeats,
    total_queue,
    wrong_attempts,
)
from tests.chaos.record import AGAIN, DONE, STOPPED, Run


def test_empty() -> None:
    found = total_queue([], [], [])
    assert found.is_valid
    assert not (found.lost or found.unexpected or found.duplicated or found.recovered)
    assert (found.attempts, found.acknowledged, found.ok) == (0, 0, 0)


def test_sane() -> None:
    found = total_queue(attempted=[1, 2], acknowledged=[2], came_out=[1, 2])
    assert found.is_valid
    assert not (found.lost or found.unexpected or found.duplicated)
    assert found.recovered == Counter([1])
    assert (found.attempts, found.acknowledged, found.ok) == (2, 1, 2)


def test_pathological() -> None:
    found = total_queue(
        attempted=["hung", "enqueued", "dup"],
        acknowledged=["enqueued", "dup"],
        came_out=["wtf", "dup", "dup"],
    )
    assert not found.is_valid
    assert found.lost == Counter(["enqueued"])
    assert found.unexpected == Counter(["wtf"])
    assert found.duplicated == Counter(["dup"])
    assert not found.recovered
    assert (found.attempts, found.acknowledged, found.ok) == (3, 2, 1)


def run(started: float, ended: float | None, how: str = "", *, pid: int = 1, attempt: int = 1) -> Run:
    return Run("job", attempt, pid, started, round(started * 1000), ended, how)


KILL = Fault("child killed", 5.0, 5.0, frozenset({1}), kills=True)


@pytest.mark.parametrize(
    ("first", "running", "unsettled", "unexplained"),
    [
        (run(4.9, None), 1, 0, 0),
        (run(4.8, 4.9, DONE), 0, 1, 0),
        (run(3.0, 4.0, DONE), 0, 0, 1),
        (run(4.9, None, pid=2), 0, 0, 1),
        (run(5.1, 5.2, DONE), 0, 0, 1),
    ],
    ids=["in the middle", "not settled", "long over", "another process", "begun later"],
)
def test_a_kill_explains_what_ran_there(first: Run, running: int, unsettled: int, unexplained: int) -> None:
    found = repeats([first, run(6.0, 6.1, DONE, pid=3)], [KILL])
    assert found.running.total() == running
    assert found.unsettled.total() == unsettled
    assert len(found.unexplained) == unexplained
    assert found.total == 1


def test_a_fault_that_is_no_excuse_explains_nothing() -> None:
    cut = Fault("connection cut", 5.0, 5.0, excuses=False)
    assert len(repeats([run(4.9, 5.1, DONE), run(6.0, 6.1, DONE)], [cut]).unexplained) == 1


def test_who_was_frozen_may_start_what_others_have_done() -> None:
    frozen = Fault("machine frozen", 5.0, 8.0, frozenset({1}))
    others, zombie = run(6.0, 6.1, DONE, pid=2), run(7.5, 7.6, DONE)
    assert repeats([others, zombie], [frozen]).unsettled == Counter({"machine frozen": 1})
    assert living([others, zombie], [frozen]) == [others]
    late = run(9.0, 9.1, DONE)
    assert repeats([others, late], [frozen]).unexplained == [(others, late)]


def test_an_enqueue_that_was_sent_twice_explains_one_repeat() -> None:
    runs = [run(1.0, 1.1, DONE), run(1.2, 1.3, DONE), run(1.4, 1.5, DONE)]
    found = repeats(runs, [], {"job": [0.9, 1.15]})
    assert (found.sent_again, len(found.unexplained)) == (1, 1)


def test_an_enqueue_that_came_again_before_the_job_was_over_explains_nothing() -> None:
    runs = [run(1.0, 2.0, DONE), run(2.1, 2.2, DONE)]
    assert len(repeats(runs, [], {"job": [0.9, 1.5]}).unexplained) == 1
    assert len(repeats(runs, [], {"job": [0.9, 2.5]}).unexplained) == 1
    # Unless the server slept, and it was carried out when it woke.
    paused = Fault("server paused", 1.4, 2.05, excuses=False)
    assert repeats(runs, [paused], {"job": [0.9, 1.5]}).sent_again == 1


def test_a_job_that_is_made_anew_begins_to_count_anew() -> None:
    """Whatever else befell the first one, which had failed before it was over."""
    runs = [run(1.0, 1.1, AGAIN), run(1.2, 1.3, DONE, attempt=2), run(2.0, 2.1, AGAIN)]
    runs += [run(2.2, 2.3, DONE, attempt=2)]
    for faults in ([], [Fault("black hole", 1.0, 3.0)]):
        found = repeats(runs, faults, {"job": [0.9, 1.95]})
        assert (found.sent_again, found.total) == (1, 1)
        assert wrong_attempts(runs, runs, found.anew) == []
    assert len(wrong_attempts(runs, runs)) == 1


def test_an_enqueue_that_was_sent_twice_is_no_matter_of_the_network() -> None:
    runs = [run(1.0, 1.1, DONE), run(1.2, 1.3, DONE), run(1.4, 1.5, DONE)]
    found = repeats(runs, [Fault("black hole", 1.0, 3.0)], {"job": [0.9, 1.15]})
    assert (found.sent_again, found.of_everybody, found.total) == (1, 1, 2)


def test_planned_repeats_are_none() -> None:
    assert repeats([run(1.0, 1.1, AGAIN), run(2.0, 2.1, DONE, attempt=2)], []).total == 0
    assert repeats([run(1.0, 1.1, STOPPED), run(2.0, 2.1, DONE)], []).stopped == 1


def test_a_failure_that_was_not_settled_is_a_repeat() -> None:
    found = repeats([run(4.8, 4.9, AGAIN), run(6.0, 6.1, AGAIN)], [KILL])
    assert found.unsettled == Counter({"child killed": 1})


def test_recovery_is_from_the_kill_to_the_next_start() -> None:
    assert recoveries([run(4.9, None), run(5.25, 5.3, DONE, pid=2)], [KILL]) == {"child killed": [0.25]}
    assert recoveries([run(4.8, 4.9, DONE), run(5.25, 5.3, DONE, pid=2)], [KILL]) == {}


def attempts(*runs: Run) -> int:
    return len(wrong_attempts(runs, runs))


def test_attempts_count_failures() -> None:
    failed = run(1.0, 1.1, AGAIN)
    assert attempts(failed, run(2.0, 2.1, DONE, attempt=2)) == 0
    assert attempts(failed, run(2.0, 2.1, DONE)) == 0  # it died before that was settled
    assert attempts(failed, run(2.0, 2.1, DONE, attempt=3)) == 1
    assert attempts(failed, run(2.0, None, attempt=2), run(3.0, 3.1, DONE)) == 1


def test_a_job_is_early_by_what_was_said_last_before_it_started() -> None:
    said = {"job": [(0.0, 5_000), (3.0, 2_000)]}
    assert len(early([run(2.0, 2.1, DONE)], said)) == 1
    assert early([run(4.0, 4.1, DONE)], said) == []


def test_a_job_is_not_early_while_nobody_knows_its_time() -> None:
    said = {"job": [(0.0, 5_000), (1.0, 0)]}
    assert early([run(2.0, 2.1, DONE)], said) == []
    assert len(early([run(0.5, 0.6, DONE)], said)) == 1


def test_a_cancelled_job_does_not_start() -> None:
    assert ran_after([run(2.0, 2.1, DONE)], {"job": 1.0}) != []
    assert ran_after([run(2.0, 2.1, DONE)], {"job": 3.0}) == []


def test_percentiles() -> None:
    assert percentile([], 0.5) == 0.0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile(list(range(100)), 0.99) == 99


def test_a_next_attempt_does_not_begin_before_the_failure() -> None:
    """As when one that was frozen fails late, and its word still counts."""
    found = repeats([run(1.0, 3.0, AGAIN), run(2.5, 4.0, DONE, attempt=2, pid=2)], [])
    assert len(found.unexplained) == 1


ORPHANS = Fault(ORPHANED, 5.0, 9.0, frozenset({1, 7}))


@pytest.mark.parametrize(
    ("first", "seconds"),
    [
        (run(4.9, None), [3.0]),
        (run(6.0, None), [3.0]),
        (run(4.9, 6.5, STOPPED), [3.0]),
        (run(4.9, 5.5, AGAIN), []),
        (run(4.8, 4.9, STOPPED), []),
        (run(4.9, None, pid=2), []),
    ],
    ids=["never ended", "begun by the orphan", "given back", "finished", "given back before", "another"],
)
def test_an_orphan_leaves_what_it_does_not_finish(first: Run, seconds: list[float]) -> None:
    found = recoveries([first, run(8.0, 8.1, DONE, pid=3)], [ORPHANS])
    assert found == ({ORPHANED: seconds} if seconds else {})


def test_an_orphan_that_is_killed_itself_is_counted_as_that() -> None:
    assert recoveries([run(4.9, None), run(8.0, 8.1, DONE, pid=3)], [ORPHANS, KILL]).keys() == {
        "child killed"
    }
