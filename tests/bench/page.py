"""docs/performance.md and its plots, from results: written by `scripts/bench --page`, never by hand.

What was tried, and what came of it, is written by hand in `log.md` beside this file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench import tables
from tests.bench.cases import BY_NAME
from tests.bench.cases.case import Case
from tests.bench.judge import US
from tests.bench.plots import Bar, bars
from tests.bench.results import Results, Variant
from tests.bench.targets import judge

_LOG = Path(__file__).with_name("log.md")


def write(results: Results, docs: Path) -> None:
    """Write the page, its plots beside it, and the results that they are made from."""
    plots = _plots(results)
    for name, svg in plots.items():
        (docs / name).write_text(svg)
    for old in set(docs.glob("performance-*.svg")) - {docs / name for name in plots}:
        old.unlink()
    (docs / "performance.md").write_text(page(results, list(plots)))
    results.save(docs / "performance.json")


def page(results: Results, plots: Sequence[str]) -> str:
    """The whole page."""
    cases = [BY_NAME[name] for name in dict.fromkeys(sample.case for sample in results.samples)]
    parts = [
        _head(results),
        *[f"![{name.removesuffix('.svg').replace('-', ' ')}]({name})" for name in plots],
        _targets(results),
        *[_case(results, case) for case in cases],
        _settings(results),
        _REPEAT,
        _LOG.read_text().strip(),
    ]
    return "\n\n".join(parts) + "\n"


def _head(results: Results) -> str:
    about = results.about
    rounds = ", ".join(f"{count} of {who}" for who, count in about["rounds"].items())
    return f"""\
# Performance

redjobs beside its peers: one run, the same machine, server and handlers. This page is written by
`scripts/bench --page`; [performance.json](performance.json) has every sample.

| | |
|---|---|
| machine | {about["machine"]} |
| server | {about.get("server", "unknown")} on loopback, fresh each time, no persistence unless said |
| Python | {about["python"]}; peers that need a newer one have theirs, see below |
| redjobs | {about["redjobs"]}, {about["commit"]} |
| date | {about["date"]}, {about.get("seconds", 0) / 60:.0f} minutes, scale `{about["scale"]}` |
| rounds | {rounds}; figures are medians |

