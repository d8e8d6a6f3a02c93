"""What redjobs should reach, and whether it did: ratios within one run wherever the machine matters."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.cases.cost import VALKEY
from tests.bench.cases.crash import CHILD, WORKER
from tests.bench.cases.delay import FULL_SCHEDULE
from tests.bench.cases.growth import BIG, SMALL
from tests.bench.results import Results, Variant

US, IDEAL, PLAIN = "redjobs", "ideal", "redis-py alone"
#: A server that uses this much of its one CPU is the limit itself.
_SERVER_FULL = 0.9


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


class Judge:
    """Asks the results; a question that they cannot answer makes its target unknown."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def ours(self, case: str, metric: str, variant: Variant) -> float:
        """A median of redjobs."""
        return self.of(US, case, metric, variant)

    def of(self, peer: str, case: str, metric: str, variant: Variant) -> float:
        """A median. Raises LookupError where it was not measured."""
        found = self._results.median(case, peer, metric, variant)
        if found is None:
            raise LookupError
        return found

    def best_peer(
        self, case: str, metric: str, fits: Callable[[Variant], bool], pick: Callable[..., float] = max
    ) -> tuple[float, str]:
        """The best median of all peers, in whichever of these variants it is best, and whose it is."""
        settings = self._results.settings
        found = {
            value: f"{peer} ({variant.mode})"
            for peer in self._results.peers(case)
            if peer != US and not settings[peer]["limit"]
            for variant in self._results.variants(case)
            if fits(variant) and (value := self._results.median(case, peer, metric, variant)) is not None
        }
        if not found:
            raise LookupError
        best = pick(found)
        return best, found[best]

    def paired(self, case: str, metric: str, other: str, variant: Variant) -> float:
        """The median ratio of redjobs to another, round by round: what disturbs a round disturbs both."""
        ours = self._results.values(case, US, metric, variant)
        theirs = self._results.values(case, other, metric, variant)
        if not ours or len(ours) != len(theirs):
            raise LookupError
        return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def judge(results: Results) -> list[Verdict]:
    """All targets."""
    asked, verdicts = Judge(results), []
    for text, question in _TARGETS:
        try:
            found, reached = question(asked)
        except LookupError:
            found, reached = "not measured", None
        verdicts.append(Verdict(text, found, reached))
    return verdicts


Answer = tuple[str, bool | None]
_SYNC, _ASYNC = Variant(), Variant(kind="async")


def _one(variant: Variant, kind: str) -> bool:
    return variant.kind == kind and variant.processes == 1 and not variant.aof and not variant.extra


def _plain(variant: Variant) -> bool:
    return not variant.extra


def _share_of_ideal(case: str, least: float) -> Callable[[Judge], Answer]:
    def answer(asked: Judge) -> Answer:
        share = asked.paired(case, "rate", IDEAL, _SYNC)
        return f"{share:.0%} of {asked.of(IDEAL, case, 'rate', _SYNC):,.0f}/s", share >= least

    return answer


def _times_best_peer(kind: str, least: float) -> Callable[[Judge], Answer]:
    def answer(asked: Judge) -> Answer:
        ours = asked.ours("drain", "rate", Variant(kind=kind))
        best = asked.ours("drain", "rate", Variant("best", kind))
        theirs, whose = asked.best_peer("drain", "rate", lambda variant: _one(variant, kind))
        found = f"{ours / theirs:.1f} times {whose}, {theirs:,.0f}/s; at its own best {best / theirs:.1f}"
        return found, ours / theirs >= least

    return answer


def _two_processes(kind: str) -> Callable[[Judge], Answer]:
    def answer(asked: Judge) -> Answer:
        two = Variant(kind=kind, processes=2)
        gain = asked.ours("drain", "rate", two) / asked.ours("drain", "rate", Variant(kind=kind))
        server, workers = asked.ours("drain", "server_cpu", two), asked.ours("drain", "worker_cpu", two)
        limit = server >= _SERVER_FULL
        note = f"; the server keeps {server:.2f} CPUs busy, the workers {workers:.2f}"
        return f"{gain:.2f} times one{note}", gain >= 1.7 or limit

    return answer


def _ahead_in_bulk(asked: Judge) -> Answer:
    ours = asked.ours("bulk", "rate", _SYNC)
    theirs, whose = asked.best_peer("bulk", "rate", _plain)
    return f"{ours:,.0f}/s, {whose} {theirs:,.0f}/s", ours > theirs


def _one_by_one(asked: Judge) -> Answer:
    share = asked.paired("enqueue", "rate", PLAIN, _SYNC)
    return f"{share:.0%} of {asked.of(PLAIN, 'enqueue', 'rate', _SYNC):,.0f}/s", share >= 0.9


def _together(asked: Judge) -> Answer:
    gain = asked.ours("concurrent", "gain", _SYNC)
    return f"{gain:.1f} times", gain >= 5


def _below_every_peer(metric: str) -> Callable[[Judge], Answer]:
    def answer(asked: Judge) -> Answer:
        ours = asked.ours("latency", metric, _SYNC)
        theirs, whose = asked.best_peer("latency", metric, _plain, min)
        return f"{ours:.2f} ms, {whose} {theirs:.2f} ms", ours < theirs

    return answer


