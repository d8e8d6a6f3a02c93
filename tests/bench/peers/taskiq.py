"""taskiq with taskiq-redis: https://taskiq-python.github.io"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from tests.bench.peers.adapter import JOBS, TEXT, URL, Adapter, Command, program, told

_redis: Any = import_module("taskiq_redis")
broker: Any = _redis.RedisStreamBroker(told(URL), queue_name="bench")
source: Any = _redis.ListRedisScheduleSource(told(URL))
scheduler: Any = import_module("taskiq").TaskiqScheduler(broker, [source])

TASKS: dict[str, Any] = {name: broker.register_task(fn, task_name=name) for name, fn in JOBS.items()}


class Producer(Adapter):
    """Coroutines; JSON, a Redis stream, and a scheduler as a process of its own."""

    is_async = True

    async def open(self) -> None:
        await broker.startup()
        await source.startup()

    async def close(self) -> None:
        await source.shutdown()
        await broker.shutdown()

    async def enqueue(self, job: str, number: int) -> None:
        await TASKS[job].kiq(number, TEXT)

    async def enqueue_at(self, job: str, number: int, moment: float) -> None:
        at = datetime.fromtimestamp(moment, UTC)
        await TASKS[job].schedule_by_time(source, at, number, TEXT)

    def worker(self, kind: str, processes: int) -> list[Command]:
        worker = [program("taskiq"), "worker", "tests.bench.peers.taskiq:broker"]
        worker += ["--workers", str(processes)]
        schedules = [program("taskiq"), "scheduler", "tests.bench.peers.taskiq:scheduler"]
        if self.best:
            worker += ["--max-async-tasks", "200", "--max-prefetch", "200", "--no-parse"]
            worker += ["--log-level", "WARNING"]
            schedules += ["--update-interval", "1", "--loop-interval", "1", "--log-level", "WARNING"]
        return [worker, schedules]
