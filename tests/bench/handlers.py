"""The jobs: the same functions for redjobs and for every peer. Two small arguments each."""

from __future__ import annotations

import asyncio
import time

from tests.bench.board import from_environment

_board = from_environment()

#: The second argument of every job.
TEXT = "hello"


def hit(number: int, _text: str) -> None:
    """Counts itself, and nothing else."""
    assert _board is not None
    _board.hit(number)


async def ahit(number: int, text: str) -> None:
    """The same as a coroutine."""
    hit(number, text)


def nap(number: int, _text: str) -> None:
    """Counts itself and is busy for half a minute: the job whose worker is killed."""
    hit(number, _text)
    time.sleep(30)


async def anap(number: int, text: str) -> None:
    """The same as a coroutine."""
    hit(number, text)
    await asyncio.sleep(30)


#: By kind of the measurement.
HITS = {"sync": hit, "async": ahit}
NAPS = {"sync": nap, "async": anap}
