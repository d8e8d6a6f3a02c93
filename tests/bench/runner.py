"""Goes through cases, rounds and peers, and keeps what was found, whatever fails."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from redjobs.version import __version__
from tests.bench.block import Block
from tests.bench.cases.case import Case
from tests.bench.cases.cost import VALKEY
from tests.bench.environments import ROOT, CannotInstall, python_of
from tests.bench.producer import NotOffered
from tests.bench.results import Results, Sample, Variant
from tests.bench.roster import Peer
from tests.bench.scale import Scale
from tests.bench.server import binary_of


@dataclass
class Run:
    """One run over some cases and peers."""

    scale: Scale
    cases: Sequence[Case]
    peers: Sequence[Peer]
    #: Written after each case: a run may take hours, and end before its time.
    file: Path
    #: `auto`, `redis`, `valkey` or a path.
    server: str = "auto"
    #: Install peers that are not there yet.
    install: bool = True
    #: Peers take part in all cases, and not only in those that the scale has for them.
    thorough: bool = False
    results: Results = field(init=False)
    _unreachable: dict[str, str] = field(default_factory=dict)

    def go(self) -> Results:
        """Measure everything."""
        self._binary, self._valkey = binary_of(self.server), binary_of("valkey")
        self.results = Results(self._about())
        for peer in self.peers:
            self._introduce(peer)
        began = time.monotonic()
        if self.scale.all_at_once:
            todo = [
                (case, peer, variant)
                for case in self.cases
                for peer in self.peers
                for variant in self._variants(case, peer)
                if f"{peer.name} {variant.mode}" not in self._unreachable
            ]
            self._measure_together(todo, self.scale.all_at_once)
            self._save(began)
        else:
            for case in self.cases:
                self._measure_case(case)
                self._save(began)
        return self.results

    def _save(self, began: float) -> None:
        self.results.about["seconds"] = round(time.monotonic() - began)
        self.results.save(self.file)

    def _about(self) -> dict[str, Any]:
        return {
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "scale": self.scale.name,
            "rounds": {"redjobs and its limits": self.scale.own_rounds, "peers": self.scale.rounds},
            "redjobs": __version__,
            "commit": _commit(),
            "python": platform.python_version(),
            "machine": _machine(),
        }

    def _introduce(self, peer: Peer) -> None:
        self.results.settings[peer.name] = {
            "default": peer.default,
            "best": peer.best,
            "delivery": peer.delivery,
            "limit": "yes" if peer.limit or peer.control else "",
            "schedule": peer.schedule,
        }
        for mode in peer.modes:
            try:
                python_of(peer, mode, install=self.install)
            except CannotInstall as error:
                self._unreachable[f"{peer.name} {mode}"] = str(error)

    # Cases ---------------------------------------------------------------------------------

    def _measure_case(self, case: Case) -> None:
        rounds = max(self._rounds(case, peer) for peer in self.peers)
        for number in range(rounds):
            todo = [
                (case, peer, variant)
                for peer in self.peers
                if number < self._rounds(case, peer)
                for variant in self._variants(case, peer)
                if number == 0 or self.results.has(case.name, peer.name, variant)
            ]
            self._measure_together(todo, 16 if case.parallel else 1)

    def _measure_together(self, todo: list[tuple[Case, Peer, Variant]], width: int) -> None:
        if width == 1:  # in this thread, where a signal ends a measurement and all that it has started
            self.results.samples += [self._measure(*what) for what in todo]
            return
        with ThreadPoolExecutor(max_workers=width) as pool:
            self.results.samples += pool.map(lambda what: self._measure(*what), todo)

    def _rounds(self, case: Case, peer: Peer) -> int:
        if case.once:
            return 1
        return self.scale.own_rounds * case.slices if peer.own else self.scale.rounds

    def _variants(self, case: Case, peer: Peer) -> list[Variant]:
        mine = self.scale.peer_cases
        if mine and not peer.own and not self.thorough and case.name not in mine:
            return []
        found = case.variants(peer, self.scale)
        if self.scale.only_best and not self.thorough and not peer.own:
            as_it_comes = case.name in self.scale.as_they_come
            found = [v for v in found if v.mode == peer.modes[-1] or (as_it_comes and v.is_plain)]
        return found if self.scale.is_timed else [v for v in found if _is_for_smoke(case, v)]

    def _measure(self, case: Case, peer: Peer, variant: Variant) -> Sample:
        unreachable = self._unreachable.get(f"{peer.name} {variant.mode}")
        if unreachable:
            return self._sample(Sample(case.name, peer.name, variant, reason=unreachable))
        binary = self._valkey if variant.extra == VALKEY else self._binary
        jobs = case.jobs(peer, self.scale, variant)
        try:
            with Block(peer, variant, self.scale, binary, jobs, install=False) as block:
                self.results.about.setdefault("server", block.server.version)
                self.results.versions.setdefault(peer.name, block.versions)
                metrics = case.measure(block)
                return self._sample(Sample(case.name, peer.name, variant, metrics, pings=round(block.pings)))
        except NotOffered as error:
            reason = f"has no way to {error}"
            return self._sample(Sample(case.name, peer.name, variant, reason=reason))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            return self._sample(Sample(case.name, peer.name, variant, reason=reason))

    def _sample(self, sample: Sample) -> Sample:
        found = sample.reason or "  ".join(f"{k} {_short(v)}" for k, v in sample.metrics.items())
        print(f"{sample.case:10} {sample.peer:15} {sample.variant!s:40} {found}"[:240], file=sys.stderr)
        return sample


def _is_for_smoke(case: Case, variant: Variant) -> bool:
    """Each condition once, and not with each other; the best settings where they run jobs."""
    unusual = [variant.mode != "default", variant.kind != "sync", variant.processes > 1, variant.aof]
    return sum(unusual) <= 1 and (variant.mode == "default" or case.name == "drain")


def _short(value: Any) -> str:
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _machine() -> str:
    model = platform.processor() or platform.machine()
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        lines = [line for line in cpus.read_text().splitlines() if line.startswith("model name")]
        if lines:
            model = f"{len(lines)} x {lines[0].partition(':')[2].strip()}"
    return f"{model}, {platform.system()} {platform.release()}"
