"""Children that are forked from a process which has the app imported already: `--preload`."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redjobs.errors import SettingsError
from redjobs.settings import Server
from redjobs.version import __version__
from redjobs.worker.brood import (
    CANNOT_IMPORT,
    UNBORN,
    WORDS_SECONDS,
    Child,
    Spawner,
    ending,
    last_words,
    start_module,
)
from redjobs.worker.seat import Channel
from redjobs.worker.slots import shared_file

logger = logging.getLogger("redjobs.worker")


@dataclass(slots=True, eq=False)
class _ForkServer:
    """One process that has imported the app, and forks what it is asked for."""

    pid: int
    socket: socket.socket
    #: Where a crash leaves its last words.
    crashes_fd: int
    #: The channels of those that were asked for and are not forked yet, in their order.
    asked: deque[Channel] = field(default_factory=deque)
    #: What is to be sent for the last of them: descriptors.
    unsent: deque[tuple[int, ...]] = field(default_factory=deque)
    #: It has done all that it was told, the import first: it is asked for one child at a time.
    is_free: bool = False
    #: After the children that it was asked for it is not needed any more.
    is_dismissed: bool = False
    #: Why it could not import the app.
    fatal: str = ""
    #: Monotonic time when it was ended, as it hangs.
    ended_at: float | None = None
    #: The one child that counts as dead at its start, of all that it did not fork.
    blamed: Child | None = None

    def ask(self, channel: Channel, told: dict[str, Any], fds: tuple[int, ...]) -> None:
        """Ask for a child, as soon as it is this one's turn."""
        with contextlib.ExitStack() as opened:
            # Not in the message itself: a long list of queues is more than one can hold.
            request = [shared_file(0)]
            opened.callback(os.close, request[0])
            with open(request[0], "wb", closefd=False) as file:
                file.write(json.dumps(told).encode())
            for fd in fds:
                request.append(os.dup(fd))
                opened.callback(os.close, request[-1])
            opened.pop_all()
        # Not before: who is in this line gets the pid of the next one that is forked.
        self.asked.append(channel)
        self.unsent.append(tuple(request))
        self.send()

    def send(self) -> None:
        """Send the next request, if the last one was answered."""
        if self.unsent and self.is_free:
            try:
                socket.send_fds(self.socket, [b"fork"], self.unsent[0])
            except OSError:
                return  # it has died in this moment, or the system has no room for it: `reap` sees to both
            self.is_free = False
            _close(self.unsent.popleft())
        if self.is_dismissed and not self.unsent:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Let go of what was shared with it."""
        self.socket.close()
        os.close(self.crashes_fd)
        for fds in self.unsent:
            _close(fds)

    def blame(self, child: Child) -> None:
        """This child is not forked any more: which is the fork server's doing, and counts once."""
        self.blamed = self.blamed or child
        child.is_blameless = child is not self.blamed


