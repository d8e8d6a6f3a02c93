"""Whether anything costs more when there is a hundred times as much."""

from __future__ import annotations

import statistics
import time

from tests.bench.block import Block
from tests.bench.cases.case import Case, Metrics
from tests.bench.peers.adapter import EVERY
from tests.bench.results import Variant
from tests.bench.roster import Peer
from tests.bench.scale import Scale

SMALL, BIG = "a hundredth", "very many"
_DAY = 86_400.0
#: How many calls are timed one by one.
_CALLS = 1_000
#: Workers, one after the other, whose rate is taken: there are few jobs for each where there are few at all.
_SLICES = 6


def _variants(peer: Peer, _scale: Scale) -> list[Variant]:
    return [Variant(extra=extra) for extra in (SMALL, BIG)] if peer.own and not peer.limit else []


def _size(scale: Scale, variant: Variant) -> int:
    return scale.growth if variant.extra == BIG else scale.growth // 100


def _board(_peer: Peer, scale: Scale, variant: Variant) -> int:
    return _size(scale, variant) + _CALLS + _SLICES * (scale.growth // 100 + _CALLS)


def _drain(block: Block, made: int) -> float:
    """Jobs per second: the median of some workers, before each of which what has run is made anew.

    Of each its first jobs count, as many as there are where there are few, but for the last of them.
    """
    few = block.scale.growth // 100
    counted = few * 9 // 10
    for _ in range(_SLICES if block.scale.is_timed else 1):
        gone = min(_work(block, made, counted), few + _CALLS)
        block.producer.ask("fill", job="hit", first=made, count=gone)
        made += gone
    runs = [starts[:counted] for pid, starts in block.board.by_process(0, made).items() if pid]
    return statistics.median((counted - 1) / (run[-1] - run[0]) for run in runs if len(run) == counted)


def _work(block: Block, made: int, least: int) -> int:
    """How many jobs a worker ran until it was killed."""
    before = block.board.ran(0, made)
    workers = block.work()
    block.wait(lambda: block.board.ran(0, made) - before >= least, 120, "too few jobs ran")
    for program in workers:
        program.kill()
    return block.board.ran(0, made) - before


def _growth(block: Block) -> Metrics:
    size, producer = _size(block.scale, block.variant), block.producer
    producer.ask("fill", job="hit", first=0, count=size)
    calls = min(_CALLS, block.scale.growth // 100)
    enqueue_seconds = producer.ask("enqueue", job="hit", first=size, count=calls)
    drain = _drain(block, size + calls)
    block.server.client.flushall()
    at = time.time() + _DAY
    producer.ask("plan", job="hit", first=0, count=size, at=at, spread=_DAY)
    step = max(1, size // (2 * calls) // EVERY) * EVERY
    numbers = list(range(0, size, step))[: 2 * calls]
    canceled, moved = numbers[::2], numbers[1::2]
    requests = block.server.requests()
    cancel_seconds = producer.ask("cancel", numbers=canceled)
    reschedule_seconds = producer.ask("reschedule", numbers=moved, at=at + 3 * _DAY)
    return {
        "jobs": size,
        "drain": drain,
        "enqueue": calls / enqueue_seconds,
        "cancel": len(canceled) / cancel_seconds,
        "reschedule": len(moved) / reschedule_seconds,
        "requests": (block.server.requests() - requests) / len(numbers),
    }


GROWTH = Case(
    "growth",
    "the same calls with a hundred times as many jobs, per second",
    _variants,
    _board,
    _growth,
    (
        ("jobs", "jobs there"),
        ("enqueue", "enqueue"),
        ("drain", "drain"),
        ("cancel", "cancel"),
        ("reschedule", "reschedule"),
        ("requests", "round trips per cancel and reschedule"),
    ),
)
