"""redjobs beside its peers, measured in one run.

scripts/bench                    everything; takes hours, and wants a quiet machine
scripts/bench --quick            about five minutes: few rounds; of peers the cases that matter most
scripts/bench --best             an hour: as much of everything; of peers, the cases that matter most
scripts/bench --smoke            seconds: does every case run, and are all jobs counted?
scripts/bench --only drain,latency,redjobs,ideal,rq
scripts/bench --page --json FILE     write docs/performance.md and its plots as well
scripts/bench --page --from FILE...  write them from earlier runs
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench import cases, page, roster, scale, tables
from tests.bench.cases.case import Case
from tests.bench.environments import ROOT
from tests.bench.results import Results, load
from tests.bench.roster import Peer
from tests.bench.runner import Run

#: Results go here unless `--json` says otherwise; git ignores it.
RESULTS = ROOT / "build" / "bench.json"


def main(arguments: Sequence[str] | None = None) -> int:
    told = _parser().parse_args(arguments)
    if told.list:
        _list()
        return 0
    if told.results:
        results = load(told.results)
        if told.json:
            results.save(told.json)
    else:
        results = _run(told)
    print(tables.report(results))
    if told.page:
        page.write(results, ROOT / "docs")
    return _failures(results) if told.smoke else 0


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, formatter_class=form)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="minutes instead of hours")
    size.add_argument("--best", action="store_true", help="an hour: of peers, mostly their best settings")
    size.add_argument("--smoke", action="store_true", help="seconds; only what is installed; no timing")
    parser.add_argument("--only", action="append", default=[], metavar="CASE,PEER", help="only these")
    parser.add_argument("--server", default="auto", metavar="NAME", help="redis, valkey or a path")
    parser.add_argument("--json", type=Path, metavar="FILE", help=f"default: {RESULTS.relative_to(ROOT)}")
    parser.add_argument("--page", action="store_true", help="write docs/performance.md")
    parser.add_argument(
        "--from", dest="results", nargs="+", type=Path, metavar="FILE", help="measure nothing: earlier runs"
    )
    parser.add_argument("--list", action="store_true", help="say which cases and peers there are")
    return parser


def _list() -> None:
    for case in cases.CASES:
        print(f"{case.name:16} {case.title}")
    print()
    for peer in roster.PEERS:
        packages = " ".join(peer.packages) or "in the environment of the bench"
        print(f"{peer.name:16} {packages}")


def _run(told: argparse.Namespace) -> Results:
    names = [name.strip() for word in told.only for name in word.split(",")]
    chosen_cases, chosen_peers = _choose(names)
    chosen = [each for each in (scale.SMOKE, scale.QUICK, scale.BEST) if getattr(told, each.name)]
    (size,) = chosen or [scale.FULL]
    return Run(
        size,
        chosen_cases or cases.CASES,
        chosen_peers or roster.PEERS,
        told.json or RESULTS,
        server=told.server,
        install=not told.smoke,
        thorough=bool(names),
    ).go()


def _choose(names: Sequence[str]) -> tuple[list[Case], list[Peer]]:
    unknown = set(names) - set(cases.BY_NAME) - set(roster.BY_NAME)
    if unknown:
        raise SystemExit(f"no case and no peer: {', '.join(sorted(unknown))}; --list has them all")
    return (
        [case for case in cases.CASES if case.name in names],
        [peer for peer in roster.PEERS if peer.name in names],
    )


def _failures(results: Results) -> int:
    """1 where something of our own, or a peer that is installed, could not be measured."""
    failed = [sample for sample in results.samples if sample.reason and not tables.is_excused(sample)]
    for sample in failed:
        print(f"failed: {sample.case}, {sample.peer}, {sample.variant}: {sample.reason}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    # Whoever ends us ends the servers and workers, too: their blocks are left.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
