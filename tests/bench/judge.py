"""What is asked of the results to find out whether a target is reached."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.results import Results, Variant

US, NEWER, IDEAL, PLAIN = "redjobs", "redjobs, newer Python", "ideal", "redis-py alone"

#: Who, and under which conditions.
Row = tuple[str, Variant]


@dataclass(frozen=True)
class Verdict:
    """One target."""

    text: str
    #: The figures.
    found: str
    #: None: it was not measured.
    reached: bool | None

    @property
    def word(self) -> str:
        """For tables."""
        return {True: "reached", False: "missed", None: "unknown"}[self.reached]


@dataclass(frozen=True)
class Best:
    """A peer where it is best."""

    value: float
    peer: str
    variant: Variant

    def __str__(self) -> str:
        return f"{self.peer} ({self.variant.mode})"


class Judge:
    """Asks the results; a question that they cannot answer makes its target unknown: LookupError."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def ours(self, case: str, metric: str, variant: Variant) -> float:
        """A median of redjobs."""
        return self.of(US, case, metric, variant)

    def of(self, peer: str, case: str, metric: str, variant: Variant) -> float:
        """A median."""
        found = self._results.median(case, peer, metric, variant)
        if found is None:
            raise LookupError
        return found

    def least(self, case: str, metric: str, variant: Variant) -> float:
        """The least of redjobs in any round."""
        found = self._results.values(case, US, metric, variant)
        if not found:
            raise LookupError
        return min(found)

    def best_peer(
        self,
        case: str,
        metric: str,
        fits: Callable[[Variant], bool],
        pick: Callable[..., Best] = max,
        among: Callable[[dict[str, str]], bool] = lambda settings: True,
    ) -> Best:
        """The best median of all peers with such settings, in whichever of these variants it is best."""
        settings = self._results.settings
        found = [
            Best(value, peer, variant)
            for peer in self._results.peers(case)
            if peer != US and not settings[peer]["limit"] and among(settings[peer])
            for variant in self._results.variants(case)
            if fits(variant) and (value := self._results.median(case, peer, metric, variant)) is not None
        ]
        if not found:
            raise LookupError
        return pick(found, key=lambda best: best.value)

    def paired(self, case: str, metric: str, one: Row, other: Row) -> tuple[float, int]:
        """The median of the ratios of two, and of how many rounds: what disturbs a round disturbs both."""
        ours, theirs = (self._results.values(case, peer, metric, variant) for peer, variant in (one, other))
        if not ours or len(ours) != len(theirs):
            raise LookupError
        return statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), len(ours)

    def newer(self, peer: str, case: str, metric: str, variant: Variant) -> float | None:
        """A median of redjobs on the Python of this peer; None where that is its own, or was not tried."""
        ours, newer, theirs = (self._python(name) for name in (US, NEWER, peer))
        if theirs == ours or theirs != newer:
            return None
        return self._results.median(case, NEWER, metric, variant)

    def _python(self, peer: str) -> list[str]:
        return self._results.versions.get(peer, {}).get("python", "").split(".")[:2]
