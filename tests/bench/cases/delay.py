"""How late jobs start: those enqueued now on an idle worker, and those that were scheduled."""

from __future__ import annotations

import time

from tests.bench.block import Block
from tests.bench.cases.case import Case, Metrics, each_mode_of_queues, kind_of, quantile, quantiles_ms
from tests.bench.results import Variant
from tests.bench.roster import Peer
from tests.bench.scale import Scale

_DAY = 86_400.0
FULL_SCHEDULE = "full schedule"


def _latency(block: Block) -> Metrics:
    count = block.scale.latency_jobs
    block.work()
    block.warm_up(0)
    time.sleep(0.5)
    return quantiles_ms(block.producer.ask("latency", job=block.hit, first=1, count=count))


def _late_variants(peer: Peer, scale: Scale) -> list[Variant]:
    if peer.limit:
        return []
    best = [Variant(mode, kind_of(peer)) for mode in peer.modes]
    full = Variant(peer.modes[0 if peer.own else -1], kind_of(peer), extra=FULL_SCHEDULE)
    return [*best, full]


def _late_jobs(peer: Peer, scale: Scale, variant: Variant) -> int:
    return scale.late_jobs + 10 + _waiting(peer, scale, variant)


def _waiting(peer: Peer, scale: Scale, variant: Variant) -> int:
    if variant.extra != FULL_SCHEDULE:
        return 0
    return scale.waiting if peer.own else scale.waiting_of_peers


def _lateness(block: Block) -> Metrics:
    scale, count = block.scale, block.scale.late_jobs
    waiting = _waiting(block.peer, scale, block.variant)
    if waiting:
        in_a_day = time.time() + _DAY
        block.producer.ask("plan", job=block.hit, first=count + 10, count=waiting, at=in_a_day, spread=_DAY)
    block.work()
    block.warm_up(count, limit=120)
    time.sleep(0.5)
    begin = time.time() + 1 + 2 * count / block.peer.schedules
    moments = [begin + scale.late_seconds * i / count for i in range(count)]
    block.producer.ask("schedule", job=block.hit, first=0, moments=moments)
    block.wait_for_all(0, count, limit=moments[-1] - time.time() + 60)
    block.ran_twice(0, count)
    starts = block.board.starts(0, count)
    late = [start - moment for start, moment in zip(starts, moments, strict=True)]
    return {**quantiles_ms(late), "waiting": waiting}


def _due_variants(peer: Peer, scale: Scale) -> list[Variant]:
    return [] if peer.limit else [Variant(peer.modes[0 if peer.own else -1], kind_of(peer))]


def _due_jobs(peer: Peer, scale: Scale, _variant: Variant) -> int:
    return 10 + (scale.burst if peer.own else scale.burst_of_peers)


def _due(block: Block) -> Metrics:
    count = _due_jobs(block.peer, block.scale, block.variant) - 10
    block.work()
    block.warm_up(count)
    moment = time.time() + 2 + 2 * count / block.peer.schedules
    block.producer.ask("plan", job=block.hit, first=0, count=count, at=moment, spread=1.0)
    enqueue_calls = block.server.slow_calls()
    block.server.client.slowlog_reset()
    if time.time() > moment:
        raise RuntimeError("scheduling took longer than was planned for")
    block.wait_for_all(0, count, limit=120 + count / block.peer.pace[block.variant.kind] * 4)
    block.ran_twice(0, count)
    starts, calls = block.board.starts(0, count), block.server.slow_calls()
    late = sorted(start - moment for start in starts)
    return {
        "first_ms": late[0] * 1000,
        "p50_ms": quantile(late, 0.5) * 1000,
        "last_ms": late[-1] * 1000,
        "slowest_ms": calls[0][0] if calls else 1.0,
        "slowest": calls[0][1] if calls else "",
        "slow_calls": sum(ms > 5 for ms, _ in calls),
        "slowest_enqueue_ms": enqueue_calls[0][0] if enqueue_calls else 1.0,
        "jobs": count,
    }


_SPREAD = (("p50_ms", "p50 ms"), ("p99_ms", "p99 ms"), ("max_ms", "max ms"), ("min_ms", "min ms"))

LATENCY = Case(
    "latency",
    "idle worker: from enqueue to the handler's first line, ms",
    each_mode_of_queues,
    lambda _peer, scale, _variant: scale.latency_jobs + 10,
    _latency,
    _SPREAD,
)
LATENESS = Case(
    "lateness",
    "scheduled jobs: how late they start, ms",
    _late_variants,
    _late_jobs,
    _lateness,
    (*_SPREAD, ("waiting", "jobs waiting meanwhile")),
)
DUE = Case(
    "due",
    "very many jobs due in the same second",
    _due_variants,
    _due_jobs,
    _due,
    (
        ("jobs", "jobs"),
        ("first_ms", "first one late, ms"),
        ("last_ms", "last one, ms"),
        ("slowest_ms", "slowest call of the server, ms"),
        ("slow_calls", "calls over 5 ms"),
        ("slowest_enqueue_ms", "slowest call while scheduling, ms"),
    ),
    once=True,
)