def _late(asked: Judge) -> Answer:
    p50, p99 = (asked.ours("lateness", metric, _SYNC) for metric in ("p50_ms", "p99_ms"))
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms", p50 < 2 and p99 < 5


def _never_early(asked: Judge) -> Answer:
    earliest = asked.ours("lateness", "min_ms", _SYNC)
    return f"the earliest {earliest:+.2f} ms", earliest >= 0


def _late_with_many(asked: Judge) -> Answer:
    full = Variant(extra=FULL_SCHEDULE)
    p50 = asked.ours("lateness", "p50_ms", full)
    growth = p50 / asked.ours("lateness", "p50_ms", _SYNC)
    return f"p50 {p50:.1f} ms, {growth:.2f} times", growth <= 1.2


def _slow_calls(asked: Judge) -> Answer:
    slowest, jobs = (asked.ours("due", metric, _SYNC) for metric in ("slowest_ms", "jobs"))
    return f"slowest {slowest:.1f} ms with {jobs:,.0f} due", slowest <= 5


def _bytes_scheduled(asked: Judge) -> Answer:
    found = asked.ours("memory", "scheduled", Variant(extra=VALKEY))
    return f"{found:.0f} bytes", found <= 300


def _nothing_left(asked: Judge) -> Answer:
    keys, left = (asked.ours("memory", metric, _SYNC) for metric in ("keys", "left"))
    return f"{keys:.0f} keys in all, {left:.1f} bytes per job", keys <= 5 and left < 5


def _at_most(case: str, metric: str, most: float, unit: str) -> Callable[[Judge], Answer]:
    def answer(asked: Judge) -> Answer:
        found = asked.ours(case, metric, _SYNC)
        return f"{found:.3g} {unit}", found <= most

    return answer


def _growth(asked: Judge) -> Answer:
    ratios = {}
    for metric in ("enqueue", "drain"):
        values = [asked.ours("growth", metric, Variant(extra=extra)) for extra in (BIG, SMALL)]
        ratios[metric] = values[0] / values[1]
    jobs = asked.ours("growth", "jobs", Variant(extra=BIG))
    words = ", ".join(f"{name} {ratio:.0%}" for name, ratio in ratios.items())
    return f"with {jobs:,.0f} jobs: {words} of the rate", min(ratios.values()) >= 0.85


def _round_trips(asked: Judge) -> Answer:
    many = Variant(extra=BIG)
    found, jobs = (asked.ours("growth", metric, many) for metric in ("requests", "jobs"))
    return f"{found:.2f} with {jobs:,.0f} scheduled", found < 2


def _recovery(extra: str, most: float) -> Callable[[Judge], Answer]:
    def answer(asked: Judge) -> Answer:
        found = asked.ours("crash", "seconds", Variant(extra=extra))
        return f"{found:.2f} s", found <= most

    return answer


_TARGETS: tuple[tuple[str, Callable[[Judge], Answer]], ...] = (
    (
        "Drain, plain functions, one process, as it comes: half of the ideal loop",
        _share_of_ideal("drain", 0.5),
    ),
    ("… four times the quickest peer at its best settings", _times_best_peer("sync", 4)),
    ("Drain, coroutines: twice the quickest peer at its best settings", _times_best_peer("async", 2)),
    ("Two processes: 1.7 times one, or the server is the limit, plain functions", _two_processes("sync")),
    ("… coroutines", _two_processes("async")),
    ("Bulk enqueue: 60 % of the ideal", _share_of_ideal("bulk", 0.6)),
    ("… ahead of every peer", _ahead_in_bulk),
    ("Enqueue one by one: within 10 % of the script called through redis-py alone", _one_by_one),
    ("100 coroutines that enqueue: five times one", _together),
    ("Idle latency, p50: below every peer", _below_every_peer("p50_ms")),
    ("… p99", _below_every_peer("p99_ms")),
    ("Lateness: p50 below 2 ms, p99 below 5 ms", _late),
    ("… never early", _never_early),
    ("… the same with a full schedule, within 20 %", _late_with_many),
    ("No call of the server over 5 ms with very many due in the same second", _slow_calls),
    ("A scheduled job: at most 300 bytes on Valkey 9", _bytes_scheduled),
    ("A job that is over leaves nothing", _nothing_left),
    ("A worker process: below 35 MB", _at_most("idle", "rss_mb", 35, "MB")),
    ("… idle: below 0.5 % of a CPU", _at_most("idle", "cpu_percent", 0.5, "%")),
    ("… idle: at most 2.5 commands a second", _at_most("idle", "commands", 2.5, "commands/s")),
    ("A killed child's job runs again within a second", _recovery(CHILD, 1)),
    ("A killed worker's job runs again within 25 s", _recovery(WORKER, 25)),
    ("importing Queue: below 60 ms beyond redis", _at_most("startup", "import_ms", 60, "ms")),
    ("redjobs --help: below 200 ms", _at_most("startup", "help_ms", 200, "ms")),
    ("A hundred times as many jobs ready: enqueue and drain within 15 %", _growth),
    ("cancel and reschedule with very many scheduled: below two round trips", _round_trips),
)
