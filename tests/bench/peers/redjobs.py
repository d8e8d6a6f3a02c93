"""redjobs itself: the queue's public methods, and the worker of the command line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from redjobs import AsyncQueue, Queue, call
from tests.bench.peers.adapter import EVERY, JOBS, TEXT, Adapter, Command, module


class Producer(Adapter):
    """`Queue`, and `AsyncQueue` where coroutines enqueue together."""

    def __init__(self, url: str, mode: str) -> None:
        super().__init__(url, mode)
        self._queue = Queue("bench", url=url)
        self._elsewhere = Queue("elsewhere", url=url)
        self._async_queue = AsyncQueue("bench", url=url)
        self._ids: dict[int, str] = {}

    async def close(self) -> None:
        self._queue.close()
        self._elsewhere.close()
        await self._async_queue.close()

    def enqueue(self, job: str, number: int) -> None:
        self._queue.enqueue(JOBS[job], number, TEXT)

    def enqueue_many(self, job: str, numbers: Sequence[int]) -> None:
        fn = JOBS[job]
        self._queue.enqueue_many(call(fn, number, TEXT) for number in numbers)

    def enqueue_elsewhere(self, job: str, number: int) -> None:
        self._elsewhere.enqueue(JOBS[job], number, TEXT)

    def enqueue_at(self, job: str, number: int, moment: float) -> None:
        self._queue.enqueue_at(moment, JOBS[job], number, TEXT)

    def schedule_many(self, job: str, planned: Iterable[tuple[int, float]]) -> None:
        pairs, fn = list(planned), JOBS[job]
        jobs = self._queue.enqueue_many(call(fn, number, TEXT).at(moment) for number, moment in pairs)
        for (number, _), made in zip(pairs, jobs, strict=True):
            if number % EVERY == 0:
                self._ids[number] = made.id

    async def enqueue_soon(self, job: str, number: int) -> None:
        await self._async_queue.enqueue(JOBS[job], number, TEXT)

    def cancel(self, number: int) -> None:
        assert self._queue.cancel(self._ids[number])

    def reschedule(self, number: int, moment: float) -> None:
        assert self._queue.reschedule(self._ids[number], at=moment)

    def worker(self, kind: str, processes: int) -> list[Command]:
        return [self._worker("bench", processes)]

    def worker_elsewhere(self) -> list[Command]:
        return [self._worker("elsewhere", 1)]

    def _worker(self, queue: str, processes: int) -> Command:
        return module(
            "redjobs.cli",
            *("worker", queue, "--url", self.url),
            *("--app", "tests.bench.handlers", "--processes", processes),
            *(("--log-level", "warning") if self.best else ()),
        )
