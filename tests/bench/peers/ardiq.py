"""ArdiQ: https://ardiq.bytay.dev"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

from tests.bench.peers.adapter import JOBS, MODE, TEXT, URL, Adapter, Command, program, told

_options: dict[str, Any] = {}
if told(MODE) == "best":
    _options = {"concurrency": 200, "prefetch": 200, "result_ttl_ms": 0}
app: Any = import_module("ardiq").Ardiq(redis_url=told(URL), queue_name="bench", **_options)

TASKS: dict[str, Any] = {name: app.task(fn, name=name) for name, fn in JOBS.items()}


class Producer(Adapter):
    """Coroutines; msgpack, a Redis stream, the client in Rust."""

    is_async = True

    async def enqueue(self, job: str, number: int) -> None:
        await TASKS[job].enqueue(number, TEXT)

    async def enqueue_many(self, job: str, numbers: Sequence[int]) -> None:
        await app.enqueue_many([TASKS[job].prepare(number, TEXT) for number in numbers])

    async def enqueue_at(self, job: str, number: int, moment: float) -> None:
        await TASKS[job].options(schedule_ms=int(moment * 1000)).enqueue(number, TEXT)

    async def schedule_many(self, job: str, planned: Iterable[tuple[int, float]]) -> None:
        await app.enqueue_many(
            [TASKS[job].options(schedule_ms=int(at * 1000)).prepare(number, TEXT) for number, at in planned]
        )

    def worker(self, kind: str, processes: int) -> list[Command]:
        return [[program("ardiq"), "run", "tests.bench.peers.ardiq:app", "-q", "-w", str(processes)]]
