"""The verdict on runs that are made by hand: what it lets pass, and that each fault is one problem."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from redjobs.ids import new_id
from redjobs.keys import Keys
from tests import invariants
from tests.chaos.campaign import Seen, Settings, run
from tests.chaos.checker import ORPHANED, Fault
from tests.chaos.history import History
from tests.chaos.record import AGAIN, CORRUPT, DONE, STOPPED, Record, Run
from tests.chaos.verdict import figures, judge, table
from tests.invariants import Contents


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Seen]:
    """A run in which nothing has happened."""
    record = Record(tmp_path / "record")
    yield Seen(Settings(seed=1, timed=True), History(), record)
    record.close()


def enqueued(seen: Seen, *jobs: str) -> None:
    seen.history.attempted |= set(jobs)
    seen.history.acknowledged |= set(jobs)


def ran(
    seen: Seen,
    job: str,
    started: float,
    ended: float | None,
    how: str = "",
    *,
    pid: int = 1,
    attempt: int = 1,
) -> None:
    seen.record.runs.append(Run(job, attempt, pid, started, round(started * 1000), ended, how))


def is_dead(seen: Seen, job: str, errors: bytes = b"") -> None:
    hashes = {job: {"errors": errors}}
    seen.contents.append(Contents(Keys("default"), hashes=hashes, scores={"dead": {job: 1.0}}))


# What is wrong --------------------------------------------------------------------------------


def lost(seen: Seen) -> None:
    enqueued(seen, "a")


def never_ended(seen: Seen) -> None:
    enqueued(seen, "a")
    ran(seen, "a", 1.0, None)


def from_nowhere(seen: Seen) -> None:
    ran(seen, "a", 1.0, 1.1, DONE)


def corrupt(seen: Seen) -> None:
    seen.history.attempted.add("a")
    ran(seen, "a", 1.0, 1.1, CORRUPT)


def twice(seen: Seen) -> None:
    enqueued(seen, "a")
    ran(seen, "a", 1.0, 1.1, DONE)
    ran(seen, "a", 2.0, 2.1, DONE)


def attempt_ahead(seen: Seen) -> None:
    enqueued(seen, "a")
    ran(seen, "a", 1.0, 1.1, DONE, attempt=2)


def too_early(seen: Seen) -> None:
    enqueued(seen, "a")
    seen.history.later("a", 0.0, 2_000)
    ran(seen, "a", 1.0, 1.1, DONE)


def came_in_and_stayed(seen: Seen) -> None:
    seen.counters["default"] = {"enqueued": 2, "completed": 1}


def went_out_twice(seen: Seen) -> None:
    seen.counters["default"] = {"enqueued": 2, "requeued": 1, "completed": 2, "dead": 1, "cancelled": 1}


def dead_and_no_poison(seen: Seen) -> None:
    enqueued(seen, "a")
    ran(seen, "a", 1.0, None)
    is_dead(seen, "a")


def dead_and_hit_before_only(seen: Seen) -> None:
    """What hit the run before the last one is no reason."""
    dead_and_no_poison(seen)
    seen.history.faults.append(Fault("child killed", 1.5, 1.5, frozenset({1}), kills=True))
    ran(seen, "a", 2.0, None, pid=2)


def dead_and_cut_off(seen: Seen) -> None:
    """A fault that is no excuse for a repeat is none for a death."""
    dead_and_no_poison(seen)
    seen.history.faults.append(Fault("all cut", 1.5, 1.5, excuses=False))


def ran_though_cancelled(seen: Seen) -> None:
    enqueued(seen, "a")
    seen.history.cancelled["a"] = 1.0
    ran(seen, "a", 1.5, 1.6, DONE)


def killed(seen: Seen, again_at: float, fault: Fault) -> None:
    enqueued(seen, "a")
    seen.history.faults.append(fault)
    ran(seen, "a", 1.0, None)
    ran(seen, "a", again_at, again_at + 0.1, DONE, pid=2)


CHILD = Fault("child killed", 1.5, 1.5, frozenset({1}), kills=True)
MACHINE = replace(CHILD, kind="machine killed")
SUPERVISOR = Fault(ORPHANED, 1.5, 5.5, frozenset({1, 9}))


def child_late(seen: Seen) -> None:
    killed(seen, 2.6, CHILD)


def machine_late(seen: Seen) -> None:
    killed(seen, 5.4, MACHINE)


def orphan_late(seen: Seen) -> None:
    killed(seen, 5.4, SUPERVISOR)


def two_of_one_key(seen: Seen) -> None:
    enqueued(seen, "a", "b")
    seen.history.keyed.update(a="default k", b="default k")
    ran(seen, "a", 1.0, 1.1, AGAIN)
    ran(seen, "b", 1.2, 1.3, DONE)
    ran(seen, "a", 1.4, 1.5, DONE, attempt=2)


def wish_of_nobody(seen: Seen) -> None:
    seen.contents.append(Contents(Keys("default"), scores={"cancels": {"a": 1.0}}))


def said(seen: Seen) -> None:
    seen.wrong.append("crew-0 ended with 1")


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (lost, "lost"),
        (never_ended, "lost"),
        (from_nowhere, "came from nowhere"),
        (corrupt, "wrong arguments"),
        (twice, "ran again for no reason"),
        (attempt_ahead, "wrong attempts"),
        (too_early, "too early"),
        (came_in_and_stayed, "counters"),
        (went_out_twice, "counters"),
        (dead_and_no_poison, "dead, and no poison"),
        (dead_and_hit_before_only, "dead, and no poison"),
        (dead_and_cut_off, "dead, and no poison"),
        (ran_though_cancelled, "ran though cancelled"),
        (child_late, "recovered late"),
        (machine_late, "recovered late"),
        (orphan_late, "recovered late"),
        (two_of_one_key, "two of one key"),
        (wish_of_nobody, "wishes of nobody"),
        (said, "left or said"),
    ],
)
def test_a_fault_is_one_problem(seen: Seen, harm: Callable[[Seen], None], what: str) -> None:
    harm(seen)
    verdict = judge(seen)
    assert [problem.split(":")[0] for problem in verdict.problems] == [what]
    assert not figures(seen, verdict)["valid"]
    assert table(seen, verdict).endswith("NOT VALID: 1 problems")


def test_of_many_problems_some_are_told_and_the_others_counted(seen: Seen) -> None:
    enqueued(seen, *map(str, range(25)))
    problems = judge(seen).problems
    assert (len(problems), problems[-1]) == (11, "lost: 15 more")


# What passes ----------------------------------------------------------------------------------


def nothing(seen: Seen) -> None:
    pass


def done(seen: Seen) -> None:
    enqueued(seen, "a")
    ran(seen, "a", 1.0, 1.1, DONE)
    seen.counters["default"] = {"enqueued": 4, "requeued": 1, "completed": 2, "dead": 1, "cancelled": 2}


def reply_lost_and_job_there(seen: Seen) -> None:
    seen.history.attempted |= {"a", "b"}
    ran(seen, "a", 1.0, 1.1, DONE)


def cancelled_in_time(seen: Seen) -> None:
    enqueued(seen, "a", "b")
    seen.history.cancelled.update(a=1.0, b=1.0)
    ran(seen, "b", 0.9, 1.1, DONE)


def asked_to_stop(seen: Seen) -> None:
    """It ended by itself, or was stopped."""
    enqueued(seen, "a", "b")
    seen.history.asked |= {"a", "b"}
    ran(seen, "a", 1.0, 1.1, STOPPED)
    ran(seen, "b", 1.0, 1.1, DONE)
    seen.contents.append(Contents(Keys("default"), scores={"cancels": {"b": 1.0}}))


def doubtful(seen: Seen) -> None:
    """Nobody knows whether it was cancelled: it may run, or not, and the wish may be there."""
    enqueued(seen, "a", "b")
    seen.history.doubtful |= {"a", "b"}
    ran(seen, "a", 1.0, 1.1, DONE)
    seen.contents.append(Contents(Keys("default"), scores={"cancels": {"a": 1.0}}))


def poison(seen: Seen) -> None:
    enqueued(seen, "a")
    seen.history.poison.add("a")
    for number in range(3):
        ran(seen, "a", 1.0 + number, None, pid=number)
    is_dead(seen, "a", b"Quarantined")


def dead_and_hit(seen: Seen) -> None:
    dead_and_no_poison(seen)
    seen.history.faults.append(Fault("machine frozen", 1.5, 4.0, frozenset({1})))


def child_in_time(seen: Seen) -> None:
    killed(seen, 2.4, CHILD)


def machine_in_time(seen: Seen) -> None:
    killed(seen, 5.2, MACHINE)


def orphan_in_time(seen: Seen) -> None:
    killed(seen, 5.2, SUPERVISOR)


def orphan_finishes(seen: Seen) -> None:
    enqueued(seen, "a")
    seen.history.faults.append(SUPERVISOR)
    ran(seen, "a", 1.0, 1.9, AGAIN)
    ran(seen, "a", 9.0, 9.1, DONE, pid=2, attempt=2)


def late_on_a_busy_machine(seen: Seen) -> None:
    seen.settings = replace(seen.settings, timed=False)
    child_late(seen)


def one_key_in_turn(seen: Seen) -> None:
    """Another queue's key of that name is another key; a zombie's end comes after the job's."""
    enqueued(seen, "a", "b", "c")
    seen.history.keyed.update(a="default k", b="default k", c="critical k")
    seen.history.faults.append(Fault("machine frozen", 1.05, 4.0, frozenset({1})))
    ran(seen, "a", 1.0, 3.5, DONE)
    ran(seen, "a", 1.2, 1.3, DONE, pid=2)
    ran(seen, "b", 1.4, 1.5, DONE, pid=2)
    ran(seen, "c", 1.2, 2.0, DONE, pid=2)


