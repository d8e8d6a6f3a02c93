"""Several servers: a primary and its replica, with three Sentinels or without; a cluster of six nodes.

All are Valkey, or the first of `servers.SERVERS`, on ports of 127.0.0.1, started here and ended here; `apart`
each has an address of its own, so that the network between them can be parted. With an authority they speak
TLS only; then they are whatever program of this machine can.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from tests.certificates import Authority, server_with_tls
from tests.network import HERE
from tests.ports import free_port
from tests.servers import real_kinds
from tests.waiting import wait_until

SERVICE = "jobs"
#: The slot of the queue `default`.
DEFAULT = "{default}"


class Node:
    """One server process on a port."""

    def __init__(
        self,
        home: Path,
        *options: str,
        sentinel: bool = False,
        authority: Authority | None = None,
        host: str = HERE,
    ) -> None:
        self.host = host
        self.port = free_port()
        self._home = home / str(self.port)
        self._home.mkdir()
        self._command = [str(server_with_tls() if authority else real_kinds()[0].binary)]
        settings = {"port": str(self.port), "dir": str(self._home), "bind": HERE}
        if host != HERE:  # the others know it by its address; the tests reach it, however that is parted
            settings |= {"bind": f"{host} {HERE}", "bind-source-addr": host}
        #: What a client needs to reach it.
        self.reach: dict[str, Any] = {"port": self.port, "protocol": 2}
        if authority:
            settings |= {"port": "0", "tls-port": str(self.port), **authority.options}
            self.reach |= {"host": "127.0.0.1", "ssl_ca_certs": str(authority.trusted)}
            self.reach |= {"ssl_check_hostname": False}
        if sentinel:
            config = self._home / "sentinel.conf"
            config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
            self._command += [str(config), "--sentinel"]
        else:
            self._command += [word for name, value in settings.items() for word in (f"--{name}", value)]
            self._command += ["--save", "", "--repl-diskless-sync-delay", "0", *options]
        retry = Retry(NoBackoff(), 0)
        self._client: redis.Redis = redis.Redis(**self.reach, ssl=authority is not None, retry=retry)
        self.start()

    def start(self) -> None:
        """Start it, or start it again after it was killed."""
        with (self._home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        # Ends the server when this process is killed and can do it no more.
        self._guard = subprocess.Popen(
            ["sh", "-c", 'cat; kill "$1"', "guard", str(self.process.pid)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def client(self) -> redis.Redis:
        """A client without retries, always the same. It is closed with the node."""
        return self._client

    def answers(self) -> bool:
        """Whether somebody listens."""
        try:
            return bool(self._client.ping())
        except redis.ConnectionError:
            return False

    def kill(self) -> None:
        """As kill -9."""
        self.process.kill()
        self.process.wait()
        self._guard.kill()
        self._guard.communicate()

    def close(self) -> None:
        self._client.close()
        self.kill()


def _hosts(*, apart: bool) -> Iterator[str]:
    return (f"127.0.0.{number}" for number in itertools.count(2)) if apart else itertools.repeat(HERE)


def _await(nodes: list[Node], stack: contextlib.ExitStack) -> None:
    for node in nodes:
        stack.callback(node.close)
        wait_until(node.answers, description=f"{node.address} answers")


def follow(node: Node, primary: Node) -> None:
    """Make it a replica of this primary, and wait until it is."""
    node.client().replicaof(primary.host, str(primary.port))
    wait_until(lambda: is_replica(node), 20, description="the replica has joined")


def is_replica(node: Node) -> bool:
    """Whether this node is one, and has what its primary has."""
    try:
        info: Any = node.client().info("replication")
    except redis.ConnectionError:  # its clients' connections end when it is made one
        return False
    return bool(info["role"] == "slave" and info["master_link_status"] == "up")


@contextlib.contextmanager
def _home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="redjobs-group-"))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


class _Two:
    """A primary and its replica."""

    def __init__(
        self, home: Path, stack: contextlib.ExitStack, authority: Authority | None, hosts: Iterator[str]
    ) -> None:
        self.nodes = [Node(home, authority=authority, host=next(hosts)) for _ in range(2)]
        _await(self.nodes, stack)
        first, second = self.nodes
        follow(second, first)

    @property
    def primary(self) -> Node:
        raise NotImplementedError

    @property
    def replica(self) -> Node:
        """The other one."""
        return next(node for node in self.nodes if node is not self.primary)

    def client(self) -> redis.Redis:
        """Of the primary."""
        return self.primary.client()

    def has_left(self, node: Node) -> bool:
        """Whether another one is the primary."""
        return self.primary is not node


class Pair(_Two):
    """A primary and its replica, and nobody who watches them."""

    def __init__(self, home: Path, stack: contextlib.ExitStack) -> None:
        super().__init__(home, stack, None, _hosts(apart=False))
        #: The one that people point producers at.
        self.named = self.nodes[0]

    @property
    def url(self) -> str:
        return f"redis://{self.named.address}"

    @property
    def primary(self) -> Node:
        return self.named


@contextlib.contextmanager
def pair() -> Iterator[Pair]:
    """A primary and a replica until the end of the block."""
    with _home() as home, contextlib.ExitStack() as stack:
        yield Pair(home, stack)


class Trio(_Two):
    """A primary, its replica, and three Sentinels that watch them."""

    def __init__(
        self,
        home: Path,
        stack: contextlib.ExitStack,
        authority: Authority | None = None,
        others: Authority | None = None,
        apart: bool = False,
    ) -> None:
        hosts = _hosts(apart=apart)
        super().__init__(home, stack, others or authority, hosts)
        self.sentinels = [Node(home, sentinel=True, authority=authority, host=next(hosts)) for _ in range(3)]
        _await(self.sentinels, stack)
        self._scheme = "rediss" if authority else "redis"
        for sentinel in self.sentinels:
            client: Any = sentinel.client()
            client.sentinel_monitor(SERVICE, self.nodes[0].host, self.nodes[0].port, 2)
            client.sentinel_set(SERVICE, "down-after-milliseconds", 1000)
            client.sentinel_set(SERVICE, "failover-timeout", 5000)
        wait_until(self._know_each_other, 15, "the Sentinels know each other")

    def _know_each_other(self) -> bool:
        told: list[Any] = [each.client().sentinel_master(SERVICE) for each in self.sentinels]
        return {(one["num-other-sentinels"], one["num-slaves"]) for one in told} == {(2, 1)}

    @property
    def url(self) -> str:
        return f"{self._scheme}+sentinel://{','.join(each.address for each in self.sentinels)}/{SERVICE}"

    @property
    def primary(self) -> Node:
        """The node that the first Sentinel calls so."""
        sentinel: Any = self.sentinels[0].client()
        _, port = sentinel.sentinel_get_master_addr_by_name(SERVICE)
        return next(node for node in self.nodes if node.port == int(port))


@contextlib.contextmanager
def trio(
    authority: Authority | None = None, others: Authority | None = None, apart: bool = False
) -> Iterator[Trio]:
    """A primary, a replica and three Sentinels until the end of the block. Takes about two seconds.

    With `others` only the Sentinels have certificates of the authority.
    """
    with _home() as home, contextlib.ExitStack() as stack:
        yield Trio(home, stack, authority, others, apart)


class Cluster:
    """Three primaries with a replica each, and all slots."""

    def __init__(
        self,
        home: Path,
        stack: contextlib.ExitStack,
        authority: Authority | None = None,
        others: Authority | None = None,
        apart: bool = False,
    ) -> None:
        self._scheme = "rediss" if authority else "redis"
        options: tuple[str, ...] = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1500")
        options += ("--cluster-replica-validity-factor", "0", "--cluster-require-full-coverage", "no")
        signed = [authority] * 2 + [others or authority] * 4
        hosts = _hosts(apart=apart)
        self.nodes = [Node(home, *options, authority=each, host=next(hosts)) for each in signed]
        _await(self.nodes, stack)
        self.ids = {node.port: self._ask(node, "CLUSTER MYID").decode() for node in self.nodes}
        first, bounds = self.nodes[0], (0, 5461, 10923, 16384)
        for number, node in enumerate(self.nodes[:3]):
            self._ask(node, "CLUSTER ADDSLOTS", *range(bounds[number], bounds[number + 1]))
            self._ask(node, "CLUSTER SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            self._ask(node, "CLUSTER MEET", first.host, first.port)
        wait_until(self._all_met, description="the nodes have met")
        for primary, replica in zip(self.nodes[:3], self.nodes[3:], strict=True):
            self._ask(replica, "CLUSTER REPLICATE", self.ids[primary.port])
        wait_until(self.is_well, 20, "the cluster is well")

    def _ask(self, node: Node, *words: Any) -> Any:
        return _raw(node, *words)

    def _all_met(self) -> bool:
        return all(self._info(node)["cluster_known_nodes"] == "6" for node in self.nodes)

    def _info(self, node: Node) -> dict[str, str]:
        text: str = self._ask(node, "CLUSTER INFO").decode()
        return dict(line.split(":", 1) for line in text.split() if ":" in line)

    def is_well(self) -> bool:
        """Whether all slots are served and all replicas have joined."""
        alive = [node for node in self.nodes if node.process.poll() is None]
        replicas: list[Any] = [node.client().info("replication") for node in alive]
        joined = all(one.get("master_link_status", "up") == "up" for one in replicas)
        return joined and all(self._info(node)["cluster_state"] == "ok" for node in alive)

    @property
    def url(self) -> str:
        return f"{self._scheme}+cluster://{self.nodes[0].address},{self.nodes[1].address}"

    @property
    def primary(self) -> Node:
        """The node of the queue `default`."""
        return self.home_of(DEFAULT)

    def client(self) -> redis.Redis:
        """Of the node of the queue `default`."""
        return self.primary.client()

    def has_left(self, node: Node) -> bool:
        """Whether all others say that another one is the node of the queue `default`."""
        return self.has_lost(node, DEFAULT)

    def home_of(self, key: str) -> Node:
        """The node that serves this key, as a node that lives knows it."""
        slot = key_slot(key.encode())
        witness = next(node for node in self.nodes if node.process.poll() is None)
        for start, end, primary, *_ in self._ask(witness, "CLUSTER SLOTS"):
            if start <= slot <= end:
                return next(node for node in self.nodes if node.port == primary[1])
        raise AssertionError(f"nobody serves {key}")

    def has_lost(self, node: Node, key: str) -> bool:
        """Whether all others say that it is not this node any more that serves the key."""
        slot = key_slot(key.encode())
        others = [one for one in self.nodes if one is not node and one.process.poll() is None]
        told = [each for one in others for each in self._ask(one, "CLUSTER SLOTS")]
        return node.port not in {primary[1] for start, end, primary, *_ in told if start <= slot <= end}

    def replica_of(self, node: Node) -> Node:
        """Its replica."""
        found: list[Any] = [(one, one.client().info("replication")) for one in self.nodes]
        replica: Node = next(one for one, info in found if info.get("master_port") == node.port)
        return replica

    def is_served(self) -> bool:
        """Whether the nodes that live agree that all is well."""
        alive = [node for node in self.nodes if node.process.poll() is None]
        return all(
            self._info(node)["cluster_state"] == "ok" and self._info(node)["cluster_slots_fail"] == "0"
            for node in alive
        )

    def other_than(self, node: Node) -> Node:
        """Another primary."""
        return next(one for one in self.primaries if one is not node)

    @property
    def primaries(self) -> list[Node]:
        """Those that live and serve slots."""
        alive = [node for node in self.nodes if node.process.poll() is None]
        return [node for node in alive if node.client().info("replication")["role"] == "master"]

    def keys_of(self, key: str, node: Node) -> list[bytes]:
        """The keys in the same slot as this one that a node has."""
        found: list[bytes] = self._ask(node, "CLUSTER GETKEYSINSLOT", key_slot(key.encode()), 1000)
        return found

    def open_slot(self, key: str, source: Node, target: Node) -> int:
        """Begin to move a slot key by key."""
        slot = key_slot(key.encode())
        self._ask(target, "CLUSTER SETSLOT", slot, "IMPORTING", self.ids[source.port])
        self._ask(source, "CLUSTER SETSLOT", slot, "MIGRATING", self.ids[target.port])
        return slot

    def move_keys(self, key: str, source: Node, target: Node) -> int:
        """Move the keys that are there; returns how many."""
        moved = 0
        while found := self.keys_of(key, source):
            self.move_some(found, source, target)
            moved += len(found)
        return moved

    def move_some(self, names: Iterable[bytes], source: Node, target: Node) -> None:
        """Move these keys, and no others."""
        for name in names:
            self._ask(source, "MIGRATE", target.host, target.port, name, 0, 5000)

    def close_slot(self, slot: int, target: Node) -> None:
        """It has moved."""
        for node in (target, *(each for each in self.primaries if each is not target)):
            self._ask(node, "CLUSTER SETSLOT", slot, "NODE", self.ids[target.port])

    @property
    def moves_at_once(self) -> bool:
        """Whether the server knows Valkey 9's way to move a slot, besides the one key by key."""
        return any(line.startswith(b"MIGRATESLOTS") for line in self._ask(self.nodes[0], "CLUSTER HELP"))

    def migrate(self, key: str, source: Node, target: Node) -> None:
        """Valkey 9's way."""
        slot = key_slot(key.encode())
        self._ask(source, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", self.ids[target.port])
        wait_until(lambda: self.home_of(key) is target, 20, "the slot has moved")


def _raw(node: Node, *words: Any) -> Any:
    """A command and its reply as it is: redis-py's callbacks differ between versions."""
    kind: Any = redis.SSLConnection if "ssl_ca_certs" in node.reach else redis.Connection
    connection = kind(**node.reach)
    try:
        first, *rest = words
        connection.send_command(*str(first).split(), *rest)
        return connection.read_response()
    finally:
        connection.disconnect()


@contextlib.contextmanager
def cluster(
    authority: Authority | None = None, others: Authority | None = None, apart: bool = False
) -> Iterator[Cluster]:
    """Six nodes until the end of the block. Takes some seconds.

    With `others` only the two that the URL names have certificates of the authority.
    """
    with _home() as home, contextlib.ExitStack() as stack:
        yield Cluster(home, stack, authority, others, apart)
