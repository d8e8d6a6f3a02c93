"""What a case is."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.block import Block
from tests.bench.results import Variant
from tests.bench.roster import ASYNC, SYNC, Peer
from tests.bench.scale import Scale

Metrics = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One question that is put to all who can answer it."""

    name: str
    #: In words, for `--list` and the tables.
    title: str
    #: Under which conditions this peer is measured; nothing: it does not take part.
    variants: Callable[[Peer, Scale], list[Variant]]
    #: How many jobs the board must hold.
    jobs: Callable[[Peer, Scale, Variant], int]
    measure: Callable[[Block], Metrics]
    #: Metrics in the order of the table: key, heading, unit.
    columns: tuple[tuple[str, str], ...]
    #: Mostly waiting: all peers are measured at the same time.
    parallel: bool = False
    #: Rounds make no difference, or cost too much.
    once: bool = False
    #: So many times as many rounds of redjobs and its limits as other cases have, each so much shorter: what
    #: is compared then stands close together, and a machine that changes its speed changes that of both.
    slices: int = 1


def kind_of(peer: Peer) -> str:
    """The kind of handler where the kind does not matter."""
    return ASYNC if peer.kinds == (ASYNC,) else SYNC


def each_mode(peer: Peer, scale: Scale) -> list[Variant]:
    """Settings as they come, and best."""
    return [Variant(mode, kind_of(peer)) for mode in peer.modes]


def each_mode_of_queues(peer: Peer, scale: Scale) -> list[Variant]:
    """The same, where the limits of the design mean nothing."""
    return [] if peer.limit else each_mode(peer, scale)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def quantiles_ms(seconds: Sequence[float]) -> Metrics:
    """Distribution of durations in milliseconds."""
    return {
        "min_ms": min(seconds) * 1000,
        "p50_ms": statistics.median(seconds) * 1000,
        "p99_ms": quantile(seconds, 0.99) * 1000,
        "max_ms": max(seconds) * 1000,
        "jobs": len(seconds),
    }
