"""Which jobs ran, how often, when and in which process: shared memory that the handlers write.

A file of one byte per job, its runs, and behind them per job the last start (seconds since the
epoch) and the process. Only the standard library: every peer's environment imports this.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path
from typing import Final

#: The environment variable that names the file.
BOARD: Final = "REDJOBS_BENCH_BOARD"

_SLOT: Final = struct.Struct("=dI")


class Board:
    """The file, mapped into this process; a child that is forked shares it."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self._jobs = len(self._memory) // (1 + _SLOT.size)

    @classmethod
    def create(cls, path: Path, jobs: int) -> Board:
        """An empty one for the jobs 0 to `jobs` - 1."""
        with path.open("wb") as file:
            file.truncate(jobs * (1 + _SLOT.size))
        return cls(path)

    def hit(self, number: int) -> None:
        """Job `number` starts."""
        memory = self._memory
        # The count comes last: who sees it finds the time, too.
        _SLOT.pack_into(memory, self._jobs + number * _SLOT.size, time.time(), os.getpid())
        memory[number] += 1

    def runs(self, number: int) -> int:
        """How often this job has started."""
        return self._memory[number]

    def ran(self, first: int, count: int) -> int:
        """How many of these jobs have started."""
        return count - self._memory[first : first + count].count(0)

    def last(self, count: int) -> int:
        """The last of the first `count` jobs that has run once; -1 where none has."""
        return self._memory.rfind(b"\1", 0, count)

    def total(self, first: int, count: int) -> int:
        """How many starts there were of these jobs: more than `ran` where one ran twice."""
        return sum(self._memory[first : first + count])

    def starts(self, first: int, count: int) -> list[float]:
        """When each of these jobs last started; 0 where it has not."""
        begin = self._jobs + first * _SLOT.size
        part = self._memory[begin : begin + count * _SLOT.size]
        return [at for at, _ in _SLOT.iter_unpack(part)]

    def by_process(self, first: int, count: int) -> dict[int, list[float]]:
        """The starts of these jobs, sorted, by the process in which they were."""
        begin = self._jobs + first * _SLOT.size
        found: dict[int, list[float]] = {}
        for at, pid in _SLOT.iter_unpack(self._memory[begin : begin + count * _SLOT.size]):
            found.setdefault(pid, []).append(at)
        return {pid: sorted(starts) for pid, starts in found.items()}

    def process(self, number: int) -> int:
        """The process in which this job last started."""
        return int(_SLOT.unpack_from(self._memory, self._jobs + number * _SLOT.size)[1])


def from_environment() -> Board | None:
    """The board that this process was told of."""
    path = os.environ.get(BOARD)
    return Board(Path(path)) if path else None
