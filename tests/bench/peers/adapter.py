"""What the bench asks of a peer. One file beside this one per peer; each runs in the peer's own environment.

Besides the peer's own packages only the standard library is there, and `tests.bench.board` and
`tests.bench.handlers`. A job is named by its handler: `hit`, `ahit`, `nap`, `anap`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.bench import handlers

#: What workers and producers are told in their environment.
URL, MODE, KIND = "REDJOBS_BENCH_URL", "REDJOBS_BENCH_MODE", "REDJOBS_BENCH_KIND"

#: The text of every job.
TEXT = handlers.TEXT

#: Of jobs that `schedule_many` has made, every tenth can be cancelled and rescheduled.
EVERY = 10

JOBS: dict[str, Callable[..., Any]] = {
    "hit": handlers.hit,
    "ahit": handlers.ahit,
    "nap": handlers.nap,
    "anap": handlers.anap,
}

Command = list[str]


class Adapter:
    """A producer of one peer, and the commands that start its workers.

    Where `is_async`, all that enqueue are coroutine functions.
    """

    is_async = False

    def __init__(self, url: str, mode: str) -> None:
        self.url = url
        #: Settings that its documents recommend for speed, or those it comes with.
        self.best = mode == "best"

    async def open(self) -> None:
        """Connect; called in the producer's event loop before anything is measured."""

    async def close(self) -> None:
        """Disconnect."""

    def enqueue(self, job: str, number: int) -> Any:
        """One job, now."""
        raise NotImplementedError

    def enqueue_many(self, job: str, numbers: Sequence[int]) -> Any:
        """Many jobs with the peer's own way to do that."""
        raise NotImplementedError

    def enqueue_elsewhere(self, job: str, number: int) -> Any:
        """One job, now, to another queue on the same server."""
        raise NotImplementedError

    def enqueue_at(self, job: str, number: int, moment: float) -> Any:
        """One job at a moment (seconds since the epoch)."""
        raise NotImplementedError

    def schedule_many(self, job: str, planned: Iterable[tuple[int, float]]) -> Any:
        """Many jobs at their moments with the peer's own way to do that."""
        raise NotImplementedError

    async def enqueue_soon(self, job: str, number: int) -> Any:
        """One job, while other coroutines do the same."""
        if not self.is_async:
            raise NotImplementedError
        await self.enqueue(job, number)

    def cancel(self, number: int) -> Any:
        """Forget a job that was enqueued by `schedule_many`."""
        raise NotImplementedError

    def reschedule(self, number: int, moment: float) -> Any:
        """Give a job that was enqueued by `schedule_many` another time."""
        raise NotImplementedError

    def worker(self, kind: str, processes: int) -> list[Command]:
        """What to start: so many processes that run jobs of this kind, sync or async."""
        raise NotImplementedError

    def worker_elsewhere(self) -> list[Command]:
        """What to start for the other queue: one process."""
        raise NotImplementedError


def told(name: str, default: str = "") -> str:
    """What the harness said in the environment."""
    return os.environ.get(name, default)


def address(url: str) -> tuple[str, int]:
    """Host and port of a `redis://HOST:PORT/0`."""
    host, _, port = url.removeprefix("redis://").split("/")[0].partition(":")
    return host, int(port)


def program(name: str) -> str:
    """A program of this environment."""
    return str(Path(sys.executable).parent / name)


def module(name: str, *arguments: object) -> Command:
    """The command that runs a module in this environment."""
    return [sys.executable, "-m", name, *map(str, arguments)]
