"""Which node of a cluster is asked who has which slot, where some of them do not answer."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from redis.exceptions import MovedError

from redjobs import drivers
from redjobs.connect import cluster
from redjobs.connect.cluster import NotServed, SlotFinder, Topology
from redjobs.connect.seeking import recognized
from redjobs.manyhosts import Address
from redjobs.settings import resolve_url

ONE, TWO, THREE = ((f"node-{number}", 6379) for number in (1, 2, 3))
RANGES = [(0, 5461, ONE), (5462, 10922, TWO), (10923, 16383, THREE)]


class Nodes:
    """All nodes tell the same, but for those that hang."""

    def __init__(self) -> None:
        self.hang: set[Address] = set()
        self.asked: list[Address] = []
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def ask(self, address: Address, _options: Any, *_words: str) -> list[Any]:
        self.asked.append(address)
        self.now += 1.0 if address in self.hang else 0.001
        if address in self.hang:
            raise redis.TimeoutError("no answer")
        return [(first, last, (host.encode(), port)) for first, last, (host, port) in RANGES]


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    nodes = Nodes()
    monkeypatch.setattr(cluster, "ask", nodes.ask)
    monkeypatch.setattr(cluster, "time", nodes)
    return nodes


@pytest.fixture
def topology(nodes: Nodes) -> Topology:
    hosts = resolve_url("redis+cluster://node-1,node-2,node-3").hosts
    assert hosts is not None
    topology = Topology(hosts, {})
    assert topology.home_of(0) == ONE
    return topology


def test_who_did_not_answer_a_moment_ago_is_not_asked_about_others(nodes: Nodes, topology: Topology) -> None:
    nodes.hang = {TWO}
    topology.failed(TWO, 1000.0)
    nodes.asked.clear()
    for _ in range(20):  # they are asked in any order
        nodes.now += 1.0
        assert topology.successor(0, ONE) is None
        assert topology.home_of(0) == ONE
    assert TWO not in nodes.asked


def test_who_does_not_answer_that_question_costs_one_call_its_time(nodes: Nodes, topology: Topology) -> None:
    nodes.hang = {TWO}
    for _ in range(100):
        nodes.now += 0.11  # longer than what was read stays fresh
        topology.home_of(0)
    assert nodes.asked.count(TWO) <= 11, "for as long as it took to learn that, it is not asked again"


def test_whoever_is_left_is_asked_though_it_did_not_answer_a_moment_ago(
    nodes: Nodes, topology: Topology
) -> None:
    nodes.hang = {TWO, THREE}
    for address in (ONE, TWO, THREE):
        topology.failed(address, 1000.0)
    nodes.now += 1.0
    with pytest.raises(redis.ConnectionError, match="did not answer a moment ago"):
        topology.home_of(0)  # which it has learned from this one itself
    assert nodes.asked[-1] == ONE


def test_a_call_that_waits_for_replicas_is_not_taken_for_one_to_a_node_that_hung() -> None:
    ticks = 2 * 0.1
    assert drivers.REPLICAS_MS / 1000 + ticks < cluster._SLOW_S


@pytest.mark.parametrize(
    "error", [MovedError("5718 node-2:6379"), redis.ResponseError("MOVED 5718 node-2:6379")]
)
def test_an_older_redis_py_is_sent_away_as_well(topology: Topology, error: redis.ResponseError) -> None:
    finder = SlotFinder(topology, 0)
    assert finder.find() == ONE
    assert isinstance(finder.sent_away(recognized(error)), NotServed)
    assert finder.find() == TWO
    assert finder.sent_away(recognized(redis.ResponseError("WRONGTYPE of something"))) is None


#: As a node tells it that has a hostname itself; the one before it has none.
NAMELESS = [b"?", 6379, b"id", [b"ip", b"10.0.0.1"]]
NAMED = [b"node-2", 6379, b"id", [b"ip", b"10.0.0.2"]]


@pytest.mark.parametrize(
    ("told", "home"),
    [
        (NAMED, TWO),
        (NAMELESS, ("10.0.0.1", 6379)),
        ([None, 6380, b"id", [b"ip", b"10.0.0.1"]], ("node-1", 6380)),
        ([b"", 6380], ("node-1", 6380)),  # Redis 6.2, which knows nothing of hostnames
        ([b"?", 6380, b"id", []], ("node-1", 6380)),
    ],
    ids=["a hostname", "none, and an IP", "where you found me", "the same, long ago", "nothing at all"],
)
def test_a_node_is_where_it_says(monkeypatch: pytest.MonkeyPatch, told: list[Any], home: Address) -> None:
    monkeypatch.setattr(cluster, "ask", lambda *_: [[0, 16383, told]])
    hosts = resolve_url("redis+cluster://node-1").hosts
    assert hosts is not None
    assert Topology(hosts, {}).home_of(5718) == home


def test_who_is_sent_to_a_node_without_a_name_asks_for_its_address(
    monkeypatch: pytest.MonkeyPatch, topology: Topology, nodes: Nodes
) -> None:
    finder = SlotFinder(topology, 0)
    assert finder.find() == ONE
    monkeypatch.setattr(cluster, "ask", lambda *_: [[0, 16383, NAMELESS]])
    nodes.now += 1.0
    assert isinstance(finder.sent_away(MovedError("0 ?:6379")), NotServed)
    assert finder.find() == ("10.0.0.1", 6379)
