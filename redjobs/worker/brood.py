"""The supervisor's children: how one is started, what is known of it, how it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from redjobs.keys import Keys
from redjobs.settings import Server
from redjobs.version import __version__
from redjobs.worker.options import WorkerOptions
from redjobs.worker.seat import Channel
from redjobs.worker.slots import Running, Slots, shared_file

#: The exit code of a child that could not import its app.
CANNOT_IMPORT = 2
#: The pid of a child that was asked for and is not forked yet.
UNBORN = 0
#: A child that has not begun its work so long after its start imports a great deal, or hangs.
START_SECONDS = 60.0
#: And after so long it hangs: it is ended, and counts as one that died at its start.
HANG_SECONDS = 300.0
#: Once hooks have held its claim loop up, a child gets so long to interrupt what ran too long meanwhile.
_CATCH_UP_SECONDS = 1.0
#: What a child that is to say where it hangs gets for that.
WORDS_SECONDS = 1.0
_LAST_WORDS_BYTES = 2_000
#: More deaths than this per child within this time, and the next child has to wait.
_DEATHS_AT_ONCE = 4
_DEATHS_SECONDS = 30.0


class Child:
    """One child process, as its supervisor sees it."""

    def __init__(
        self, options: WorkerOptions, pid: int, channel: Channel, slots: Slots, crashes_fd: int
    ) -> None:
        self.options = options
        self.pid = pid
        self.channel = channel
        self.slots = slots
        self._crashes_fd = crashes_fd
        self.started_at = time.monotonic()
        #: Its app is imported, the hooks of `worker_start` are over, and it takes jobs.
        self.is_ready = False
        #: Monotonic time by which it should be; None: that it is not has been said.
        self.speaks_by: float | None = self.started_at + START_SECONDS
        #: The queues it serves, under which names.
        self.lanes: list[tuple[Keys, str]] = []
        self._lapsed: set[str] = set()
        #: Why it ends: burst, recycle or told, as it said itself; '' if it said nothing.
        self.leaving = ""
        #: Why its app could not be imported.
        self.fatal = ""
        #: It was told to go, and another one has its place.
        self.dismissed = False
        #: The child that leaves once this one is ready.
        self.replaces: Child | None = None
        #: Why it was killed, and the jobs that were the reason.
        self.killed_for = ""
        self._sent: signal.Signals | None = None
        #: It ended at its start with others, for one and the same reason, which counts once.
        self.is_blameless = False
        self.overran: list[Running] = []
        #: As `os.waitpid` gives it; None while it lives.
        self.status: int | None = None

    @property
    def name(self) -> str:
        """What the log calls it."""
        return "a child that was not forked yet" if self.pid == UNBORN else f"child {self.pid}"

    def kill(self, why: str, number: signal.Signals = signal.SIGKILL) -> None:
        """SIGKILL, or first a SIGABRT, which leaves last words; `why` becomes part of its obituary."""
        if self._sent in (number, signal.SIGKILL):
            return
        self._sent, self.killed_for = number, self.killed_for or why
        # One that is not forked yet is killed as soon as it is: 0 would be our own process group.
        if self.pid != UNBORN:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def hangs_at_its_start(self, now: float) -> bool:
        """Whether it should have begun its work long ago. Then it is ended, with word of where it hangs."""
        late = now - self.started_at - HANG_SECONDS
        if self.is_ready or late < 0:
            return False
        number = signal.SIGABRT if late < WORDS_SECONDS else signal.SIGKILL
        self.kill(f"it had not begun its work in {HANG_SECONDS:g} s", number)
        return True

    def is_held_up(self, now: float) -> bool:
        """Whether hooks keep its claim loop from interrupting jobs, or did until just now."""
        return bool(self.slots.hooks_of) or now < self.slots.hooks_until + _CATCH_UP_SECONDS

    def tell(self, do: str, **more: Any) -> None:
        """Send an order. It may stand still, and not read: nobody waits for that."""
        self.channel.post(do=do, **more)

    def serves(self, keys: Keys, worker: str) -> None:
        """It has registered under this name. One that it had there before has lost its lease.

        What may still come to that one's list is found by a sweep, for which the child has retired it.
        """
        self.lanes = [lane for lane in self.lanes if lane[0] != keys] + [(keys, worker)]

    def has_lapsed(self, worker: str) -> None:
        """This name's lease is gone. A child with a free slot learns it by itself; a full one asks nobody."""
        if worker not in self._lapsed:
            self._lapsed.add(worker)
            self.tell("lapsed", worker=worker)

    def dismiss(self) -> None:
        """Another one has its place: it is to go, once nothing runs there."""
        self.dismissed = True
        self.tell("stop", grace=float("inf"))

    def obituary(self) -> str:
        """How it ended, in one line: the signal or exit code, and why."""
        text = ending(self.status or 0)
        if self.killed_for:
            return f"{text}: {self.killed_for}"
        if os.waitstatus_to_exitcode(self.status or 0) == -signal.SIGKILL:
            return f"{text} (by somebody, or by the system for want of memory)"
        return text

    def last_words(self) -> str:
        """What the thread that crashed was doing, where it was left time to say so."""
        return last_words(self._crashes_fd)

    def close(self) -> None:
        """Let go of what was shared with it."""
        self.channel.close()
        self.slots.close()
        os.close(self._crashes_fd)


