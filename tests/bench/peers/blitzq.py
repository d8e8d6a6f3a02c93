"""BlitzQ: https://github.com/ainest-labs/BlitzQ"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from tests.bench.peers.adapter import JOBS, MODE, TEXT, URL, Adapter, Command, program, told

_best = told(MODE) == "best"
queue: Any = import_module("blitzq").Queue("bench", redis_url=told(URL), store_results=not _best)

TASKS: dict[str, Any] = {name: queue.task(fn, name=name) for name, fn in JOBS.items()}


class Producer(Adapter):
    """Coroutines; msgpack, a Redis stream."""

    is_async = True

    async def close(self) -> None:
        await queue.close()

    async def enqueue(self, job: str, number: int) -> None:
        await TASKS[job].enqueue(number, TEXT)

    async def enqueue_many(self, job: str, numbers: Sequence[int]) -> None:
        await TASKS[job].enqueue_many([(number, TEXT) for number in numbers])

    async def enqueue_at(self, job: str, number: int, moment: float) -> None:
        await TASKS[job].options(eta=moment).enqueue(number, TEXT)

    def worker(self, kind: str, processes: int) -> list[Command]:
        command = [program("blitzq"), "worker", "tests.bench.peers.blitzq:queue", "--queues", "bench"]
        command += ["--workers", str(processes)]
        if self.best:
            command += ["--concurrency", "200", "--batch-size", "200", "--log-level", "WARNING"]
        return [command]
