"""Whether anything costs more when there is a hundred times as much."""

from __future__ import annotations

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


def _variants(peer: Peer, _scale: Scale) -> list[Variant]:
    return [Variant(extra=extra) for extra in (SMALL, BIG)] if peer.own and not peer.limit else []


def _size(scale: Scale, variant: Variant) -> int:
    return scale.growth if variant.extra == BIG else scale.growth // 100


def _growth(block: Block) -> Metrics:
    size, producer = _size(block.scale, block.variant), block.producer
    counted = block.scale.growth // 100
    producer.ask("fill", job="hit", first=0, count=size)
    calls = min(_CALLS, counted)
    enqueue_seconds = producer.ask("enqueue", job="hit", first=size, count=calls)
    workers = block.work()
    block.wait(lambda: block.board.ran(0, size) >= counted, 120, "too few jobs ran")
    for program in workers:
        program.kill()
    starts = sorted(filter(None, block.board.starts(0, size)))[:counted]
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
        "drain": (len(starts) - 1) / (starts[-1] - starts[0]),
        "enqueue": calls / enqueue_seconds,
        "cancel": len(canceled) / cancel_seconds,
        "reschedule": len(moved) / reschedule_seconds,
        "requests": (block.server.requests() - requests) / len(numbers),
    }


GROWTH = Case(
    "growth",
    "the same calls with a hundred times as many jobs, per second",
    _variants,
    lambda _peer, scale, variant: _size(scale, variant) + _CALLS,
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
