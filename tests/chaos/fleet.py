"""The workers of a chaos run: supervisors with their children, replaced whenever they end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from redjobs.access import Role
from redjobs.worker import WorkerOptions
from tests.chaos.record import RECORD
from tests.roles import as_role

ROOT = Path(__file__).parents[2]
_BIRTH_SECONDS = 5.0


class Crew:
    """One worker: a supervisor with children, or with `processes=0` a process alone.

    Each is a session of its own, so that all of it can be hit at once, as when a machine dies.
    """

    def __init__(self, name: str, url: str, home: Path, options: WorkerOptions, *, broken: str = "") -> None:
        self.name = name
        self.options = options
        self._command = json.dumps(
            {"url": as_role(url, Role.WORKER), "options": asdict(options), "broken": broken}
        )
        self._log = home / f"{name}.log"
        self._record = home / "record"
        self._process: subprocess.Popen[bytes] | None = None
        #: Sessions that were left behind by a supervisor which was killed.
        self._sessions: list[int] = []
        self.started_at = 0.0

    @property
    def pid(self) -> int:
        """The process that was started."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_solo(self) -> bool:
        """Whether it has no supervisor."""
        return self.options.processes == 0

    def ensure(self) -> bool:
        """Start it if it does not run. Returns whether it was started."""
        if self._process is not None and self._process.poll() is None:
            return False
        environment = os.environ | {RECORD: str(self._record), "PYTHONPATH": str(ROOT)}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.launch", self._command],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._sessions.append(self._process.pid)
        self.started_at = time.monotonic()
        return True

    def children(self) -> list[int]:
        """The pids of the processes that run jobs."""
        if self.is_solo:
            return [self.pid]
        parents = processes()
        below = [pid for pid, parent in parents.items() if parent == self.pid]
        if self.options.preload:
            return [pid for pid, parent in parents.items() if parent in below]
        return below

    def all(self) -> list[int]:
        """The pids of all its processes."""
        return sorted({self.pid, *self.children()})

    def signal_all(self, number: signal.Signals) -> None:
        """Hit all of its processes at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def wait(self, seconds: float) -> int | None:
        """Its exit code; None where it did not end in time."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def destroy(self) -> None:
        """End all that is left of it, and of those before it."""
        for session in self._sessions:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(session, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    @property
    def log(self) -> str:
        """All that it has said."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""


def processes() -> dict[int, int]:
    """The parent of every process that is not a zombie."""
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - a Path per process would be slow
        if name.isdigit():
            with contextlib.suppress(OSError):
                state, parent, *_ = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
                if state != "Z":
                    found[int(name)] = int(parent)
    return found


class Fleet:
    """All crews."""

    def __init__(self, crews: Sequence[Crew]) -> None:
        self.crews = list(crews)

    def ensure(self) -> None:
        """Replace those that have ended."""
        for crew in self.crews:
            crew.ensure()

    def stop(self, seconds: float) -> list[str]:
        """Stop all of them as an operator would. Returns what went wrong."""
        for crew in self.crews:
            os.kill(crew.pid, signal.SIGTERM)
        told_at = time.monotonic()
        deadline = told_at + seconds
        wrong = []
        for crew in self.crews:
            # Whoever was just started has not yet said what SIGTERM means to it.
            newborn = told_at < crew.started_at + _BIRTH_SECONDS
            code = crew.wait(max(0.1, deadline - time.monotonic()))
            newborn = newborn and code == -signal.SIGTERM
            if code != 0 and not newborn:
                wrong.append(f"{crew.name} ended with {code} when it was told to stop")
        return wrong

    def destroy(self) -> None:
        """End everything."""
        for crew in self.crews:
            crew.destroy()
