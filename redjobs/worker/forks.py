"""Children that are forked from a process which has the app imported already: `--preload`."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

from redjobs.errors import SettingsError
from redjobs.settings import Server
from redjobs.worker.brood import CANNOT_IMPORT, Child, Spawner, start_module
from redjobs.worker.seat import Channel

logger = logging.getLogger("redjobs.worker")

#: The pid of a child that was asked for and is not forked yet.
UNBORN = 0


class ForkSpawner(Spawner):
    """As Spawner; the processes are the fork server's children, which says how they end."""

    def __init__(self, server: Server, logs: dict[str, Any], apps: Sequence[str]) -> None:
        super().__init__(server, logs)
        if sys.platform == "darwin":
            raise SettingsError("--preload forks, which is not safe on macOS; leave it out")
        self._apps = apps
        self._socket: socket.socket | None = None
        self._pid = 0
        self._fatal = ""
        self._ended: dict[int, int] = {}
        self._pids: list[int] = []

    def _start(self, channel: Channel, told: dict[str, Any], fds: tuple[int, ...]) -> int:
        if self._socket is None:
            self._launch()
        assert self._socket is not None
        with contextlib.suppress(OSError):  # it has died in this moment: `reap` sees to that
            socket.send_fds(self._socket, [json.dumps(told).encode()], list(fds))
        return UNBORN

    def _launch(self) -> None:
        # One message is one packet, so that descriptors and what they are for stay together.
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = start_module("redjobs.worker.zygote", theirs.fileno())
        theirs.close()
        ours.setblocking(False)
        ours.send(json.dumps({"apps": list(self._apps), "logs": self._logs}).encode())
        self._socket = ours
        self._fatal = ""

    @property
    def ears(self) -> list[socket.socket]:
        """The fork server's socket: that a child has ended is its SIGCHLD, not ours."""
        return [] if self._socket is None else [self._socket]

    def renew(self) -> None:
        """The next child comes from a new fork server; the old one goes, its children stay."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def reap(self, children: list[Child]) -> None:
        """Give the children that were forked their pids, and those that have ended their status."""
        self._listen()
        unborn = [child for child in children if child.pid == UNBORN]
        for child, pid in zip(unborn, list(self._pids), strict=False):
            child.pid = pid
            self._pids.remove(pid)
            if child.killed_for:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for child in children:
            child.status = self._ended.pop(child.pid, child.status)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._pid:
                    self._server_died(children)
        for child in children:
            # Whose fork server is gone is nobody's child any more; that it ended its channel says.
            if child.status is None and child.channel.closed and self._is_orphan(child):
                child.status = 0 if child.leaving else signal.SIGKILL

    def _listen(self) -> None:
        while self._socket is not None:
            try:
                data = self._socket.recv(65_536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                return
            match json.loads(data):
                case {"say": "forked", "pid": int() as pid}:
                    self._pids.append(pid)
                case {"say": "ended", "pid": int() as pid, "status": int() as status}:
                    self._ended[pid] = status
                case {"say": "fatal", "text": str() as text}:
                    self._fatal = text

    def _server_died(self, children: list[Child]) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            if not self._fatal:
                logger.error("the fork server died; the next child starts another one")
        self._pid = 0
        for child in children:
            if child.pid == UNBORN:
                child.fatal = self._fatal
                child.status = CANNOT_IMPORT << 8

    @staticmethod
    def _is_orphan(child: Child) -> bool:
        try:
            os.kill(child.pid, 0)
        except ProcessLookupError:
            return True
        return False
