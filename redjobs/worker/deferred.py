"""What need not be done before the next round trip is under way: the server works meanwhile."""

from __future__ import annotations

from typing import Any

from redjobs.commands import Begun
from redjobs.current import CurrentJob
from redjobs.registry import Registry
from redjobs.worker import report
from redjobs.worker.bench import Bench
from redjobs.worker.lanes import Lanes
from redjobs.worker.settle import fire_outcomes
from redjobs.worker.work import Work, prepare


class Deferred:
    """Claims that are to be made into works, and works that are settled and to be told of.

    That is more of a short job's time than all else; done here, it takes none of the queue's.
    """

    def __init__(self, registry: Registry, bench: Bench, lanes: Lanes, max_crashes: int) -> None:
        self._registry = registry
        self._bench = bench
        self._lanes = lanes
        self._max_crashes = max_crashes
        self._begun: list[Begun] = []
        self._settled: list[Work] = []

    def begun(self, begun: Begun) -> None:
        """The jobs of this reply are to run."""
        if begun.hashes:
            self._begun.append(begun)

    def settled(self, works: list[Work]) -> None:
        """The log and the hooks are to hear of these."""
        self._settled += works

    @property
    def coming(self) -> int:
        """How many jobs are to run that the bench does not know yet."""
        return sum(len(begun.hashes) for begun in self._begun)

    def busy(self) -> bool:
        """Whether anything is begun and not over."""
        return bool(self._begun) or self._bench.active()

    def submit(self) -> None:
        """Let the bench run what was begun."""
        begun, self._begun = self._begun, []
        claims = [claim for each in begun for claim in each.claims]
        works = [prepare(claim, self._registry, self._max_crashes) for claim in claims]
        self._lanes.watch(works)
        if self._registry.hooks.has("claim"):
            for work in works:
                self._fire("claim", CurrentJob(work))
            self._bench.calls_hooks("")
        self._bench.submit(works)

    def do(self) -> bool:
        """Do all of it. Returns whether there was anything."""
        settled, self._settled = self._settled, []
        had_any = bool(self._begun or settled)
        if self._begun:
            self.submit()
        if settled:
            report.jobs(settled)
            fire_outcomes(self._registry.hooks, self._fire, settled)
            self._bench.calls_hooks("")
        return had_any

    def _fire(self, event: str, *facts: Any) -> None:
        self._bench.calls_hooks(event)
        self._registry.hooks.fire(event, *facts)
