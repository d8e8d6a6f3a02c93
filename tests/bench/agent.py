"""A producer: a process in a peer's environment that enqueues and measures what it is told.

    python -m tests.bench.agent ADAPTER URL MODE PACKAGE...

A line of JSON in is a request, a line of JSON out its answer; all other output goes to stderr.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import random
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TextIO

from tests.bench.board import Board, from_environment
from tests.bench.peers.adapter import Adapter

#: How long one job may take from `enqueue` to its handler where each is waited for.
_MOST_SECONDS = 20.0
_BULK = 1_000


class Agent:
    """Answers requests; the name of a request is the name of a method."""

    def __init__(self, adapter: Adapter, board: Board, packages: Sequence[str]) -> None:
        self._adapter = adapter
        self._board = board
        self._packages = packages

    async def about(self) -> dict[str, Any]:
        """Versions of what is installed here."""
        found = {"python": ".".join(map(str, sys.version_info[:3]))}
        for package in self._packages:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                continue
        return found

    async def worker(self, kind: str, processes: int) -> list[list[str]]:
        """The commands that start workers."""
        return self._adapter.worker(kind, processes)

    async def enqueue(self, job: str, first: int, count: int) -> float:
        """Seconds to enqueue jobs one by one."""
        begin = time.perf_counter()
        await self._call_each(self._adapter.enqueue, [(job, n) for n in range(first, first + count)])
        return time.perf_counter() - begin

    async def enqueue_many(self, job: str, first: int, count: int) -> float:
        """Seconds to enqueue jobs by the thousand."""
        parts = [range(n, min(n + _BULK, first + count)) for n in range(first, first + count, _BULK)]
        begin = time.perf_counter()
        await self._call_each(self._adapter.enqueue_many, [(job, part) for part in parts])
        return time.perf_counter() - begin

    async def fill(self, job: str, first: int, count: int) -> float:
        """Seconds to enqueue jobs in the quickest way there is."""
        try:
            return await self.enqueue_many(job, first, count)
        except NotImplementedError:
            return await self.enqueue(job, first, count)

    async def together(self, job: str, first: int, count: int, width: int) -> float:
        """Seconds to enqueue jobs from `width` coroutines at once, each one by one."""
        numbers = iter(range(first, first + count))

        async def producer() -> None:
            for number in numbers:
                await self._adapter.enqueue_soon(job, number)

        begin = time.perf_counter()
        await asyncio.gather(*[producer() for _ in range(width)])
        return time.perf_counter() - begin

    async def threads(self, job: str, first: int, count: int, width: int) -> float:
        """Seconds to enqueue jobs from `width` threads at once, each one by one."""
        if self._adapter.is_async:
            raise NotImplementedError
        numbers, ready = iter(range(first, first + count)), threading.Barrier(width + 1)

        def producer() -> None:
            ready.wait()
            for number in numbers:
                self._adapter.enqueue(job, number)

        with ThreadPoolExecutor(width) as pool:
            producers = [pool.submit(producer) for _ in range(width)]
            ready.wait()
            begin = time.perf_counter()
            for each in producers:
                each.result()
            return time.perf_counter() - begin

    async def trickle(self, job: str, first: int, count: int, every: float) -> list[float]:
        """When each of these jobs was enqueued, to the other queue: one after the other, with pauses."""
        found = []
        for number in range(first, first + count):
            found.append(time.time())
            await self._call(self._adapter.enqueue_elsewhere, job, number)
            await asyncio.sleep(every)
        return found

    async def worker_elsewhere(self) -> list[list[str]]:
        """The commands that start a worker of the other queue."""
        return self._adapter.worker_elsewhere()

    async def schedule(self, job: str, first: int, moments: list[float]) -> float:
        """Seconds to schedule jobs one by one."""
        planned = [(job, first + i, moment) for i, moment in enumerate(moments)]
        begin = time.perf_counter()
        await self._call_each(self._adapter.enqueue_at, planned)
        return time.perf_counter() - begin

    async def plan(self, job: str, first: int, count: int, at: float, spread: float) -> float:
        """Schedule jobs between `at` and `at + spread` in the quickest way there is."""
        step = spread / count
        begin = time.perf_counter()
        for part in range(0, count, _BULK):
            some = range(part, min(part + _BULK, count))
            planned = [(first + n, at + n * step) for n in some]
            try:
                await self._call(self._adapter.schedule_many, job, planned)
            except NotImplementedError:
                await self._call_each(self._adapter.enqueue_at, [(job, *pair) for pair in planned])
        return time.perf_counter() - begin

    async def latency(self, job: str, first: int, count: int) -> list[float]:
        """Seconds from `enqueue` to the handler, a job at a time, with pauses between."""
        found = []
        for number in range(first, first + count):
            await asyncio.sleep(random.uniform(0.02, 0.06))
            began = time.time()
            await self._call(self._adapter.enqueue, job, number)
            while not self._board.runs(number):
                if time.time() - began > _MOST_SECONDS:
                    raise TimeoutError(f"job {number} has not started after {_MOST_SECONDS:g} s")
                await asyncio.sleep(0.0005)
            found.append(self._board.starts(number, 1)[0] - began)
        return found

    async def cancel(self, numbers: list[int]) -> float:
        """Seconds to cancel scheduled jobs one by one."""
        begin = time.perf_counter()
        await self._call_each(self._adapter.cancel, [(number,) for number in numbers])
        return time.perf_counter() - begin

    async def reschedule(self, numbers: list[int], at: float) -> float:
        """Seconds to reschedule scheduled jobs one by one."""
        begin = time.perf_counter()
        await self._call_each(self._adapter.reschedule, [(number, at) for number in numbers])
        return time.perf_counter() - begin

    async def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        result = function(*arguments)
        return await result if self._adapter.is_async else result

    async def _call_each(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> None:
        if self._adapter.is_async:
            awaited: Callable[..., Awaitable[Any]] = function
            for arguments in calls:
                await awaited(*arguments)
        else:
            for arguments in calls:
                function(*arguments)


async def serve(agent: Agent, adapter: Adapter, out: TextIO) -> None:
    """Answer requests until there are none any more."""
    loop = asyncio.get_running_loop()
    await adapter.open()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        told = json.loads(line)
        gc.collect()
        try:
            answer = {"answer": await getattr(agent, told.pop("do"))(**told)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
            if isinstance(error, NotImplementedError):
                answer["missing"] = True
        out.write(json.dumps(answer) + "\n")
        out.flush()
    await adapter.close()


def main(name: str, url: str, mode: str, packages: Sequence[str]) -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    board = from_environment()
    assert board is not None
    adapter: Adapter = import_module(f"tests.bench.peers.{name}").Producer(url, mode)
    factory = None
    if mode == "best" and adapter.is_async:
        with contextlib.suppress(ImportError):
            factory = import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(Agent(adapter, board, packages), adapter, out))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
