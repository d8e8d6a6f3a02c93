"""How fast a program enqueues: one process, alone or with coroutines or threads that do the same."""

from __future__ import annotations

import statistics

from tests.bench.block import Block
from tests.bench.cases.case import Case, Metrics, each_mode, each_mode_of_queues
from tests.bench.results import Variant
from tests.bench.roster import Peer
from tests.bench.scale import Scale

#: Jobs per second, roughly: of one by one, in bulk, and of a hundred coroutines.
_ONE_BY_ONE, _BULK, _TOGETHER = 8_000, 50_000, 20_000
_WIDTH = 100
_THREADS = 8
#: Of one by one: 0.5 s each where others have 2.5.
_SLICES = 5


def _one_by_one(block: Block) -> Metrics:
    count = block.scale.jobs(_ONE_BY_ONE, block.scale.seconds / _SLICES)
    block.producer.ask("enqueue", job=block.hit, first=0, count=min(count, 20))
    return {"rate": count / block.producer.ask("enqueue", job=block.hit, first=20, count=count)}


def _bulk(block: Block) -> Metrics:
    count = max(1_000, block.scale.jobs(_BULK) // 1_000 * 1_000)
    block.producer.ask("enqueue_many", job=block.hit, first=0, count=10)
    return {"rate": count / block.producer.ask("enqueue_many", job=block.hit, first=10, count=count)}


def _concurrent(block: Block) -> Metrics:
    alone, many = block.scale.jobs(_ONE_BY_ONE // 2), block.scale.jobs(_TOGETHER)
    block.producer.ask("together", job=block.hit, first=0, count=min(many, 200), width=_WIDTH)
    one = block.producer.ask("together", job=block.hit, first=200, count=alone, width=1)
    all_of_them = block.producer.ask("together", job=block.hit, first=200 + alone, count=many, width=_WIDTH)
    return {"alone": alone / one, "rate": many / all_of_them, "gain": many / all_of_them * one / alone}


def _threads(block: Block) -> Metrics:
    """In turns: the machine may change its speed between the two."""
    count, ask = block.scale.jobs(_ONE_BY_ONE, block.scale.seconds / _SLICES), block.producer.ask
    ask("threads", job=block.hit, first=0, count=min(count, 200), width=_THREADS)
    alone, together = [], []
    for _ in range(_SLICES):
        alone.append(count / ask("threads", job=block.hit, first=200, count=count, width=1))
        together.append(count / ask("threads", job=block.hit, first=200, count=count, width=_THREADS))
    gains = [many / one for one, many in zip(alone, together, strict=True)]
    return {
        "alone": statistics.median(alone),
        "rate": statistics.median(together),
        "gain": statistics.median(gains),
    }


def _thread_variants(peer: Peer, scale: Scale) -> list[Variant]:
    return [Variant()] if peer.own and not peer.limit else []


def _bulk_variants(peer: Peer, scale: Scale) -> list[Variant]:
    return each_mode(peer, scale) if peer.kinds else []


def _few(_peer: Peer, _scale: Scale, _variant: Variant) -> int:
    return 1_000  # nothing runs


ENQUEUE = Case(
    "enqueue",
    "enqueue one by one, jobs/s",
    each_mode,
    _few,
    _one_by_one,
    (("rate", "jobs/s"),),
    slices=_SLICES,
)
BULK = Case(
    "bulk",
    "enqueue by the thousand, jobs/s",
    _bulk_variants,
    _few,
    _bulk,
    (("rate", "jobs/s"),),
)
CONCURRENT = Case(
    "concurrent",
    "enqueue from 100 coroutines at once, each one by one, jobs/s",
    each_mode_of_queues,
    _few,
    _concurrent,
    (("rate", "100 at once"), ("alone", "one coroutine"), ("gain", "times")),
)
THREADS = Case(
    "threads",
    "enqueue from 8 threads that share a queue, each one by one, jobs/s",
    _thread_variants,
    _few,
    _threads,
    (("rate", "8 at once"), ("alone", "one thread"), ("gain", "times")),
)