def one_key_of_a_cancelled_job(seen: Seen) -> None:
    two_of_one_key(seen)
    seen.history.asked.add("a")


@pytest.mark.parametrize(
    "harmless",
    [
        nothing,
        done,
        reply_lost_and_job_there,
        cancelled_in_time,
        asked_to_stop,
        doubtful,
        poison,
        dead_and_hit,
        child_in_time,
        machine_in_time,
        orphan_in_time,
        orphan_finishes,
        late_on_a_busy_machine,
        one_key_in_turn,
        one_key_of_a_cancelled_job,
    ],
)
def test_what_may_happen_is_no_problem(seen: Seen, harmless: Callable[[Seen], None]) -> None:
    harmless(seen)
    verdict = judge(seen)
    assert verdict.problems == []
    assert table(seen, verdict).endswith("\nVALID")


def test_each_kind_of_recovery_has_a_row(seen: Seen) -> None:
    orphan_in_time(seen)
    assert figures(seen, judge(seen))["recovery_seconds"][ORPHANED]["count"] == 1


def test_repeats_that_anybody_would_be_excused_are_counted_and_their_time(seen: Seen) -> None:
    """One of two jobs was also hit itself."""
    orphan_in_time(seen)
    seen.began, seen.seconds = 1.0, 10.0
    seen.history.faults += [Fault("black hole", 1.2, 4.0), Fault("half open", 3.0, 6.0)]
    seen.history.faults.append(Fault("all cut", 8.0, 9.0, excuses=False))
    enqueued(seen, "b")
    ran(seen, "b", 2.0, None, pid=3)
    ran(seen, "b", 5.5, 5.6, DONE, pid=2)
    verdict = judge(seen)
    assert verdict.repeats.total == 2
    assert figures(seen, verdict)["excused_everybody"] == {"repeats": 1, "share_of_time": 0.48}
    assert "1 of these only by a fault that excuses everybody" in table(seen, verdict)
    assert "48% of the time" in table(seen, verdict)


