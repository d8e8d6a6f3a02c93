"""RQ: https://python-rq.org"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from tests.bench.peers.adapter import JOBS, TEXT, Adapter, Command, program

redis: Any = import_module("redis")
rq: Any = import_module("rq")


class Producer(Adapter):
    """A synchronous queue of pickled calls."""

    async def open(self) -> None:
        self._queue = rq.Queue("bench", connection=redis.Redis.from_url(self.url))
        self._options: dict[str, Any] = {"result_ttl": 0} if self.best else {}

    def enqueue(self, job: str, number: int) -> None:
        self._queue.enqueue(JOBS[job], number, TEXT, **self._options)

    def enqueue_many(self, job: str, numbers: Sequence[int]) -> None:
        data = [rq.Queue.prepare_data(JOBS[job], (number, TEXT), **self._options) for number in numbers]
        self._queue.enqueue_many(data)

    def enqueue_at(self, job: str, number: int, moment: float) -> None:
        at = datetime.fromtimestamp(moment, UTC)
        self._queue.enqueue_at(at, JOBS[job], number, TEXT, **self._options)

    def worker(self, kind: str, processes: int) -> list[Command]:
        command = [program("rq"), "worker", "bench", "--url", self.url, "--with-scheduler"]
        if self.best:
            command += ["--worker-class", "rq.worker.SimpleWorker", "--quiet"]
        return [command] * processes
