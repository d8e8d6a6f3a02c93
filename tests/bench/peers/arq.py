"""arq: https://arq-docs.helpmanual.io"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from tests.bench import handlers
from tests.bench.peers.adapter import MODE, TEXT, URL, Adapter, Command, program, told

arq: Any = import_module("arq")
_settings: Any = import_module("arq.connections").RedisSettings.from_dsn(told(URL))


async def ahit(_ctx: Any, number: int, text: str) -> None:
    await handlers.ahit(number, text)


async def anap(_ctx: Any, number: int, text: str) -> None:
    await handlers.anap(number, text)


#: For `--custom-log-dict`: no line per job.
QUIET = {"version": 1, "disable_existing_loggers": False, "loggers": {"arq": {"level": "WARNING"}}}


class WorkerSettings:
    """What its command line reads."""

    functions = (ahit, anap)
    redis_settings = _settings
    if told(MODE) == "best":
        max_jobs = 100
        poll_delay = 0.01
        keep_result = 0


class Producer(Adapter):
    """Coroutines; pickled calls."""

    is_async = True

    async def open(self) -> None:
        self._pool = await arq.create_pool(_settings)

    async def close(self) -> None:
        await self._pool.aclose()

    async def enqueue(self, job: str, number: int) -> None:
        await self._pool.enqueue_job(job, number, TEXT)

    async def enqueue_at(self, job: str, number: int, moment: float) -> None:
        at = datetime.fromtimestamp(moment, UTC)
        await self._pool.enqueue_job(job, number, TEXT, _defer_until=at)

    def worker(self, kind: str, processes: int) -> list[Command]:
        command = [program("arq"), "tests.bench.peers.arq.WorkerSettings"]
        if self.best:
            command += ["--custom-log-dict", "tests.bench.peers.arq.QUIET"]
        return [command] * processes
