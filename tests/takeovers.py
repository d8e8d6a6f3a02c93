"""What an accepted job survives when a replica takes over: `python -m tests.takeovers` prints a table.

Producers enqueue one job after the other, through Sentinels, or in a cluster, or where a person points them,
while the primary goes in one of several ways. They go on with its successor. A job is lost that `enqueue` had
returned and that the successor does not have. A job that `enqueue` did not return, as no reply came or no
replica confirmed, is none: its producer was told.
"""

from __future__ import annotations

import argparse
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import redis

from redjobs import EnqueueUnknown, NotReplicated, Queue, ServerUnavailable
from tests import network
from tests.groups import SERVICE, Cluster, Node, Pair, Trio, cluster, follow, is_replica, pair, trio
from tests.losses import PRODUCERS, Loss
from tests.waiting import wait_until
from tests.worker import handlers

#: For how long the primary is cut off from its replica, before it is killed.
CUT_S = 2.0


@dataclass
class Told:
    """What the producers heard."""

    #: Ids, and the monotonic time at which `enqueue` had returned them.
    accepted: list[tuple[str, float]] = field(default_factory=list)
    not_replicated: int = 0
    unknown: int = 0
    refused: int = 0


class Producers:
    """Threads that enqueue."""

    def __init__(self, url: str, replicas: int) -> None:
        self._replicas = replicas
        self._told = [Told() for _ in range(PRODUCERS)]
        self._begin(url)

    def _begin(self, url: str) -> None:
        self.url = url
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._produce, args=(told,)) for told in self._told]
        for thread in self._threads:
            thread.start()

    def _produce(self, told: Told) -> None:
        queue = Queue(url=self.url, wait_replicas=self._replicas)
        while not self._ends.is_set():
            try:
                job = queue.enqueue(handlers.record)
            except NotReplicated:
                told.not_replicated += 1
            except EnqueueUnknown:
                told.unknown += 1
            except (ServerUnavailable, redis.ResponseError):  # NOREPLICAS
                told.refused += 1
                self._ends.wait(0.01)
            else:
                told.accepted.append((job.id, time.monotonic()))
        queue.close()

    @property
    def accepted(self) -> int:
        """So many up to now."""
        return sum(len(told.accepted) for told in self._told)

    def go_on(self, more: int = 100) -> None:
        """Wait until more jobs are accepted."""
        enough = self.accepted + more
        wait_until(lambda: self.accepted >= enough, 60, "jobs are accepted")

    def point_at(self, url: str) -> None:
        """They end, and begin again with this address."""
        self._end()
        self._begin(url)

    def stop(self) -> Told:
        """What all of them heard."""
        self._end()
        return Told(
            [job for told in self._told for job in told.accepted],
            sum(told.not_replicated for told in self._told),
            sum(told.unknown for told in self._told),
            sum(told.refused for told in self._told),
        )

    def _end(self) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()


class Group(Protocol):
    """Servers, one of which is the primary of the producers' queue."""

    nodes: list[Node]

    @property
    def url(self) -> str: ...

    @property
    def primary(self) -> Node: ...

    def has_left(self, node: Node) -> bool: ...

    def client(self) -> redis.Redis: ...


G = TypeVar("G", bound=Group)


def kill(server: Group, former: Node) -> None:
    """The process is killed."""
    former.kill()


def hang(server: Group, former: Node) -> None:
    """It stands still until its replica has taken over, and goes on then: nobody has told it."""
    former.process.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: server.has_left(former), 60, "another primary")
    finally:
        former.process.send_signal(signal.SIGCONT)


# With Sentinels ---------------------------------------------------------------------------------


def cut_and_kill(server: Trio, former: Node) -> None:
    """It is cut off from its replica first, for two seconds."""
    server.replica.client().replicaof("127.0.0.1", "1")
    time.sleep(CUT_S)
    former.kill()


def fail_over(server: Trio, former: Node) -> None:
    """As an operator does it."""
    server.sentinels[0].client().execute_command("SENTINEL FAILOVER", SERVICE)  # type: ignore[no-untyped-call]


def part_with_producers(heals_s: float) -> Callable[[Trio, Node], None]:
    """It and its producers are on one side of the network, its replica and the Sentinels on the other."""

    def part(server: Trio, former: Node) -> None:
        others = [server.replica, *server.sentinels]
        with network.parted([network.HERE, former.host], [node.host for node in others]):
            wait_until(lambda: server.has_left(former), 60, "another primary")
            time.sleep(heals_s)

    return part


# With a person ----------------------------------------------------------------------------------


def promote(server: Pair) -> None:
    """What people do: the replica is a primary now, and the one that producers are pointed at."""
    server.replica.client().replicaof("NO", "ONE")
    server.named = server.replica


def kill_and_promote(server: Pair, former: Node) -> None:
    """The process is killed."""
    former.kill()
    promote(server)


def promote_beside(server: Pair, former: Node) -> None:
    """It lives, and producers are told two seconds later."""
    promote(server)
    time.sleep(CUT_S)


def hand_over(server: Pair, former: Node) -> None:
    """With a command that pauses clients until the replica has all."""
    other = server.replica
    former.client().execute_command("FAILOVER TO", other.host, other.port)  # type: ignore[no-untyped-call]
    wait_until(lambda: is_replica(former), 20, "the replica has taken over")
    server.named = other


