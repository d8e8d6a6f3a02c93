"""A cluster: which node has which slot, and a client for each slot that is in use.

All keys of a queue are in one slot, so at any time one node has all of it. A client of a slot is a
client like any other, with a pool of connections that look for the slot's node when they are made, and
again when a node sends them away. So what talks to one queue need not know that there is a cluster.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    ResponseError,
    TryAgainError,
)

from redjobs.connect.asking import ask, is_refusal
from redjobs.connect.seeking import Elsewhere, Finder
from redjobs.manyhosts import Address, Hosts

#: What is told as it is: trying again does not help.
_NOT_ALLOWED = (redis.AuthenticationError, NoPermissionError)
#: A reply that comes later may be of a node whose replica has taken over. Besides what the call itself may
#: block; longer than WAIT does for `wait_replicas`, and than the server's timer is late.
_SLOW_S = 1.25
#: What stands for a hostname with `cluster-preferred-endpoint-type hostname`, where a node was given none.
_NAMELESS = "?"
#: Connections that are made together read the map of the slots once.
_FRESH_S = 0.1

C = TypeVar("C")


class NotServed(Elsewhere):
    """No node would run this: it was not run."""


class Topology:
    """Which node has which slot, as one of the nodes tells it. For any thread."""

    def __init__(self, hosts: Hosts, options: Mapping[str, Any]) -> None:
        self._hosts = hosts
        self._options = options
        #: First and last slot, and who has them.
        self._ranges: list[tuple[int, int, Address]] = []
        self._read_at = float("-inf")
        #: Who told it: a node that lives.
        self._teller: Address | None = None
        #: Nodes that did not answer, and the monotonic time from which they are tried again.
        self._rests_until: dict[Address, float] = {}

    @property
    def is_known(self) -> bool:
        """Whether a node has ever said who has which slot."""
        return bool(self._ranges)

    def home_of(self, slot: int) -> Address:
        """The node of a slot. Asks a node, unless that was done just now."""
        self._refresh()
        address = self._named(slot)
        if address is None:
            raise NotServed(f"no node of the cluster at {self._hosts} serves the slot {slot}")
        self._check(address)
        return address

    def forget(self) -> None:
        """It is outdated, a node has said: whoever looks for a slot next asks again, however fresh it is."""
        self._read_at = float("-inf")

    def successor(self, slot: int, address: Address) -> Address | None:
        """Who has a slot instead of this node, as another one says; None: nobody, as far as is known."""
        with contextlib.suppress(redis.RedisError):
            self._refresh(besides=address)
            named = self._named(slot)
            return None if named == address else named
        return None

    def _named(self, slot: int) -> Address | None:
        return next((address for first, last, address in self._ranges if first <= slot <= last), None)

    def failed(self, address: Address, seconds: float) -> None:
        """It did not answer, which took so long: for as long it is not tried again.

        What is to be said to other nodes would wait for it once more.
        """
        self._rests_until[address] = time.monotonic() + seconds

    def _rests(self, address: Address) -> bool:
        return time.monotonic() < self._rests_until.get(address, 0.0)

    def _check(self, address: Address) -> None:
        if self._rests(address):
            raise redis.ConnectionError(f"{address[0]}:{address[1]} did not answer a moment ago")

    def anyone(self) -> Address:
        """A node that lives, a primary if the one that was asked is one. Asks a node."""
        self._refresh()
        primaries = {address for _, _, address in self._ranges}
        if self._teller in primaries or not primaries:
            return self._teller or self._hosts.addresses[0]
        return random.choice(sorted(primaries))

    def _refresh(self, besides: Address | None = None) -> None:
        if time.monotonic() < self._read_at + _FRESH_S and (besides is None or besides != self._teller):
            return
        problem: Exception | None = None
        known = {address for _, _, address in self._ranges}
        # In any order: a node that is cut off from the others answers, too, and is not to be asked for ever.
        others = dict.fromkeys((*random.sample(sorted(known), len(known)), *self._hosts.addresses))
        if besides is not None:
            others.pop(besides, None)
        # Who did not answer a moment ago would cost all of them that time again.
        for address in sorted(others, key=self._rests):
            began = time.monotonic()
            try:
                self._ranges = self._ask(address)
            except redis.RedisError as error:
                if isinstance(error, redis.TimeoutError):
                    self.failed(address, time.monotonic() - began)
                problem = error if not is_refusal(problem) else problem
                if isinstance(error, redis.AuthenticationError):
                    break
                continue
            self._read_at, self._teller = time.monotonic(), address
            return
        if isinstance(problem, _NOT_ALLOWED):
            raise problem
        raise redis.ConnectionError(
            f"no node of the cluster at {self._hosts} says who has which slot: {problem}"
        ) from problem

    def _ask(self, address: Address) -> list[tuple[int, int, Address]]:
        ranges = []
        for first, last, node, *_ in ask(address, self._options, "CLUSTER", "SLOTS"):
            # A node that does not know its own name means: where you found me.
            ranges.append((int(first), int(last), (_host(*node) or address[0], int(node[1]))))
        return ranges


def _host(name: bytes | None, _port: Any, _id: bytes = b"", about: Sequence[bytes] = (), *_: Any) -> str:
    """Where a node is that is listed under this name. Where it has no hostname, by its IP."""
    if name == _NAMELESS.encode():
        name = dict(zip(about[::2], about[1::2], strict=False)).get(b"ip")
    return (name or b"").decode()


class SlotFinder:
    """A Finder of the node of one slot; without a slot, of any node."""

    def __init__(self, topology: Topology, slot: int | None) -> None:
        self._topology = topology
        self._slot = slot
        self._home: Address | None = None
        #: Where a node has sent us: it knows better than the next one that is asked.
        self._hint: Address | None = None

    def find(self) -> Address:
        """The address of the node."""
        hint, self._hint = self._hint, None
        if hint is not None:
            self._home = hint
        elif self._slot is None:
            self._home = self._topology.anyone()
        else:
            self._home = self._topology.home_of(self._slot)
        return self._home

    def failed(self, address: Address, seconds: float) -> None:
        """It did not answer, which took so long."""
        self._topology.failed(address, seconds)

    def doubts(self, _address: Address, seconds: float) -> bool:
        """Whether the node was late by so much that it stood still, and its replica may have taken over."""
        return self._slot is not None and seconds > _SLOW_S

    def denies(self, address: Address) -> bool:
        """Ask another node. Nobody denies anything where none answers."""
        assert self._slot is not None
        successor = self._topology.successor(self._slot, address)
        if successor is not None:
            self._hint = self._home = successor
        return successor is not None

    def is_stale(self) -> bool:
        """Never: nodes themselves say when they are the wrong ones."""
        return False

    def is_home(self, address: Address) -> bool:
        """Whether this is the node, as far as is known."""
        return self._slot is None or address == self._home

    def sent_away(self, error: ResponseError) -> Elsewhere | None:
        """What it means, where the node will not run what it was told."""
        if isinstance(error, MovedError):
            # Its IP is not told here: then whoever is asked for the map says it.
            if error.host == _NAMELESS:
                self._topology.forget()
            else:
                self._hint = self._home = (error.host or self._home[0], error.port) if self._home else None
            return NotServed(f"the slot of this queue has moved to {error.node_addr[0]}:{error.port}")
        if isinstance(error, AskError | TryAgainError):
            return NotServed(
                "the slot of this queue is being moved from one node of the cluster to another, key by key;"
                " until all of it has arrived no node can run this"
            )
        if isinstance(error, MasterDownError | redis.ReadOnlyError) or str(error).startswith("UNBLOCKED"):
            return Elsewhere(str(error))
        if isinstance(error, ClusterDownError):
            return NotServed(f"the cluster is down, or this part of it: {error}")
        return None


class Neighbours:
    """The clients of a cluster's slots, made as they are asked for."""

    def __init__(self, topology: Topology, make: Callable[[Finder], Any]) -> None:
        self._topology = topology
        self._make = make
        self._of_slot: dict[int, Any] = {}
        #: By hash tag, or by key where it has none.
        self._of_tag: dict[str, Any] = {}

    def of(self, key: str) -> Any:
        """The client of this key's slot."""
        _, brace, rest = key.partition("{")
        tag = rest.partition("}")[0] if brace else key
        found = self._of_tag.get(tag)
        if found is None:
            slot = key_slot(key.encode())
            found = self._of_slot.get(slot)
            if found is None:
                found = self._of_slot.setdefault(slot, self._make(SlotFinder(self._topology, slot)))
            self._of_tag[tag] = found
        return found

    @property
    def are_known(self) -> bool:
        """Whether a node of the cluster has ever answered."""
        return self._topology.is_known

    def all(self) -> list[Any]:
        """Those that were made."""
        return list(self._of_slot.values())


class ClusterClient(redis.Redis):
    """For what needs no particular node; `near` has those for the keys."""

    neighbours: Neighbours

    def close(self) -> None:
        """Close the connections to all nodes."""
        for client in self.neighbours.all():
            client.close()
        super().close()


class AsyncClusterClient(redis.asyncio.Redis):
    """As `ClusterClient`, for coroutines."""

    neighbours: Neighbours

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close the connections to all nodes."""
        for client in self.neighbours.all():
            await client.aclose()
        await super().aclose(close_connection_pool)


def is_cluster(client: Any) -> bool:
    """Whether this client has one for each slot: see `near`."""
    return isinstance(client, (ClusterClient, AsyncClusterClient))


def near(client: C, key: str) -> C:
    """The client for a key: of the node that has it, where the server is a cluster; else the same."""
    if isinstance(client, (ClusterClient, AsyncClusterClient)):
        found: C = client.neighbours.of(key)
        return found
    return client
