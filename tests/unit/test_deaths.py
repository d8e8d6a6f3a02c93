"""When the next child may be born: who dies now and then is replaced at once, flies wait for each other."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from redjobs.worker import brood
from redjobs.worker.brood import Deaths


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(brood, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def waits(deaths: Deaths, clock: Clock, count: int, *, children: int = 1) -> list[float]:
    """How long each of so many children that die at once has to wait before it is born."""
    found = []
    for _ in range(count):
        deaths.count(children=children)
        wait = max(0.0, deaths.next_birth_at - clock.now)
        clock.now += wait
        found.append(round(wait, 6))
    return found


def test_the_gap_between_restarts_grows_and_has_an_end(clock: Clock) -> None:
    assert waits(Deaths(), clock, 11) == [0, 0, 0, 0, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10]


def test_a_worker_of_many_children_bears_more_deaths(clock: Clock) -> None:
    assert waits(Deaths(), clock, 9, children=2) == [0] * 8 + [0.2]


def test_deaths_of_long_ago_are_forgotten(clock: Clock) -> None:
    deaths = Deaths()
    waits(deaths, clock, 7)
    clock.now += 60
    assert waits(deaths, clock, 4) == [0] * 4


def test_who_dies_now_and_then_is_replaced_at_once(clock: Clock) -> None:
    deaths = Deaths()
    for _ in range(20):
        assert waits(deaths, clock, 1) == [0]
        clock.now += 10
