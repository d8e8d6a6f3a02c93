"""How late jobs start: those enqueued now on an idle worker, and those that were scheduled."""

from __future__ import annotations

import statistics
import time

from tests.bench.block import Block
from tests.bench.cases.case import Case, Metrics, each_mode_of_queues, kind_of, quantile, quantiles_ms
from tests.bench.programs import usage
from tests.bench.results import Variant
from tests.bench.roster import Peer
from tests.bench.scale import Scale

_DAY = 86_400.0
FULL_SCHEDULE = "full schedule"
#: Jobs of another queue, before very many are due in the first one and at that time, and their distance;
#: they begin a moment after the first one is due, which is measured, too, and are over before the last.
_ELSEWHERE, _EVERY_SECONDS, _AFTER_SECONDS = 20, 0.04, 0.1
#: Jobs by themselves, each after such a pause: how late the first one usually is, when nobody is awake.
_LONE, _PAUSE_SECONDS = 5, 2.5
#: A fraction that no whole number of steps brings back: what queues round to milliseconds is then late by
#: all fractions of one alike, and not by the same one in a whole run.
_GOLDEN = 0.6180339887


def _latency(block: Block) -> Metrics:
    count = block.scale.latency_jobs
    block.work()
    block.warm_up(0)
    time.sleep(0.5)  # it is idle, then
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
    workers = block.work()
    block.warm_up(count, limit=120)
    time.sleep(0.5)  # it is idle, then
    begin = time.time() + 1 + 2 * count / block.peer.schedules
    step = scale.late_seconds / count
    moments = [begin + step * i + i * _GOLDEN % 1 / 1000 for i in range(count)]
    block.producer.ask("schedule", job=block.hit, first=0, moments=moments)
    block.wait_for_all(0, count, limit=moments[-1] - time.time() + 60)
    block.ran_twice(0, count)
    starts = block.board.starts(0, count)
    late = [start - moment for start, moment in zip(starts, moments, strict=True)]
    used = usage(workers)
    memory = {} if used is None else {"rss_total_mb": sum(used.rss_mb)}
    return {**quantiles_ms(late), "waiting": waiting, **memory}


def _due_variants(peer: Peer, scale: Scale) -> list[Variant]:
    return [] if peer.limit else [Variant(peer.modes[0 if peer.own else -1], kind_of(peer))]


def _burst(peer: Peer, scale: Scale) -> int:
    return scale.burst if peer.own else scale.burst_of_peers


def _due(block: Block) -> Metrics:
    count = _burst(block.peer, block.scale)
    block.work()
    block.warm_up(count)
    elsewhere = _Elsewhere(block, count + 1) if block.peer.own else None
    lone = _lone(block, count + 1 + 2 * _ELSEWHERE + 1) if block.peer.own else {}
    block.server.slow_calls()  # those from now on count
    moment = time.time() + 2 + 2 * count / block.peer.schedules
    block.producer.ask("plan", job=block.hit, first=0, count=count, at=moment, spread=1.0)
    enqueue_calls = block.server.slow_calls()
    if time.time() > moment:
        raise RuntimeError("scheduling took longer than was planned for")
    if elsewhere:
        time.sleep(max(0.0, moment + _AFTER_SECONDS - time.time()))
        elsewhere.enqueue("elsewhere")
    block.wait_for_all(0, count, limit=120 + count / block.peer.pace[block.variant.kind] * 4)
    block.ran_twice(0, count)
    starts, calls = block.board.starts(0, count), block.server.slow_calls()
    late = sorted(start - moment for start in starts)
    return {
        **(elsewhere.found() if elsewhere else {}),
        **lone,
        "first_ms": late[0] * 1000,
        "p50_ms": quantile(late, 0.5) * 1000,
        "last_ms": late[-1] * 1000,
        "slowest_ms": calls[0][0] if calls else 1.0,
        "slowest": calls[0][1] if calls else "",
        "slow_calls": sum(ms > 5 for ms, _ in calls),
        "slowest_enqueue_ms": enqueue_calls[0][0] if enqueue_calls else 1.0,
        "slowest_enqueue": enqueue_calls[0][1] if enqueue_calls else "",
        "slow_enqueues": sum(ms > 5 for ms, _ in enqueue_calls),
        "jobs": count,
    }


def _lone(block: Block, first: int) -> Metrics:
    """How late jobs are that are due one by one, after a pause in which there was nothing to do."""
    late, count, pause = [], _LONE, _PAUSE_SECONDS
    if not block.scale.is_timed:
        count, pause = 1, 0.1
    for number in range(first, first + count):
        moment = time.time() + pause
        block.producer.ask("schedule", job=block.hit, first=number, moments=[moment])
        block.wait_for_all(number, 1, limit=30)
        late.append((block.board.starts(number, 1)[0] - moment) * 1000)
    return {"lone_p50_ms": statistics.median(late), "lone_max_ms": max(late)}


class _Elsewhere:
    """Another queue on the same server, with a worker of its own: do its jobs start as usual?"""

    def __init__(self, block: Block, first: int) -> None:
        self._block = block
        self._next = first
        self._count = _ELSEWHERE if block.scale.is_timed else 3
        self._made: dict[str, tuple[int, list[float]]] = {}
        block.work_elsewhere()
        self._enqueue(1)
        block.wait(lambda: block.board.ran(first, 1) == 1, 30, "the other queue's worker runs no job")
        self.enqueue("usual")

    def enqueue(self, name: str) -> None:
        """Some jobs, for most of a second; they are found under this name."""
        self._made[name] = self._next, self._enqueue(self._count)

    def _enqueue(self, count: int) -> list[float]:
        first, self._next = self._next, self._next + count
        job, ask = self._block.hit, self._block.producer.ask
        moments: list[float] = ask("trickle", job=job, first=first, count=count, every=_EVERY_SECONDS)
        return moments

    def found(self) -> Metrics:
        """Median and maximum of how long they took to start, in milliseconds."""
        metrics: Metrics = {}
        for name, (first, moments) in self._made.items():
            self._block.wait_for_all(first, self._count, limit=30)
            starts = self._block.board.starts(first, self._count)
            took = [(start - moment) * 1000 for start, moment in zip(starts, moments, strict=True)]
            metrics |= {f"{name}_p50_ms": statistics.median(took), f"{name}_max_ms": max(took)}
        return metrics


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
    (*_SPREAD, ("waiting", "jobs waiting meanwhile"), ("rss_total_mb", "MB of the worker")),
)
DUE = Case(
    "due",
    "very many jobs due in the same second",
    _due_variants,
    lambda peer, scale, _variant: _burst(peer, scale) + 10 + 2 * _ELSEWHERE + _LONE,
    _due,
    (
        ("jobs", "jobs"),
        ("first_ms", "first one late, ms"),
        ("lone_p50_ms", "a lone one, p50 ms"),
        ("lone_max_ms", "max"),
        ("last_ms", "last one, ms"),
        ("slowest_ms", "slowest call of the server, ms"),
        ("slow_calls", "calls over 5 ms"),
        ("slowest_enqueue_ms", "slowest call while scheduling, ms"),
        ("slow_enqueues", "over 5 ms"),
        ("elsewhere_p50_ms", "another queue's jobs then, p50 ms"),
        ("elsewhere_max_ms", "max"),
        ("usual_p50_ms", "and before, p50 ms"),
        ("usual_max_ms", "max"),
    ),
)
