"""Behind a child that died: a queue that is refused keeps the jobs of no other waiting."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ResponseError

from redjobs.commands import Command
from redjobs.keys import Keys
from redjobs.worker.salvage import Salvage

REFUSED, FINE = Keys("refused"), Keys("fine")
FOREVER = float("inf")


class Link:
    """A server that has one job in each list, and answers for one queue only."""

    def __init__(self) -> None:
        self.recovered: list[str] = []

    def run(self, command: Command[Any]) -> Any:
        if command.keys[0].startswith("redjobs:{refused}"):
            raise ResponseError("its node does not answer")
        if command.script.name == "recover":
            self.recovered.append(command.keys[0])
            return 1, 0
        return ["VP7FAta-Fn_YcVoOqbCs"]


def dead(*queues: Keys) -> Any:
    """A child that served these queues."""
    return SimpleNamespace(
        lanes=[(keys, "w") for keys in queues], overran=[], obituary=lambda: "", last_words=lambda: ""
    )


def test_the_other_queues_of_a_dead_child_are_cleared_up() -> None:
    link: Any = Link()
    salvage = Salvage(link)
    salvage.add(dead(REFUSED, FINE), [], charge=False)
    with pytest.raises(ResponseError, match="does not answer"):
        salvage.step(FOREVER)
    assert link.recovered == [FINE.processing("w")]


class Clock:
    """Time in which each command takes ten milliseconds."""

    def __init__(self, link: Link) -> None:
        self.now = 1000.0
        self._run = link.run

    def run(self, command: Command[Any]) -> Any:
        self.now += 0.01
        return self._run(command)


def test_it_stops_in_time_and_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    link: Any = Link()
    clock = Clock(link)
    link.run = clock.run
    monkeypatch.setattr("redjobs.worker.salvage.time", SimpleNamespace(monotonic=lambda: clock.now))
    queues = [Keys(f"queue-{number}") for number in range(20)]
    salvage = Salvage(link)
    salvage.add(dead(*queues[:5]), [], charge=False)
    salvage.add(dead(*queues[5:]), [], charge=False)
    while len(link.recovered) < len(queues):
        until = clock.now + 0.1
        assert salvage.step(until) > 0
        assert clock.now < until + 0.03
        assert salvage.next_at <= clock.now or len(link.recovered) == len(queues)
    assert link.recovered == [keys.processing("w") for keys in queues]
    assert salvage.next_at > 1000.0


def test_what_was_refused_before_it_stopped_is_looked_at_again() -> None:
    link: Any = Link()
    salvage = Salvage(link)
    salvage.add(dead(REFUSED, FINE), [], charge=False)
    assert salvage.step(0.0) == 0
    assert link.recovered == []
    with pytest.raises(ResponseError, match="does not answer"):
        salvage.step(FOREVER)
    assert link.recovered == [FINE.processing("w")]
    assert salvage.next_at > time.monotonic() + 1