class ForkSpawner(Spawner):
    """As Spawner; the processes are the fork server's children, which says how they end."""

    def __init__(self, server: Server, logs: dict[str, Any], apps: Sequence[str]) -> None:
        super().__init__(server, logs)
        if sys.platform == "darwin":
            raise SettingsError("--preload forks, which is not safe on macOS; leave it out")
        self._apps = apps
        #: The newest one forks; former ones are heard until they have done what they were asked.
        self._servers: list[_ForkServer] = []
        self._is_outdated = False
        self._born: dict[Channel, int] = {}
        self._ended: dict[int, int] = {}
        #: Whose children those that live are, and when they were started.
        self._forked: dict[int, tuple[_ForkServer, str | None]] = {}

    def _start(self, channel: Channel, told: dict[str, Any], fds: tuple[int, ...]) -> int:
        if self._is_outdated or not self._servers:
            self._launch()
        self._servers[-1].ask(channel, told, fds)
        return UNBORN

    def _launch(self) -> None:
        # One message is one packet, so that descriptors and what they are for stay together.
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        crashes = shared_file(0)
        try:
            with theirs:
                pid = start_module("redjobs.worker.zygote", theirs.fileno(), crashes)
        except OSError:
            ours.close()
            os.close(crashes)
            raise
        ours.setblocking(False)
        told = {"apps": list(self._apps), "logs": self._logs, "version": __version__}
        ours.send(json.dumps(told).encode())
        self._servers.append(_ForkServer(pid, ours, crashes))
        self._is_outdated = False

    @property
    def ears(self) -> list[socket.socket]:
        """The fork servers' sockets: that a child has ended is their SIGCHLD, not ours."""
        return [server.socket for server in self._servers]

    def renew(self) -> None:
        """The next child comes from a new fork server; the old one goes, its children stay."""
        for server in self._servers:
            server.is_dismissed = True
            server.send()
        self._is_outdated = True

    def give_up(self, child: Child) -> None:
        """It is not forked yet, for the fork server still imports the app: that hangs.

        Called until it has ended: first the fork server may say where it hangs.
        """
        server = self._asked_of(child)
        if server is None:
            return
        self._is_outdated = self._is_outdated or server is self._servers[-1]
        server.blame(child)
        is_first, now = server.ended_at is None, time.monotonic()
        server.ended_at = server.ended_at or now
        if is_first or now > server.ended_at + WORDS_SECONDS:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server.pid, signal.SIGABRT if is_first else signal.SIGKILL)

    def _asked_of(self, child: Child) -> _ForkServer | None:
        """Which fork server still owes this child."""
        return next((server for server in self._servers if child.channel in server.asked), None)

    def reap(self, children: list[Child]) -> None:
        """Give the children that were forked their pids, and those that have ended their status."""
        for server in self._servers:
            self._listen(server)
            server.send()
        for child in children:
            self._christen(child)
            child.status = self._ended.pop(child.pid, child.status or self._stillborn(child))
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                for server in [server for server in self._servers if server.pid == ended[0]]:
                    self._server_died(server, children, ended[1])
        for child in children:
            # Whose fork server is gone is nobody's child any more; that it ended its channel says.
            if child.status is None and child.channel.closed and self._is_orphan(child):
                child.status = self._ended.pop(child.pid, 0 if child.leaving else signal.SIGKILL)
            if child.status is not None:
                self._forked.pop(child.pid, None)

    def _stillborn(self, child: Child) -> int | None:
        """The status of one that was killed before it was forked; None for others.

        It need not be waited for, as it finds its channel closed and leaves; but its fork server, if
        that hangs.
        """
        if child.pid != UNBORN or not child.killed_for:
            return None
        server = self._asked_of(child)
        return None if server is not None and server.ended_at is not None else signal.SIGKILL

    def _christen(self, child: Child) -> None:
        """Give it its pid, if it has been forked by now."""
        if child.pid == UNBORN and child.channel in self._born:
            child.pid = self._born.pop(child.channel)

    def _listen(self, server: _ForkServer) -> None:
        while True:
            try:
                data = server.socket.recv(65_536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                return
            self._hear(server, json.loads(data))

    def _hear(self, server: _ForkServer, message: dict[str, Any]) -> None:
        match message:
            case {"say": "imported"}:
                server.is_free = True
            case {"say": "forked", "pid": int() as pid}:
                self._born[server.asked.popleft()] = pid
                self._forked[pid] = server, _started(pid)
                server.is_free = True
            case {"say": "ended", "pid": int() as pid, "status": int() as status}:
                self._ended[pid] = status
            case {"say": "fatal", "text": str() as text}:
                server.fatal = text
        server.send()

    def _server_died(self, server: _ForkServer, children: list[Child], status: int) -> None:
        self._listen(server)  # its last words
        is_newest = server is self._servers[-1] and not self._is_outdated
        self._servers.remove(server)
        if (is_newest and not server.fatal) or server.ended_at is not None:
            words = last_words(server.crashes_fd)
            text = "the fork server died: %s; the next child starts another one%s"
            logger.error(text, ending(status), words and "\n" + words)
        server.close()
        for child in children:
            if child.channel in server.asked:
                server.blame(child)
                child.fatal = server.fatal
                child.status = signal.SIGKILL if child.killed_for else CANNOT_IMPORT << 8

    def _is_orphan(self, child: Child) -> bool:
        """Whether it has ended, and nobody will say so."""
        if child.pid not in self._forked:  # it is not forked yet
            return False
        server, started = self._forked[child.pid]
        if server in self._servers:
            return False
        return started is None or _started(child.pid) != started


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def _started(pid: int) -> str | None:
    """What tells a process from a later one that has its pid; None: it has ended, though nobody may care."""
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except FileNotFoundError:
        return "" if not Path("/proc/self/stat").exists() else None
    except OSError:  # there is none, or it is another user's by now
        return None
    # The name before it, in parentheses, may have any characters.
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in "ZX" else rest[18]
