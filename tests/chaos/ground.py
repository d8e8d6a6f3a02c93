"""The server under test and the network before it: what nemeses break, and how they mend it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

from tests import servers
from tests.proxy import Proxy, Rule, script
from tests.servers import Kind, Server

_is_enqueue = script("enqueue")


class WatchingProxy(Proxy):
    """Writes down when each job's enqueue was sent, in monotonic seconds."""

    def __init__(self, server: Server, socket: Path) -> None:
        super().__init__(server, socket)
        self.sent: dict[str, list[float]] = {}

    def rule_for(self, what: str, words: list[bytes]) -> Rule | None:
        if what == "request" and _is_enqueue(words):
            # EVALSHA, the hash, the number of keys, the keys, bell and stale; then seven words per job.
            first = 3 + int(words[2]) + 2
            now = time.monotonic()
            for word in words[first::7]:
                self.sent.setdefault(word.decode(), []).append(now)
        return super().rule_for(what, words)


class Ground:
    """A server that keeps its data on disk, and a proxy in front of it."""

    def __init__(self, kind: Kind, home: Path, fsync: str) -> None:
        self._kind = kind
        self._home = home
        self._options = ("--appendonly", "yes", "--appendfsync", fsync)
        self._server = servers.start(kind, home, *self._options)
        self.proxy = WatchingProxy(self._server, home / "proxy")

    @property
    def url(self) -> str:
        """Directly to the server."""
        return self._server.url

    def client(self) -> redis.Redis:
        """A client that goes past the proxy, without retries."""
        return self._server.client()

    def run(self, *command: Any) -> Any:
        """One command, past the proxy."""
        client: Any = self.client()
        try:
            return client.execute_command(*command)
        finally:
            client.close()

    def kill(self) -> None:
        """SIGKILL the server."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._server.pid, signal.SIGKILL)
        self._server.stop()

    def restart(self) -> None:
        """Start it anew, with what is on disk."""
        self._server = servers.start(self._kind, self._home, *self._options)

    def close(self) -> None:
        """End it."""
        self._server.stop()


@contextlib.contextmanager
def ground(kind: Kind, home: Path, fsync: str) -> Iterator[Ground]:
    """A server and its proxy until the end of the block."""
    made = Ground(kind, home, fsync)
    try:
        with made.proxy:
            yield made
    finally:
        made.close()
