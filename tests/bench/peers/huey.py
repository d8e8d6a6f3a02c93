"""huey: https://huey.readthedocs.io"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from tests.bench.peers.adapter import JOBS, MODE, TEXT, URL, Adapter, Command, program, told

_best = told(MODE) == "best"
queue: Any = import_module("huey").RedisHuey("bench", url=told(URL), results=not _best)

TASKS: dict[str, Any] = {name: queue.task(name=name)(fn) for name, fn in JOBS.items() if name[0] != "a"}


class Producer(Adapter):
    """Synchronous; pickled messages."""

    def enqueue(self, job: str, number: int) -> None:
        TASKS[job](number, TEXT)

    def enqueue_at(self, job: str, number: int, moment: float) -> None:
        TASKS[job].schedule((number, TEXT), eta=datetime.fromtimestamp(moment, UTC))

    def worker(self, kind: str, processes: int) -> list[Command]:
        command = [program("huey_consumer"), "tests.bench.peers.huey.queue"]
        if self.best:
            command += ["--quiet"]
        return [command] * processes