def idle_since(children: Sequence[Child]) -> float:
    """Monotonic time since when none of them had anything to do; infinite where one may have."""
    # One that starts, or is to end, is busy with that.
    since = [child.slots.idle_since if child.is_ready and not child.dismissed else 0.0 for child in children]
    return max(since) if since and all(since) else float("inf")


class Deaths:
    """How often children died lately, and when the next one may be born.

    Who dies now and then is replaced at once; children that die like flies wait for each other.
    """

    def __init__(self) -> None:
        self._at: list[float] = []
        #: Monotonic time.
        self.next_birth_at = 0.0

    def count(self, *, children: int) -> None:
        """One of so many children has died."""
        now = time.monotonic()
        self._at = [at for at in self._at if now - at < _DEATHS_SECONDS] + [now]
        excess = len(self._at) - _DEATHS_AT_ONCE * children
        self.next_birth_at = now + min(10.0, 0.1 * 2.0 ** min(excess, 10)) if excess > 0 else 0.0


def ending(status: int) -> str:
    """How a process ended, by what `os.waitpid` says of it."""
    code = os.waitstatus_to_exitcode(status)
    return f"exited with code {code}" if code >= 0 else f"killed by {_signal_name(-code)}"


def last_words(crashes_fd: int) -> str:
    """What the thread that crashed was doing, by the file that its faulthandler wrote to."""
    size = os.fstat(crashes_fd).st_size
    words = os.pread(crashes_fd, size, 0).decode("utf-8", "replace")
    first, _, rest = words.partition("\n")
    current = rest.partition("Current thread")[2].partition("\n\n")[0].partition("\n")[2]
    return f"{first}\n{current}"[:_LAST_WORDS_BYTES].strip()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Spawner:
    """Starts children and notices their ends."""

    def __init__(self, server: Server, logs: dict[str, Any]) -> None:
        self._server = asdict(server) | {"directory": server.directory and str(server.directory)}
        self._logs = logs

    def spawn(self, options: WorkerOptions) -> Child:
        """Start a child; it says `ready` once it takes jobs.

        Raises OSError where the system has not what it takes; then nothing of it is left.
        """
        count = options.threads + options.concurrency
        told = {
            "options": asdict(options),
            "server": self._server,
            "logs": self._logs,
            "version": __version__,
        }
        with contextlib.ExitStack() as opened:
            board, crashes = _opened(opened, Slots.size(count)), _opened(opened, 0)
            slots = Slots(board, count)
            ours, theirs = socket.socketpair()
            channel = Channel(opened.enter_context(ours))
            with theirs:
                pid = self._start(channel, told, (theirs.fileno(), board, crashes))
            opened.pop_all()
        return Child(options, pid, channel, slots, crashes)

    def _start(self, channel: Channel, told: dict[str, Any], fds: tuple[int, ...]) -> int:
        channel.post(**told)
        return start_module("redjobs.worker.child", *fds)

    @property
    def ears(self) -> list[socket.socket]:
        """What can be read once there is something for `reap`, where SIGCHLD does not say so."""
        return []

    def give_up(self, child: Child) -> None:
        """This child hangs at its start: the next one shall not wait for what it waits for."""

    def renew(self) -> None:
        """From now on, children run the app's newest code."""

    def reap(self, children: list[Child]) -> None:
        """Give the children that have ended their status."""
        of_pid = {child.pid: child for child in children}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in of_pid:
                of_pid[pid].status = status


def _opened(files: contextlib.ExitStack, size: int) -> int:
    fd = shared_file(size)
    files.callback(os.close, fd)
    return fd


def start_module(module: str, *fds: int) -> int:
    """Start `python -m module FD…` with these descriptors. Returns its pid.

    Popen's own bookkeeping is not used: `reap` notices the end of every child, and, as the first
    process of a container, also of those that are not ours.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, fds)], pass_fds=fds, stdin=subprocess.DEVNULL
    )
    process.returncode = 0
    return process.pid


def other_version(told: dict[str, Any]) -> str:
    """What to say where the supervisor that told us this is of another version; '' where it is of ours.

    The package was replaced below it, and they would misread the memory that they share.
    """
    if told["version"] == __version__:
        return ""
    return f"redjobs {__version__} is installed by now, and this worker is {told['version']}: restart it"


def server_from_dict(told: dict[str, Any]) -> Server:
    """The server that a child was told."""
    directory = told["directory"]
    return Server(**{**told, "directory": None if directory is None else Path(directory)})