# In a cluster -----------------------------------------------------------------------------------


def fail_over_node(server: Cluster, former: Node) -> None:
    """As an operator does it: the node waits until its replica has all."""
    server.replica_of(former).client().execute_command("CLUSTER FAILOVER")  # type: ignore[no-untyped-call]


def part_from_nodes(server: Cluster, former: Node) -> None:
    """Producers reach it, the other nodes do not, until its replica has taken over."""
    others = [node.host for node in server.nodes if node is not former]
    with network.parted([former.host], others):
        wait_until(lambda: server.has_left(former), 60, "another primary")


@dataclass(frozen=True)
class Way(Generic[G]):
    """How a primary goes."""

    name: str
    servers: Callable[[], AbstractContextManager[G]]
    go: Callable[[G, Node], None]


WAYS: dict[str, tuple[Way[Any], ...]] = {
    "sentinel": (
        Way("it is killed", trio, kill),
        Way(f"it is cut off from its replica, and killed {CUT_S:.0f} s later", trio, cut_and_kill),
        Way("it stands still, and goes on when the replica has taken over", trio, hang),
        Way("an operator lets Sentinel fail over", trio, fail_over),
    ),
    "person": (
        Way("it is killed, and the replica promoted", pair, kill_and_promote),
        Way(f"the replica is promoted, and producers follow {CUT_S:.0f} s later", pair, promote_beside),
        Way("`FAILOVER`, and producers follow", pair, hand_over),
    ),
    "cluster": (
        Way("the queue's node of a cluster is killed", cluster, kill),
        Way("it stands still, and goes on when its replica has taken over", cluster, hang),
        Way("an operator lets the cluster fail over", cluster, fail_over_node),
    ),
    "network": (
        *(
            Way(
                f"it is parted from all but its producers until {heals_s:.0f} s after the takeover",
                partial(trio, apart=True),
                part_with_producers(heals_s),
            )
            for heals_s in (2.0, 15.0)
        ),
        Way(
            "the queue's node of a cluster is parted from the others, until its replica has taken over",
            partial(cluster, apart=True),
            part_from_nodes,
        ),
    ),
}


@dataclass(frozen=True)
class Setting:
    """What is asked of replicas."""

    name: str
    #: `Queue(wait_replicas=...)`
    waits: int = 0
    #: `min-replicas-to-write` and `min-replicas-max-lag` of the servers.
    writes: int = 0
    lag_s: int = 10


SETTINGS = (
    Setting("nothing"),
    Setting("`min-replicas-to-write 1`", writes=1),
    Setting("`wait_replicas=1`", waits=1),
)
#: Where a primary that hears nothing believes for so long that its replica has all.
QUICK = Setting("`min-replicas-to-write 1`, `min-replicas-max-lag 2`", writes=1, lag_s=2)


def measure(way: Way[G], setting: Setting, loss: Loss) -> Told:
    """One round, with servers of its own."""
    with way.servers() as server:
        for node in server.nodes:
            node.client().config_set("min-replicas-to-write", setting.writes)
            node.client().config_set("min-replicas-max-lag", setting.lag_s)
        producers = Producers(server.url, setting.waits)
        try:
            producers.go_on()
            time.sleep(random.uniform(1.0, 3.0))
            former, went_at = server.primary, time.monotonic()
            way.go(server, former)
            wait_until(lambda: server.has_left(former), 60, "another primary")
            if producers.url != server.url:
                producers.point_at(server.url)
            take_back(server, former)
            producers.go_on()
        finally:
            told = producers.stop()
        loss.count(server.client(), told.accepted, went_at)
        return told


def take_back(server: Group, former: Node) -> None:
    """It is a replica from now on: what it was given in the meantime it forgets."""
    if former.process.poll() is not None:
        former.start()
        wait_until(former.answers)
    if isinstance(server, Pair):  # else Sentinels or the nodes see to it, and take their time
        follow(former, server.primary)
    wait_until(lambda: is_replica(former), 120, "the former primary is a replica")


def main() -> None:
    """Measure some ways, with and without waiting for a replica, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.takeovers", description=__doc__)
    parser.add_argument("who", nargs="?", choices=WAYS, default="sentinel", help="who sees to it (sentinel)")
    parser.add_argument("--rounds", type=int, default=5, help="times for each way (5)")
    said = parser.parse_args()
    if said.who == "network":
        network.enter()
    settings = (*SETTINGS, QUICK) if said.who == "network" else SETTINGS
    print("| the primary: | set | lost | not accepted, and said so |\n|---|---|---|---|", flush=True)
    for way in WAYS[said.who]:
        for setting in settings:
            loss = Loss()
            told = [measure(way, setting, loss) for _ in range(said.rounds)]
            refusals = (
                f"{sum(each.not_replicated for each in told):,} not replicated, "
                f"{sum(each.unknown for each in told):,} unknown, "
                f"{sum(each.refused for each in told):,} refused"
            )
            lost = f"{loss.lost:,} of {loss.accepted:,}"
            lost += f", until {loss.newest_s:.1f} s" if loss.newest_s else ""
            print(f"| {way.name} | {setting.name} | {lost} | {refusals} |", flush=True)


if __name__ == "__main__":
    main()
