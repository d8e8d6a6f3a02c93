"""What was found: samples, and their medians; read and written as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Variant:
    """Under which conditions a case is measured."""

    mode: str = "default"
    kind: str = "sync"
    processes: int = 1
    aof: bool = False
    #: What else is special, as `valkey` or `full schedule`.
    extra: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether only the kind of handler is said."""
        return (self.processes, self.aof, self.extra) == (1, False, "")

    def __str__(self) -> str:
        words = [self.mode, self.kind, f"{self.processes} processes" if self.processes > 1 else ""]
        words += ["AOF" if self.aof else "", self.extra]
        return ", ".join(filter(None, words))


@dataclass(frozen=True)
class Sample:
    """One measurement, or the reason why there is none."""

    case: str
    peer: str
    variant: Variant
    metrics: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    #: PINGs per second on a plain socket just before: how quick the machine was.
    pings: float = 0.0


@dataclass
class Results:
    """All samples of a run, and on what they were taken."""

    about: dict[str, Any]
    samples: list[Sample] = field(default_factory=list)
    #: Of each peer, the versions of what is installed.
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    #: Of each peer that takes part: its settings in words, default and best, and its delivery.
    settings: dict[str, dict[str, str]] = field(default_factory=dict)

    def values(self, case: str, peer: str, metric: str, variant: Variant) -> list[float]:
        """A metric of all rounds."""
        return [
            float(sample.metrics[metric])
            for sample in self.samples
            if (sample.case, sample.peer, sample.variant) == (case, peer, variant)
            and sample.metrics.get(metric) is not None
        ]

    def has(self, case: str, peer: str, variant: Variant) -> bool:
        """Whether it was measured at least once."""
        return any(
            (sample.case, sample.peer, sample.variant) == (case, peer, variant) and sample.metrics
            for sample in self.samples
        )

    def median(self, case: str, peer: str, metric: str, variant: Variant) -> float | None:
        """The median of a metric over the rounds; None where it was not reached."""
        values = self.values(case, peer, metric, variant)
        return statistics.median(values) if values else None

    def reasons(self, case: str, peer: str, variant: Variant) -> list[str]:
        """Why measurements failed."""
        return [
            sample.reason
            for sample in self.samples
            if (sample.case, sample.peer, sample.variant) == (case, peer, variant) and sample.reason
        ]

    def variants(self, case: str) -> list[Variant]:
        """Those that were measured, in the order in which they were."""
        return list(dict.fromkeys(sample.variant for sample in self.samples if sample.case == case))

    def peers(self, case: str) -> list[str]:
        """Those that took part, in the order of the table."""
        present = {sample.peer for sample in self.samples if sample.case == case}
        return [name for name in self.settings if name in present]

    def save(self, path: Path) -> None:
        """Write all of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def load(paths: Iterable[Path]) -> Results:
    """The results of one run, or of several: those of the same scale are rounds of one run.

    Of another scale, a later one replaces a case of an earlier one.
    """
    merged: Results | None = None
    for path in paths:
        told = json.loads(path.read_text())
        samples = [Sample(**{**each, "variant": Variant(**each["variant"])}) for each in told["samples"]]
        found = Results(told["about"], samples, told["versions"], told["settings"])
        if merged is None:
            merged = found
            continue
        again = found.about["scale"] == merged.about["scale"]
        anew = set() if again else {sample.case for sample in samples}
        merged.samples = [sample for sample in merged.samples if sample.case not in anew] + samples
        if again:
            merged.about |= _both(merged.about, found.about)
        merged.versions |= found.versions
        merged.settings |= found.settings
    assert merged is not None
    return merged


def _both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What is said of two runs as of one."""
    said = {name: " and ".join(dict.fromkeys((one[name], other[name]))) for name in ("date", "commit")}
    rounds = {who: count + other["rounds"].get(who, 0) for who, count in one["rounds"].items()}
    return said | {"seconds": one["seconds"] + other["seconds"], "rounds": rounds}
