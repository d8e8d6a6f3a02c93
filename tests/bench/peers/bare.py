"""A list and nothing else: LPUSH, and RPOPLPUSH and LREM by the batch, on a raw socket. No Lua.

What any queue with a list per worker could reach that knows no ids, schedules, retries or fences.

    python -m tests.bench.peers.bare URL
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

import msgpack

from tests.bench.peers.adapter import JOBS, TEXT, Adapter, Command, module
from tests.bench.peers.ideal import Wire

_BATCH = 500


class Producer(Adapter):
    """One LPUSH per job, or per thousand jobs."""

    async def open(self) -> None:
        self._wire = Wire(self.url)

    async def close(self) -> None:
        self._wire.close()

    def enqueue(self, job: str, number: int) -> None:
        self._wire.call("LPUSH", "ready", msgpack.packb((job, (number, TEXT))))

    def enqueue_many(self, job: str, numbers: Sequence[int]) -> None:
        self._wire.call("LPUSH", "ready", *[msgpack.packb((job, (number, TEXT))) for number in numbers])

    def worker(self, kind: str, processes: int) -> list[Command]:
        return [module("tests.bench.peers.bare", self.url)] * processes


def work(url: str) -> None:
    """Move a batch to our list, run it, remove it; the next is under way meanwhile."""
    wire, mine = Wire(url), f"processing:{os.getpid()}"
    moves = [("RPOPLPUSH", "ready", mine)] * _BATCH
    jobs: list[bytes] = []
    done: list[bytes] = []
    while True:
        wire.send(*[("LREM", mine, -1, job) for job in done], *moves)
        for job in jobs:
            name, args = msgpack.unpackb(job)
            JOBS[name](*args)
        for _ in done:
            wire.read()
        done = jobs
        jobs = [job for _ in moves if (job := wire.read()) is not None]
        if not (done or jobs):
            time.sleep(0.001)


if __name__ == "__main__":
    work(sys.argv[1])
