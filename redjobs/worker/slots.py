"""Shared memory between a supervisor and one child: what is running there, and when it was last seen well.

So the supervisor knows which job was running when a child died, and charges no other; and it
ends a child whose job ignores its limit. Times are of the system-wide monotonic clock.

Layout, in words of eight bytes: the claim loop's last turn, its last answer from the server (two
doubles), how many jobs have failed, of which event it calls hooks (0: of none), since when it had
nothing to do (a double; 0: it has), until when hooks held it up last (a double). Then one slot per
thread and coroutine: job id (64 bytes, the first is 0: free), started_at, kill_at (0: no limit; two
doubles), and what then becomes of the job: retry after so many ms, or -1: bury. A word is written at
once, so whoever looks in the middle of it sees the old one or the new one: `struct` would write it
byte by byte, and half a moment looks like one that is long over.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from dataclasses import dataclass
from typing import Final

from redjobs.hooks import EVENTS

_WORD: Final = 8
_HEADER_WORDS: Final = 6
_ID_BYTES: Final = 64
_SLOT_WORDS: Final = _ID_BYTES // _WORD + 3

#: Hooks that take no longer hold nobody up: it is less than what a job gets to clean up.
_HELD_UP_SECONDS: Final = 0.1

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
        self._hooks_since = 0.0
        whole = memoryview(self._memory)
        self._moments, self._numbers = whole.cast("d"), whole.cast("q")
        #: Of each slot: the first byte of its id, and the first word behind it.
        firsts = [_HEADER_WORDS + number * _SLOT_WORDS for number in range(count)]
        self._places = [(first * _WORD, first + _ID_BYTES // _WORD) for first in firsts]

    @staticmethod
    def size(count: int) -> int:
        """Bytes for so many slots."""
        return (_HEADER_WORDS + count * _SLOT_WORDS) * _WORD

    # The child's side ----------------------------------------------------------------------

    def turn(self, answered_at: float, failed_jobs: int = 0) -> None:
        """The claim loop is alive; it last heard from the server at `answered_at`."""
        self._moments[0], self._moments[1] = time.monotonic(), answered_at
        self._numbers[2] = failed_jobs

    def calls_hooks(self, event: str) -> None:
        """The claim loop calls the hooks of this event; '': it does not any more."""
        now = time.monotonic()
        if not self._numbers[3]:
            self._hooks_since = now
        elif not event and now > self._hooks_since + _HELD_UP_SECONDS:
            self._moments[5] = now  # first: whoever sees that it is over is to see that it just was not
        self._numbers[3] = EVENTS.index(event) + 1 if event else 0

    def rests(self, since: float) -> None:
        """There is nothing to do since then; 0: there is, or may be."""
        self._moments[4] = since

    def occupy(
        self, number: int, job_id: str, started_at: float, kill_at: float = 0.0, delay_ms: int = 0
    ) -> None:
        """A job starts in this slot."""
        byte, word = self._places[number]
        memory, moments = self._memory, self._moments
        moments[word], moments[word + 1], self._numbers[word + 2] = started_at, kill_at, delay_ms
        raw_id = job_id.encode()[:_ID_BYTES].ljust(_ID_BYTES, b"\0")
        memory[byte + 1 : byte + _ID_BYTES] = raw_id[1:]
        memory[byte] = raw_id[0]  # not before: now the slot is taken

    def postpone(self, number: int, seconds: float) -> None:
        """The job in this slot has so much longer until the child is killed for it."""
        _, word = self._places[number]
        self._moments[word + 1] += seconds

    def vacate(self, number: int) -> None:
        """The job in this slot is over."""
        byte, word = self._places[number]
        self._moments[word + 1] = 0.0
        self._memory[byte] = 0

    # The supervisor's side -----------------------------------------------------------------

    @property
    def turned_at(self) -> float:
        """When the claim loop last turned; 0: never yet."""
        return float(self._moments[0])

    @property
    def answered_at(self) -> float:
        """When the child last heard from the server; 0: never yet."""
        return float(self._moments[1])

    @property
    def idle_since(self) -> float:
        """Since when the child had nothing to do; 0: it has, or may have."""
        return float(self._moments[4])

    @property
    def failed_jobs(self) -> int:
        """How many jobs have failed there."""
        return int(self._numbers[2])

    @property
    def hooks_of(self) -> str:
        """Of which event the claim loop calls hooks; '': it does not."""
        number = self._numbers[3]
        return EVENTS[number - 1] if number else ""

    @property
    def hooks_until(self) -> float:
        """Until when hooks kept the claim loop from looking at what runs, where that took long."""
        return float(self._moments[5])

    def running(self) -> list[Running]:
        """What runs there now."""
        found = []
        for byte, word in self._places:
            if self._memory[byte] == 0:
                continue
            job_id = self._memory[byte : byte + _ID_BYTES].rstrip(b"\0").decode("ascii", "replace")
            started_at, kill_at = self._moments[word], self._moments[word + 1]
            found.append(Running(job_id, started_at, kill_at or None, self._numbers[word + 2]))
        return found

    def close(self) -> None:
        """Let the memory go."""
        self._moments.release()
        self._numbers.release()
        self._memory.close()
        os.close(self.fd)
