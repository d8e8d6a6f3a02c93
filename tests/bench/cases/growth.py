"""Whether anything costs more when there is a hundred times as much.

Two servers stand side by side, one with few jobs and one with very many, and are measured in turn,
in slices of a fraction of a second: what is compared stands close together. The ideal loop is, too:
a server that holds more than the machine's caches is slower whoever asks it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from tests.bench.block import Block
from tests.bench.cases.case import Case, Metrics
from tests.bench.peers.adapter import EVERY
from tests.bench.results import Variant
from tests.bench.roster import SYNC, Peer
from tests.bench.scale import Scale

_DAY = 86_400.0
#: Calls that are timed one by one, in so many slices.
_CALLS = 1_000
#: Workers, one after the other, whose rate is taken: there are few jobs for each where there are few at all.
_SLICES = 10


def _variants(peer: Peer, _scale: Scale) -> list[Variant]:
    return [Variant()] if peer.own and SYNC in peer.kinds else []


def _few(scale: Scale) -> int:
    return scale.growth // 100


def _board(_peer: Peer, scale: Scale, _variant: Variant) -> int:
    return scale.growth + _CALLS + (_SLICES + 1) * _few(scale)


class _Side:
    """A server with so many jobs that are ready, and what is measured there."""

    def __init__(self, block: Block, size: int) -> None:
        self._block = block
        self._few = _few(block.scale)
        self._made = 0
        self._fill(size)

    def _fill(self, count: int) -> None:
        self._block.producer.ask("fill", job="hit", first=self._made, count=count)
        self._made += count

    def enqueue(self) -> float:
        """Calls per second, one by one."""
        calls = min(_CALLS, self._few) // _SLICES
        seconds: float = self._block.producer.ask("enqueue", job="hit", first=self._made, count=calls)
        self._made += calls
        return calls / seconds

    def drain(self) -> float:
        """Jobs per second of a worker that is started for this, from its first job on."""
        board = self._block.board
        self._fill(self._few)
        first, began = board.last(self._made) + 1, time.time()
        count, least = min(2 * self._few, self._made - first), self._few * 9 // 10
        (worker,) = self._block.work()
        self._block.wait(lambda: board.ran(first, count) >= least, 120, "too few jobs ran")
        worker.end()
        run = sorted(at for at in board.starts(first, count) if at > began)[:least]
        return (least - 1) / (run[-1] - run[0])


def _in_turn(many: Callable[[], float], few: Callable[[], float], slices: int) -> tuple[float, float, float]:
    """Medians of the rates of both, and of their ratios."""
    rates = [(many(), few()) for _ in range(slices)]
    return (
        statistics.median(rate for rate, _ in rates),
        statistics.median(rate for _, rate in rates),
        statistics.median(one / other for one, other in rates),
    )


def _growth(block: Block) -> Metrics:
    size, slices = block.scale.growth, _SLICES if block.scale.is_timed else 1
    few, many = _Side(block.beside(), _few(block.scale)), _Side(block, size)
    enqueue, enqueue_few, enqueue_share = _in_turn(many.enqueue, few.enqueue, _SLICES)
    drain, drain_few, drain_share = _in_turn(many.drain, few.drain, slices)
    metrics = {
        "jobs": size,
        "enqueue": enqueue,
        "enqueue_few": enqueue_few,
        "enqueue_share": enqueue_share,
        "drain": drain,
        "drain_few": drain_few,
        "drain_share": drain_share,
    }
    return metrics if block.peer.limit else {**metrics, **_scheduled(block)}


def _scheduled(block: Block) -> Metrics:
    """The same number again, to be run tomorrow, and what it takes to cancel and to move some of them."""
    size, producer = block.scale.growth, block.producer
    calls = min(_CALLS, _few(block.scale))
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
        ("enqueue_few", "enqueue, a hundredth there"),
        ("enqueue", "all there"),
        ("enqueue_share", "times"),
        ("drain_few", "drain, a hundredth there"),
        ("drain", "all there"),
        ("drain_share", "times"),
        ("cancel", "cancel"),
        ("reschedule", "reschedule"),
        ("requests", "round trips per cancel and reschedule"),
    ),
)