**Read ratios, not absolutes.** Every case goes round by round over all peers, so that what disturbs the
machine disturbs all of them. The handler takes two small arguments and counts itself in shared memory: a
rate is of jobs that ran, all of them, and a run in which one did not is no result; what ran twice is told.
(A rate of enqueuing is of calls that returned: what they enqueue is not run.)
"default" is a peer as it comes, "best" has the settings that its documents recommend for speed; both stand
in [the settings](#settings). *ideal* is redjobs' own scripts on a raw socket in the leanest loop that can
be written: the limit of this design in one Python process. *bare list* is LPUSH, RPOPLPUSH and LREM without
any script: what a queue could reach that knows no ids, schedules, retries or fences. *redis-py alone* makes
an id, packs the arguments and calls redjobs' enqueue script with redis-py's `evalsha`: nothing else."""


# Tables -----------------------------------------------------------------------------------------


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, text: int) -> str:
    """Markdown; the first `text` columns are words, the others numbers."""
    rule = ["---"] * text + ["---:"] * (len(heads) - text)
    lines = [heads, rule, *[[cell.replace("|", "\\|") for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _targets(results: Results) -> str:
    rows = [[verdict.text, verdict.found, _bold(verdict.word)] for verdict in judge(results)]
    return "## Targets\n\n" + _table(["target", "found", ""], rows, text=3)


def _bold(word: str) -> str:
    return f"**{word}**" if word == "missed" else word


def _case(results: Results, case: Case) -> str:
    width = len(case.columns)
    rows: list[list[str]] = []
    missing: dict[tuple[str, str], list[str]] = {}
    for peer, variant, *cells in tables.rows(results, case):
        name = f"**{peer}**" if peer == US else peer
        if len(cells) == width:
            rows.append([name, variant, *cells])
        else:
            missing.setdefault((peer, cells[0]), []).append(variant)
    heads = ["", "", *[head for _, head in case.columns]]
    title = case.title[0].upper() + case.title[1:]
    parts = [f"## {title}", _table(heads, rows, text=2)]
    if missing:
        lines = [f"- {peer} ({'; '.join(variants)}): {why}" for (peer, why), variants in missing.items()]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _settings(results: Results) -> str:
    rows = [
        [peer, _versions(results.versions.get(peer, {})), told["default"], told["best"], *_promises(told)]
        for peer, told in results.settings.items()
    ]
    heads = ["", "versions", "default", "best", "a killed worker", "the schedule is in"]
    return "\n\n".join(["## Settings", _PROMISES, _table(heads, rows, text=6)])


def _promises(told: dict[str, str]) -> list[str]:
    return ["", ""] if told["limit"] else [told["delivery"], told.get("schedule", "")]


_PROMISES = """\
What a job costs depends on what is promised, so the last columns say it. Of blitzq, the mode that keeps the
jobs of a killed worker is measured, and not the one that loses them; celery and huey let go of a job before
it runs, as they come. A schedule in a worker's memory is not compared with those in Redis: a timer is all
that it needs, but the worker has fetched these jobs before they are due, and keeps them to itself."""


def _versions(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


_REPEAT = """\
## How to repeat it

    scripts/bench                        everything: hours, on a quiet machine
    scripts/bench --best                 an hour; of peers the cases that matter most, mostly at their best
    scripts/bench --quick                minutes
    scripts/bench --only drain,redjobs,ideal,rq
    scripts/bench --page                 writes this page as well

Peers are installed once, each into an environment of its own under
`${XDG_CACHE_HOME:-~/.cache}/redjobs-bench`, at the versions in `tests/bench/roster.py`. A peer is one small
file in `tests/bench/peers/`: corrections are welcome."""


# Plots ------------------------------------------------------------------------------------------


def _plots(results: Results) -> dict[str, str]:
    def drains(kind: str) -> Callable[[Variant], bool]:
        return lambda variant: (variant.kind, variant.processes, variant.aof) == (kind, 1, False)

    wanted = {
        "performance-drain-sync.svg": ("drain", "rate", "Plain functions that do nothing", drains("sync")),
        "performance-drain-async.svg": ("drain", "rate", "Coroutines that do nothing", drains("async")),
        "performance-bulk.svg": ("bulk", "rate", "Enqueue by the thousand", _any),
        "performance-latency.svg": ("latency", "p50_ms", "Idle worker: enqueue to handler, p50", _any),
        "performance-lateness.svg": ("lateness", "p50_ms", "Scheduled jobs: late by, p50", _no_extra),
        "performance-memory.svg": ("memory", "scheduled", "A scheduled job", _no_extra),
    }
    units = {"rate": "jobs per second, more is better", "p50_ms": "ms, less is better"}
    found = {}
    for name, (case, metric, title, fits) in wanted.items():
        rows = _bars(results, case, metric, fits)
        rows.sort(key=lambda bar: bar.value, reverse=metric == "rate")
        if len(rows) > 1:
            unit = units.get(metric, "bytes in the server, less is better")
            found[name] = bars(title, rows, f"{unit}; one worker process")
    return found


def _any(_variant: Variant) -> bool:
    return True


def _no_extra(variant: Variant) -> bool:
    return not variant.extra


def _bars(results: Results, case: str, metric: str, fits: Callable[[Variant], bool]) -> list[Bar]:
    rows = []
    for peer in results.peers(case):
        limit, ours = bool(results.settings[peer]["limit"]), peer.startswith(US)
        if peer == "bare list":
            continue  # it would make all others look alike
        for variant in filter(fits, results.variants(case)):
            value = results.median(case, peer, metric, variant)
            if value is not None:
                label = peer if limit else f"{peer}, {variant.mode}"
                rows.append(Bar(label, value, "ours" if ours else "limit" if limit else "peer"))
    return rows
