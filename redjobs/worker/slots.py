"""Shared memory between a supervisor and one child: what is running there, and when it was last seen well.

So the supervisor knows which job was running when a child died, and charges no other; and it
ends a child whose job ignores its limit. Times are of the system-wide monotonic clock.

Layout: the claim loop's last turn and its last answer from the server (two doubles), then one
slot per thread and coroutine: job id (64 bytes, empty: free), started_at, kill_at (0: no limit),
and what then becomes of the job: retry after so many ms, or -1: bury.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import time
from dataclasses import dataclass
from typing import Final

_HEADER: Final = struct.Struct("=dd")
_SLOT: Final = struct.Struct("=64sddq")
_EMPTY: Final = _SLOT.pack(b"", 0.0, 0.0, 0)

#: `Running.delay_ms` where no retry is left.
BURY: Final = -1


@dataclass(frozen=True, slots=True)
class Running:
    """A job that a child is running."""

    job_id: str
    started_at: float
    #: When the child is to be killed for it; None: it has no limit.
    kill_at: float | None
    #: What becomes of the job then.
    delay_ms: int


def shared_file(size: int) -> int:
    """A file descriptor of anonymous memory that a child can inherit."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("redjobs", 0)
    else:  # macOS
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd


class Slots:
    """One child's board, seen from either side."""

    def __init__(self, fd: int, count: int) -> None:
        self.fd = fd
        self.count = count
        self._memory = mmap.mmap(fd, self.size(count))

    @staticmethod
    def size(count: int) -> int:
        """Bytes for so many slots."""
        return _HEADER.size + count * _SLOT.size

    # The child's side ----------------------------------------------------------------------

    def turn(self, answered_at: float) -> None:
        """The claim loop is alive; it last heard from the server at `answered_at`."""
        _HEADER.pack_into(self._memory, 0, time.monotonic(), answered_at)

    def occupy(
        self, number: int, job_id: str, started_at: float, kill_at: float = 0.0, delay_ms: int = 0
    ) -> None:
        """A job starts in this slot."""
        offset = _HEADER.size + number * _SLOT.size
        _SLOT.pack_into(self._memory, offset, job_id.encode(), started_at, kill_at, delay_ms)

    def vacate(self, number: int) -> None:
        """The job in this slot is over."""
        offset = _HEADER.size + number * _SLOT.size
        self._memory[offset : offset + _SLOT.size] = _EMPTY

    # The supervisor's side -----------------------------------------------------------------

    @property
    def turned_at(self) -> float:
        """When the claim loop last turned; 0: never yet."""
        return float(_HEADER.unpack_from(self._memory, 0)[0])

    @property
    def answered_at(self) -> float:
        """When the child last heard from the server; 0: never yet."""
        return float(_HEADER.unpack_from(self._memory, 0)[1])

    def running(self) -> list[Running]:
        """What runs there now."""
        found = []
        for number in range(self.count):
            offset = _HEADER.size + number * _SLOT.size
            if self._memory[offset] == 0:
                continue
            raw_id, started_at, kill_at, delay_ms = _SLOT.unpack_from(self._memory, offset)
            job_id = raw_id.rstrip(b"\0").decode("ascii", "replace")
            found.append(Running(job_id, started_at, kill_at or None, delay_ms))
        return found

    def close(self) -> None:
        """Let the memory go."""
        self._memory.close()
        os.close(self.fd)
