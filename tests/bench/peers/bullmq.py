"""BullMQ for Python: https://docs.bullmq.io/python

It has no command for a worker: this module is the program that its documents show.

    python -m tests.bench.peers.bullmq URL MODE
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

from tests.bench.peers.adapter import JOBS, TEXT, Adapter, Command, module

bullmq: Any = import_module("bullmq")


class Producer(Adapter):
    """Coroutines; a hash per job."""

    is_async = True

    async def open(self) -> None:
        self._queue = bullmq.Queue("bench", {"connection": self.url})
        self._options: dict[str, Any] = {"removeOnComplete": True} if self.best else {}

    async def close(self) -> None:
        await self._queue.close()

    async def enqueue(self, job: str, number: int) -> None:
        await self._queue.add(job, {"number": number, "text": TEXT}, self._options)

    async def enqueue_many(self, job: str, numbers: Sequence[int]) -> None:
        await self._queue.addBulk([self._job(job, number, self._options) for number in numbers])

    async def enqueue_at(self, job: str, number: int, moment: float) -> None:
        await self._queue.add(job, {"number": number, "text": TEXT}, self._delayed(moment))

    async def schedule_many(self, job: str, planned: Iterable[tuple[int, float]]) -> None:
        await self._queue.addBulk([self._job(job, number, self._delayed(at)) for number, at in planned])

    def _delayed(self, moment: float) -> dict[str, Any]:
        return {**self._options, "delay": max(1, round((moment - time.time()) * 1000))}

    @staticmethod
    def _job(job: str, number: int, options: dict[str, Any]) -> dict[str, Any]:
        return {"name": job, "data": {"number": number, "text": TEXT}, "opts": options}

    def worker(self, kind: str, processes: int) -> list[Command]:
        mode = "best" if self.best else "default"
        return [module("tests.bench.peers.bullmq", self.url, mode)] * processes


async def process(job: Any, _token: str) -> None:
    """What its worker calls for every job."""
    await JOBS[job.name](job.data["number"], job.data["text"])


async def work(url: str, best: bool) -> None:
    """Until the process is killed."""
    options: dict[str, Any] = {"connection": url}
    if best:
        options["concurrency"] = 10
    worker = bullmq.Worker("bench", process, options)
    try:
        await asyncio.Event().wait()
    finally:
        await worker.close()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2] == "best"))
