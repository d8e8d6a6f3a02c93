"""SAQ: https://saq-py.readthedocs.io"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tests.bench import handlers
from tests.bench.peers.adapter import MODE, TEXT, URL, Adapter, Command, program, told

_best = told(MODE) == "best"
queue: Any = import_module("saq").Queue.from_url(told(URL), name="bench")


def hit(_ctx: Any, *, number: int, text: str) -> None:
    handlers.hit(number, text)


async def ahit(_ctx: Any, *, number: int, text: str) -> None:
    await handlers.ahit(number, text)


def nap(_ctx: Any, *, number: int, text: str) -> None:
    handlers.nap(number, text)


async def anap(_ctx: Any, *, number: int, text: str) -> None:
    await handlers.anap(number, text)


#: What its command line reads.
settings: dict[str, Any] = {"queue": queue, "functions": [hit, ahit, nap, anap]}
if _best:
    settings["concurrency"] = 100

#: No result is kept.
_OPTIONS: dict[str, Any] = {"ttl": -1} if _best else {}


class Producer(Adapter):
    """Coroutines; JSON."""

    is_async = True

    async def open(self) -> None:
        await queue.connect()

    async def close(self) -> None:
        await queue.disconnect()

    async def enqueue(self, job: str, number: int) -> None:
        await queue.enqueue(job, number=number, text=TEXT, **_OPTIONS)

    async def enqueue_at(self, job: str, number: int, moment: float) -> None:
        # Its worker looks once a second for what is due; `timers` take whole seconds, so that is the least.
        await queue.enqueue(job, number=number, text=TEXT, scheduled=moment, **_OPTIONS)

    def worker(self, kind: str, processes: int) -> list[Command]:
        return [[program("saq"), "tests.bench.peers.saq.settings"]] * processes
