"""What jobs did, written outside of the server under test: one line per event, whoever dies.

Each line is one write to a file that is opened for appending, so lines of several processes never
mix, and what was written before a SIGKILL stays. Linux ends a write of a process that is killed where a
page ends: so lines have a length of which a page has a whole number, and are there or not. Times are
of the machine's monotonic clock, which all processes share, and of its wall clock, which is the
server's.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

#: The environment variable that names the file.
RECORD = "REDJOBS_CHAOS_RECORD"

#: Bytes of a line, with its end.
LINE = 128

#: How an execution may end: it did its work; it raised, as planned, and is to run again; it was told
#: to stop; its arguments were not what was enqueued.
DONE, AGAIN, STOPPED, CORRUPT = "done", "again", "stopped", "corrupt"


@dataclass(slots=True)
class Run:
    """One execution of a job."""

    job: str
    attempt: int
    pid: int
    #: Monotonic seconds, and milliseconds of the wall clock.
    started: float
    started_ms: int
    #: None: it never ended, for its process died.
    ended: float | None = None
    how: str = ""

    @property
    def is_done(self) -> bool:
        """Whether it did its work."""
        return self.how == DONE


class Recorder:
    """Writes; one per process, whose descriptor a fork does not share."""

    def __init__(self) -> None:
        self._fd = -1
        self._pid = 0
        self._numbers = itertools.count()

    def started(self, job: str, attempt: int) -> int:
        """An execution begins; its number in this process."""
        number = next(self._numbers)
        times = f"{time.monotonic():.6f} {time.time() * 1000:.0f}"
        self._write(f"S {os.getpid()} {number} {times} {job} {attempt}")
        return number

    def ended(self, number: int, how: str) -> None:
        """It is over."""
        self._write(f"E {os.getpid()} {number} {time.monotonic():.6f} {how}")

    def _write(self, line: str) -> None:
        if self._pid != os.getpid():
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            self._fd = os.open(os.environ[RECORD], flags, 0o600)
            self._pid = os.getpid()
        assert len(line) < LINE, line
        os.write(self._fd, f"{line.ljust(LINE - 1)}\n".encode())


class Record:
    """Reads, as far as it is written."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file = path.open("rb")
        self._rest = b""
        self.runs: list[Run] = []
        #: What runs now, or never ended: by process and number.
        self._open: dict[tuple[str, str], Run] = {}
        #: Jobs that did their work.
        self.done: set[str] = set()

    def read(self) -> None:
        """Take in what was written since the last call."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        self._take(line.decode() for line in lines)

    def _take(self, lines: Iterable[str]) -> None:
        for line in lines:
            kind, pid, number, at, *rest = line.split()
            if kind == "S":
                started_ms, job, attempt = rest
                run = Run(job, int(attempt), int(pid), float(at), int(started_ms))
                self.runs.append(run)
                self._open[pid, number] = run
            else:
                run = self._open.pop((pid, number))
                run.ended, run.how = float(at), rest[0]
                if run.is_done:
                    self.done.add(run.job)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
