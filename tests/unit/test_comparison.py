"""The lists of many queues beside what a worker knows: few round trips, and one refusal stops no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from redis.exceptions import ResponseError

from redjobs.commands import Command
from redjobs.ids import new_id
from redjobs.keys import Keys
from redjobs.worker.comparison import Comparison
from redjobs.worker.lane import Lane
from redjobs.worker.outage import Outage


class Link:
    """A server with a list for each worker, which refuses what names certain keys."""

    def __init__(self) -> None:
        self.round_trips = 0
        self.listed: dict[str, list[str]] = {}
        self.fields: dict[str, dict[bytes, bytes]] = {}
        self.refuses: set[str] = set()
        self.released: list[tuple[str, str]] = []

    def run_all(self, wanted: Sequence[Command[Any]]) -> list[Any]:
        self.round_trips += bool(wanted)
        return [self._run(command) for command in wanted]

    def _run(self, command: Command[Any]) -> Any:
        key = command.keys[command.script.name == "stranded"]
        if key in self.refuses:
            return ResponseError("NOPERM this user has no permissions to run the 'hgetall' command")
        if command.script.name == "peek":
            return self.fields.get(key, {})
        if command.script.name == "release":
            self.released.append((str(command.args[3]), str(command.args[0])))
            return 1
        return self.listed.get(key, [])


@pytest.fixture
def link() -> Link:
    return Link()


@pytest.fixture
def comparison(link: Any) -> Comparison:
    return Comparison(link, Outage(), 5.0)


def test_a_thousand_queues_are_a_few_round_trips(link: Link, comparison: Comparison) -> None:
    lanes = [Lane(Keys(f"queue-{number}")) for number in range(1000)]
    comparison.compare(lanes)
    assert link.round_trips == 4
    comparison.find_again(lanes)
    assert link.round_trips == 8


def test_what_was_unknown_twice_goes_back_oldest_foremost(link: Link, comparison: Comparison) -> None:
    lane = Lane(Keys("mail"))
    oldest, newest = new_id(), new_id()
    link.listed[lane.keys.processing(lane.worker)] = [newest, oldest]
    link.fields[lane.keys.job(oldest)] = {b"worker": lane.worker.encode(), b"token": b"tok"}
    comparison.compare([lane])
    assert link.released == []
    comparison.compare([lane])
    assert link.released == [(newest, ""), (oldest, "tok")]


def test_after_an_outage_once_is_enough(link: Link, comparison: Comparison) -> None:
    lane = Lane(Keys("mail"))
    stranded = new_id()
    link.listed[lane.keys.processing(lane.worker)] = [stranded]
    comparison.find_again([lane])
    assert link.released == [(stranded, "")]


def test_who_may_not_look_at_one_job_compares_on(link: Link, comparison: Comparison) -> None:
    first, second = Lane(Keys("first")), Lane(Keys("second"))
    strange, other, third = new_id(), new_id(), new_id()
    link.listed[first.keys.processing(first.worker)] = [other, strange]
    link.listed[second.keys.processing(second.worker)] = [third]
    link.refuses = {first.keys.job(strange)}
    comparison.find_again([first, second])
    assert {job_id for job_id, _ in link.released} == {strange, other, third}


def test_a_list_that_is_refused_rests_its_queue_alone(link: Link, comparison: Comparison) -> None:
    first, second = Lane(Keys("first")), Lane(Keys("second"))
    stranded = new_id()
    link.listed[second.keys.processing(second.worker)] = [stranded]
    link.refuses = {first.keys.processing(first.worker)}
    comparison.find_again([first, second])
    assert link.released == [(stranded, "")]
    assert first.is_resting
    assert not second.is_resting
