"""Dramatiq: https://dramatiq.io"""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

from tests.bench.peers.adapter import JOBS, TEXT, URL, Adapter, Command, program, told

dramatiq: Any = import_module("dramatiq")

broker: Any = import_module("dramatiq.brokers.redis").RedisBroker(url=told(URL))
broker.add_middleware(import_module("dramatiq.middleware.asyncio").AsyncIO())
dramatiq.set_broker(broker)

ACTORS: dict[str, Any] = {
    name: dramatiq.actor(fn, actor_name=name, queue_name="bench") for name, fn in JOBS.items()
}


class Producer(Adapter):
    """Synchronous; messages of JSON."""

    def enqueue(self, job: str, number: int) -> None:
        ACTORS[job].send(number, TEXT)

    def enqueue_at(self, job: str, number: int, moment: float) -> None:
        delay_ms = max(0, round((moment - time.time()) * 1000))
        ACTORS[job].send_with_options(args=(number, TEXT), delay=delay_ms)

    def worker(self, kind: str, processes: int) -> list[Command]:
        command = [program("dramatiq"), "tests.bench.peers.dramatiq:broker", "--processes", str(processes)]
        if self.best:
            command = ["env", "dramatiq_queue_prefetch=200", *command]
        return [command]
