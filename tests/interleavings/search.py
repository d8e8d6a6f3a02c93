"""Breadth first through all worlds that a scene can lead to: the first trace found is a shortest one."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from tests.interleavings.moves import Moves
from tests.interleavings.rules import Broken
from tests.interleavings.world import World

#: From where a world was reached, and by what.
_Origins = dict[World, tuple[World, str] | None]

#: The calls of so many worlds are made in one round trip.
_TOGETHER = 64


@dataclass
class Found:
    """What a search has seen."""

    worlds: int = 0
    moves: int = 0
    depth: int = 0
    seconds: float = 0.0
    #: What became of jobs, in some order of things or other.
    fates: set[str] = field(default_factory=set)
    #: What did not hold, and what led there.
    broken: str = ""
    trace: list[str] = field(default_factory=list)
    #: Where each world leads, once for each move; the first world first.
    leads: dict[World, list[World]] = field(default_factory=dict)

    @property
    def orders(self) -> int:
        """In how many orders moves can be made up to this depth."""
        ways, orders = Counter({next(iter(self.leads)): 1}), 0
        for _ in range(self.depth):
            further: Counter[World] = Counter()
            for world, count in ways.items():
                for after in self.leads.get(world, ()):
                    further[after] += count
            # Where nothing can happen any more an order has ended before.
            orders += sum(
                count for world, count in ways.items() if world in self.leads and not self.leads[world]
            )
            ways = further
        return orders + sum(ways.values())

    def __str__(self) -> str:
        if not self.broken:
            return f"{self.worlds} worlds, {self.moves} moves, depth {self.depth}, {self.seconds:.1f} s"
        steps = "\n".join(f"  {number:2}. {step}" for number, step in enumerate(self.trace, 1))
        return f"{self.broken}, after:\n{steps}"


def search(moves: Moves, depth: int) -> Found:
    """Every order of moves up to this depth, or up to the first that breaks something."""
    began = time.monotonic()
    start = moves.start()
    origins: _Origins = {start: None}
    edge, found = [start], Found()
    while edge and found.depth < depth and not found.broken:
        found.depth += 1
        edge = _advance(moves, edge, origins, found)
    found.worlds = len(origins)
    found.seconds = time.monotonic() - began
    return found


def _advance(moves: Moves, edge: list[World], origins: _Origins, found: Found) -> list[World]:
    """The worlds one move further that are new."""
    new: list[World] = []
    for first in range(0, len(edge), _TOGETHER):
        choices = [(world, move) for world in edge[first : first + _TOGETHER] for move in moves.of(world)]
        found.moves += len(choices)
        found.leads.update((world, []) for world in edge[first : first + _TOGETHER])
        moves.server.store.prefetch((world.data, move.call) for world, move in choices if move.call)
        for world, move in choices:
            try:
                after = move.go()
                if after not in origins:
                    moves.check(after)
            except Broken as broken:
                found.broken, found.trace = str(broken), [*_trace(origins, world), move.say]
                return []
            if after not in origins:
                found.fates.update(job.fate for job in after.jobs)
                origins[after] = (world, move.say)
                new.append(after)
            found.leads[world].append(after)
    return new


def _trace(origins: _Origins, world: World) -> list[str]:
    steps: list[str] = []
    while (origin := origins[world]) is not None:
        world, say = origin
        steps.append(say)
    return steps[::-1]
