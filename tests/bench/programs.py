"""Worker processes: started here, looked at from outside, and ended with all that they started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class Usage:
    """What some processes have used until now."""

    cpu_seconds: float
    #: Resident megabytes of each, largest first.
    rss_mb: list[float]


class Program:
    """A program and its descendants."""

    def __init__(self, command: Sequence[str], env: dict[str, str], home: Path, name: str) -> None:
        self.log = home / f"{name}.log"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                cwd=home,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.poll() is not None

    def tree(self) -> list[int]:
        """Its process and all that descend from it; just itself where there is no /proc."""
        parents = _parents()
        found = [self.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def end(self, seconds: float = 10.0) -> None:
        """SIGTERM, and then SIGKILL for whatever is left of it."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """SIGKILL for all of them at once."""
        pids = self.tree()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def last_words(self) -> str:
        """The end of what it has said."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:])[-300:]


def _parents() -> dict[int, int]:
    parents = {}
    for entry in _PROC.glob("[0-9]*/stat") if _PROC.exists() else ():
        with contextlib.suppress(OSError, ValueError):
            after_name = entry.read_text().rpartition(")")[2].split()
            if after_name[0] != "Z":
                parents[int(entry.parent.name)] = int(after_name[1])
    return parents


def usage(programs: Sequence[Program]) -> Usage | None:
    """CPU time and memory of all processes of some programs; None where there is no /proc."""
    if not _PROC.exists():
        return None
    cpu_seconds, rss_mb = 0.0, []
    for pid in [pid for program in programs for pid in program.tree()]:
        with contextlib.suppress(OSError):
            # Nanoseconds on a CPU, per thread: `stat` counts in ticks of 10 ms, too coarse for idle ones.
            tasks = (_PROC / str(pid)).glob("task/*/schedstat")
            cpu_seconds += sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
            pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
            rss_mb.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
    return Usage(cpu_seconds, sorted(rss_mb, reverse=True))


def wait_for_silence(programs: Sequence[Program], seconds: float) -> None:
    """Until these have used less than a tenth of a CPU for half a second, or the time is over."""
    until = time.monotonic() + seconds
    before = usage(programs)
    while time.monotonic() < until:
        time.sleep(0.5)
        now = usage(programs)
        if before is None or now is None or now.cpu_seconds - before.cpu_seconds < 0.05:
            return
        before = now
