"""docket (on PyPI: pydocket): https://docket.lol

python -m tests.bench.peers.docket URL      a worker with the best settings
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

from tests.bench.peers.adapter import JOBS, TEXT, Adapter, Command, module, program

docket: Any = import_module("docket")

_SOON = timedelta(milliseconds=20)

#: What its command line reads.
tasks = [JOBS["ahit"], JOBS["anap"]]


class Producer(Adapter):
    """Coroutines; a Redis stream."""

    is_async = True

    async def open(self) -> None:
        options: dict[str, Any] = {"execution_ttl": timedelta(0)} if self.best else {}
        self._stack = AsyncExitStack()
        made = docket.Docket(name="bench", url=self.url, **options)
        self._docket = await self._stack.enter_async_context(made)
        for task in tasks:
            self._docket.register(task)

    async def close(self) -> None:
        await self._stack.aclose()

    async def enqueue(self, job: str, number: int) -> None:
        await self._docket.add(JOBS[job])(number, TEXT)

    async def enqueue_many(self, job: str, numbers: Sequence[int]) -> None:
        # A fresh one for each job: it is the call that holds the key.
        calls = [self._docket.call(JOBS[job])(number, TEXT) for number in numbers]
        await self._docket.add_many(calls)

    async def enqueue_at(self, job: str, number: int, moment: float) -> None:
        await self._docket.add(JOBS[job], when=datetime.fromtimestamp(moment, UTC))(number, TEXT)

    async def schedule_many(self, job: str, planned: Iterable[tuple[int, float]]) -> None:
        calls = [
            self._docket.call(JOBS[job], when=datetime.fromtimestamp(moment, UTC))(number, TEXT)
            for number, moment in planned
        ]
        await self._docket.add_many(calls)

    def worker(self, kind: str, processes: int) -> list[Command]:
        command = [program("docket"), "worker", "--docket", "bench", "--url", self.url]
        command += ["--tasks", "tests.bench.peers.docket:tasks"]
        if self.best:
            # Its command line knows whole seconds only.
            command = module("tests.bench.peers.docket", self.url)
        return [command] * processes


async def work(url: str) -> None:
    """A worker with the best settings, until the process is killed."""
    options = {"minimum_check_interval": _SOON, "scheduling_resolution": _SOON}
    async with docket.Docket(name="bench", url=url, execution_ttl=timedelta(0)) as made:
        for task in tasks:
            made.register(task)
        async with docket.Worker(made, concurrency=50, **options) as worker:
            await worker.run_forever()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
