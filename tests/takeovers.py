"""What an accepted job survives when a replica takes over: `python -m tests.takeovers` prints a table.

Producers enqueue through Sentinels, or in a cluster, one job after the other, while the primary goes in one
of several ways. They go on with its successor. A job is lost that `enqueue` had returned and that the
successor does not have. A job that `enqueue` did not return, as no reply came or no replica confirmed, is
none: its producer was told.
"""

from __future__ import annotations

import argparse
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import redis

from redjobs import EnqueueUnknown, NotReplicated, Queue, ServerUnavailable
from tests.groups import SERVICE, Cluster, Node, Trio, cluster, trio
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
        self._url = url
        self._replicas = replicas
        self._told = [Told() for _ in range(PRODUCERS)]
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._produce, args=(told,)) for told in self._told]
        for thread in self._threads:
            thread.start()

    def _produce(self, told: Told) -> None:
        queue = Queue(url=self._url, wait_replicas=self._replicas)
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

    def stop(self) -> Told:
        """What all of them heard."""
        self._ends.set()
        for thread in self._threads:
            thread.join()
        return Told(
            [job for told in self._told for job in told.accepted],
            sum(told.not_replicated for told in self._told),
            sum(told.unknown for told in self._told),
            sum(told.refused for told in self._told),
        )


def is_demoted(node: Node) -> bool:
    """Whether this node has been made a replica, and has what its primary has."""
    try:
        info: Any = node.client().info("replication")
    except redis.ConnectionError:  # its clients' connections end when it is
        return False
    return bool(info["role"] == "slave" and info["master_link_status"] == "up")


def kill(server: Trio, former: Node) -> None:
    """The process is killed."""
    former.kill()


def cut_and_kill(server: Trio, former: Node) -> None:
    """It is cut off from its replica first, for two seconds."""
    server.replica.client().replicaof("127.0.0.1", "1")
    time.sleep(CUT_S)
    former.kill()


def hang(server: Trio, former: Node) -> None:
    """It stands still until its replica has taken over, and goes on then: nobody has told it."""
    former.process.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: server.primary is not former, 60, "another primary")
    finally:
        former.process.send_signal(signal.SIGCONT)


def fail_over(server: Trio, former: Node) -> None:
    """As an operator does it."""
    server.sentinels[0].client().execute_command("SENTINEL FAILOVER", SERVICE)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Way:
    """How a primary goes."""

    name: str
    go: Callable[[Trio, Node], None]


@dataclass(frozen=True)
class ClusterWay:
    """How the node of a queue goes."""

    name: str
    go: Callable[[Cluster, Node], None]


def kill_node(server: Cluster, former: Node) -> None:
    """The process is killed."""
    former.kill()


def fail_over_node(server: Cluster, former: Node) -> None:
    """As an operator does it: the node waits until its replica has all."""
    server.replica_of(former).client().execute_command("CLUSTER FAILOVER")  # type: ignore[no-untyped-call]


WAYS = (
    Way("it is killed", kill),
    Way(f"it is cut off from its replica, and killed {CUT_S:.0f} s later", cut_and_kill),
    Way("it stands still, and goes on when the replica has taken over", hang),
    Way("an operator lets Sentinel fail over", fail_over),
)


CLUSTER_WAYS = (
    ClusterWay("the queue's node of a cluster is killed", kill_node),
    ClusterWay("an operator lets the cluster fail over", fail_over_node),
)
#: The slot of the producers' queue.
TAG = "{default}"


@dataclass(frozen=True)
class Setting:
    """What is asked of replicas."""

    name: str
    #: `Queue(wait_replicas=...)`
    waits: int = 0
    #: `min-replicas-to-write` of the servers.
    writes: int = 0


SETTINGS = (
    Setting("nothing"),
    Setting("`min-replicas-to-write 1`", writes=1),
    Setting("`wait_replicas=1`", waits=1),
)


def measure(way: Way, setting: Setting, loss: Loss) -> Told:
    """One round."""
    with trio() as server:
        for node in server.nodes:
            node.client().config_set("min-replicas-to-write", setting.writes)
        producers = Producers(server.url, setting.waits)
        try:
            producers.go_on()
            time.sleep(random.uniform(1.0, 3.0))
            former, went_at = server.primary, time.monotonic()
            way.go(server, former)
            wait_until(lambda: server.primary is not former, 60, "another primary")
            if former.process.poll() is not None:
                former.start()
            # Sentinels take their time; what it was given until then it forgets.
            wait_until(lambda: is_demoted(former), 120, "the former primary is a replica")
            producers.go_on()
        finally:
            told = producers.stop()
        loss.count(server.client(), told.accepted, went_at)
        return told


def measure_cluster(way: ClusterWay, setting: Setting, loss: Loss) -> Told:
    """One round in a cluster."""
    with cluster() as server:
        for node in server.nodes:
            node.client().config_set("min-replicas-to-write", setting.writes)
        producers = Producers(server.url, setting.waits)
        try:
            producers.go_on()
            time.sleep(random.uniform(1.0, 3.0))
            former, went_at = server.home_of(TAG), time.monotonic()
            way.go(server, former)
            wait_until(lambda: server.has_lost(former, TAG), 60, "its replica has the slot")
            if former.process.poll() is not None:
                former.start()
                wait_until(former.answers)
            wait_until(lambda: is_demoted(former), 120, "the former node is a replica")
            producers.go_on()
        finally:
            told = producers.stop()
        loss.count(server.client(), told.accepted, went_at)
        return told


def main() -> None:
    """Measure all ways, with and without waiting for a replica, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.takeovers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="times for each way (5)")
    parser.add_argument("--cluster", action="store_true", help="in a cluster, not with Sentinels")
    said = parser.parse_args()
    ways: tuple[Way | ClusterWay, ...] = CLUSTER_WAYS if said.cluster else WAYS
    print("| the primary: | set | lost | not accepted, and said so |\n|---|---|---|---|", flush=True)
    for way in ways:
        for setting in SETTINGS:
            loss = Loss()
            told = [one_round(way, setting, loss) for _ in range(said.rounds)]
            refusals = (
                f"{sum(each.not_replicated for each in told):,} not replicated, "
                f"{sum(each.unknown for each in told):,} unknown, "
                f"{sum(each.refused for each in told):,} refused"
            )
            lost = f"{loss.lost:,} of {loss.accepted:,}"
            print(f"| {way.name} | {setting.name} | {lost} | {refusals} |", flush=True)


def one_round(way: Way | ClusterWay, setting: Setting, loss: Loss) -> Told:
    """With servers of their own."""
    if isinstance(way, ClusterWay):
        return measure_cluster(way, setting, loss)
    return measure(way, setting, loss)


if __name__ == "__main__":
    main()
