"""The board between a supervisor and its child."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from redjobs.ids import new_id
from redjobs.worker.slots import BURY, Slots, shared_file


@pytest.fixture
def sides() -> Iterator[tuple[Slots, Slots]]:
    """The child's and the supervisor's view of one board."""
    fd = shared_file(Slots.size(3))
    child, supervisor = Slots(os.dup(fd), 3), Slots(fd, 3)
    yield child, supervisor
    child.close()
    supervisor.close()


def test_the_other_side_sees_what_runs(sides: tuple[Slots, Slots]) -> None:
    child, supervisor = sides
    first, second = new_id(), new_id(-(10**15))
    child.occupy(0, first, 12.5)
    child.occupy(2, second, 13.5, kill_at=20.0, delay_ms=BURY)
    seen = {running.job_id: running for running in supervisor.running()}
    assert seen.keys() == {first, second}
    assert seen[first].kill_at is None and seen[first].started_at == 12.5
    assert seen[second].kill_at == 20.0 and seen[second].delay_ms == BURY


def test_what_is_over_is_gone(sides: tuple[Slots, Slots]) -> None:
    child, supervisor = sides
    child.occupy(1, new_id(), 1.0, kill_at=2.0)
    child.vacate(1)
    assert supervisor.running() == []


def test_a_short_id_leaves_nothing_of_a_longer_one(sides: tuple[Slots, Slots]) -> None:
    child, supervisor = sides
    child.occupy(0, new_id(-12345), 1.0)
    short = new_id()
    child.occupy(0, short, 2.0)
    assert [running.job_id for running in supervisor.running()] == [short]


def test_turns_are_seen(sides: tuple[Slots, Slots]) -> None:
    child, supervisor = sides
    assert supervisor.turned_at == supervisor.answered_at == 0.0
    child.turn(answered_at=5.0)
    assert supervisor.answered_at == 5.0
    assert supervisor.turned_at > 0


def test_who_looks_in_the_middle_of_a_turn_sees_a_whole_moment(sides: tuple[Slots, Slots]) -> None:
    # A supervisor that saw half of one took a healthy child for wedged.
    child, supervisor = sides
    child.turn(answered_at=5.0)
    pid = os.fork()
    if pid == 0:
        while True:
            child.turn(answered_at=5.0)
            child.occupy(0, "x" * 20, 7.0, kill_at=8.0, delay_ms=9)
            child.vacate(0)
    try:
        for _ in range(20_000):
            assert supervisor.turned_at > 0
            assert supervisor.answered_at == 5.0
            for running in supervisor.running():
                assert (running.started_at, running.delay_ms) == (7.0, 9)
                assert running.kill_at in (8.0, None)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
