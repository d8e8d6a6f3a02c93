"""Celery: https://docs.celeryq.dev"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from tests.bench.peers.adapter import JOBS, MODE, TEXT, URL, Adapter, Command, module, told

celery: Any = import_module("celery")

app: Any = celery.Celery("bench", broker=told(URL))
if told(MODE) == "best":
    app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=128)

TASKS: dict[str, Any] = {name: app.task(fn, name=name) for name, fn in JOBS.items() if name[0] != "a"}


class Producer(Adapter):
    """Synchronous; tasks are messages of JSON."""

    def enqueue(self, job: str, number: int) -> None:
        TASKS[job].delay(number, TEXT)

    def enqueue_at(self, job: str, number: int, moment: float) -> None:
        TASKS[job].apply_async((number, TEXT), eta=datetime.fromtimestamp(moment, UTC))

    async def close(self) -> None:
        app.close()

    def worker(self, kind: str, processes: int) -> list[Command]:
        options = ["--concurrency", str(processes)]
        if self.best:
            options += ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"]
        return [module("celery", "-A", "tests.bench.peers.celery", "worker", *options)]