def test_with_the_default_lease_a_dead_machines_jobs_run_within_what_is_promised(seen: Seen) -> None:
    seen.settings = replace(seen.settings, lease=15.0)
    killed(seen, 1.5 + 20.5, MACHINE)
    assert [problem.split(":")[0] for problem in judge(seen).problems] == ["recovered late"]
    seen.record.runs.clear()
    killed(seen, 1.5 + 19.5, MACHINE)
    assert judge(seen).is_valid


def test_quarantined_jobs_are_counted_apart(seen: Seen) -> None:
    poison(seen)
    verdict = judge(seen)
    assert (verdict.dead, verdict.quarantined) == (1, 1)


# The real thing -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_notices_a_recover_that_drops_jobs() -> None:
    seen = run(Settings(seed=840, mix="kills", seconds=4.0, lease=4.0, broken="recover"), lambda _: None)
    verdict = judge(seen)
    told = {problem.split(":")[0] for problem in verdict.problems}
    assert {"lost", "left or said"} <= told, table(seen, verdict)
    assert not verdict.is_valid


def test_a_wish_that_is_for_no_job_breaks_an_invariant() -> None:
    wishes = {new_id(): 1.0, "\n": 1.0, new_id() + "!": 0.0}
    broken = invariants.broken_rules(Contents(Keys("default"), scores={"cancels": wishes}))
    assert len(broken) == 2
