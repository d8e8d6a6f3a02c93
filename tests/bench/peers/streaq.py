"""streaQ: https://streaq.readthedocs.io"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from tests.bench.peers.adapter import JOBS, MODE, TEXT, URL, Adapter, Command, program, told

_best = told(MODE) == "best"
_options: dict[str, Any] = {"concurrency": 100, "anyio_kwargs": {"use_uvloop": True}} if _best else {}
worker: Any = import_module("streaq").Worker(redis_url=told(URL), queue_name="bench", **_options)

_task_options: dict[str, Any] = {"ttl": 0, "silent": True} if _best else {}
TASKS: dict[str, Any] = {name: worker.task(name=name, **_task_options)(fn) for name, fn in JOBS.items()}


class Producer(Adapter):
    """Coroutines; pickle, a Redis stream."""

    is_async = True

    async def open(self) -> None:
        self._stack = AsyncExitStack()
        await self._stack.enter_async_context(worker)

    async def close(self) -> None:
        await self._stack.aclose()

    async def enqueue(self, job: str, number: int) -> None:
        await TASKS[job].enqueue(number, TEXT)

    async def enqueue_many(self, job: str, numbers: Sequence[int]) -> None:
        await worker.enqueue_many([TASKS[job].enqueue(number, TEXT) for number in numbers])

    async def enqueue_at(self, job: str, number: int, moment: float) -> None:
        await TASKS[job].enqueue(number, TEXT).start(schedule=datetime.fromtimestamp(moment, UTC))

    async def schedule_many(self, job: str, planned: Iterable[tuple[int, float]]) -> None:
        tasks = [
            TASKS[job].enqueue(number, TEXT).start(schedule=datetime.fromtimestamp(moment, UTC))
            for number, moment in planned
        ]
        await worker.enqueue_many(tasks)

    def worker(self, kind: str, processes: int) -> list[Command]:
        return [[program("streaq"), "run", "tests.bench.peers.streaq:worker", "--workers", str(processes)]]
