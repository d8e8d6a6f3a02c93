"""What redjobs should reach, and whether it did: ratios within one run wherever the machine matters."""

from __future__ import annotations

from collections.abc import Callable

from tests.bench.cases.cost import VALKEY
from tests.bench.cases.crash import CHILD, WORKER
from tests.bench.cases.delay import FULL_SCHEDULE
from tests.bench.judge import IDEAL, PLAIN, US, Judge, Verdict
from tests.bench.results import Results, Variant

#: A server that uses this much of its one CPU is the limit itself.
_SERVER_FULL = 0.9
#: What one call may take, and so for what another queue may have to wait.
_CALL_MS = 5.0


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
_SYNC, _FULL = Variant(), Variant(extra=FULL_SCHEDULE)


def _one(variant: Variant, kind: str) -> bool:
    return variant.kind == kind and variant.processes == 1 and not variant.aof and not variant.extra


def _plain(variant: Variant) -> bool:
    return not variant.extra


def _share_of_ideal(case: str, least: float) -> Callable[[Judge], Answer]:
    def answer(asked: Judge) -> Answer:
        share, _ = asked.paired(case, "rate", (US, _SYNC), (IDEAL, _SYNC))
        return f"{share:.0%} of {asked.of(IDEAL, case, 'rate', _SYNC):,.0f}/s", share >= least

    return answer


def _times_best_peer(kind: str, least: float) -> Callable[[Judge], Answer]:
    def answer(asked: Judge) -> Answer:
        ours = asked.ours("drain", "rate", Variant(kind=kind))
        best = asked.ours("drain", "rate", Variant("best", kind))
        quickest = asked.best_peer("drain", "rate", lambda variant: _one(variant, kind))
        theirs = quickest.value
        found = f"{ours / theirs:.1f} times {quickest}, {theirs:,.0f}/s; at its own best {best / theirs:.1f}"
        if newer := asked.newer(quickest.peer, "drain", "rate", Variant(kind=kind)):
            found += f"; on the same Python {newer / theirs:.2f}"
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
    best = asked.best_peer("bulk", "rate", _plain)
    return f"{ours:,.0f}/s, {best} {best.value:,.0f}/s", ours > best.value


def _one_by_one(asked: Judge) -> Answer:
    share, rounds = asked.paired("enqueue", "rate", (US, _SYNC), (PLAIN, _SYNC))
    theirs = asked.of(PLAIN, "enqueue", "rate", _SYNC)
    return f"{share:.0%} of {theirs:,.0f}/s, the median of {rounds} rounds", share >= 0.9


def _together(asked: Judge) -> Answer:
    gain = asked.ours("concurrent", "gain", _SYNC)
    return f"{gain:.1f} times", gain >= 5


def _threads(asked: Judge) -> Answer:
    gain = asked.ours("threads", "gain", _SYNC)
    return f"{gain:.2f} times", gain >= 1


def _all(_settings: dict[str, str]) -> bool:
    return True


def _in_redis(settings: dict[str, str]) -> bool:
    """Runs that are older do not say it: LookupError."""
    return settings["schedule"] == "Redis"


def _below_every_peer(
    case: str, metric: str, among: Callable[[dict[str, str]], bool] = _all
) -> Callable[[Judge], Answer]:
    def answer(asked: Judge) -> Answer:
        ours = asked.ours(case, metric, _SYNC)
        best = asked.best_peer(case, metric, _plain, min, among)
        return f"{ours:.2f} ms, {best} {best.value:.2f} ms", ours < best.value

    return answer


def _late(variant: Variant) -> Callable[[Judge], Answer]:
    def answer(asked: Judge) -> Answer:
        p50, p99 = (asked.ours("lateness", metric, variant) for metric in ("p50_ms", "p99_ms"))
        return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms", p50 < 2 and p99 < 5

    return answer


def _never_early(asked: Judge) -> Answer:
    earliest = min(asked.least("lateness", "min_ms", variant) for variant in (_SYNC, _FULL))
    return f"the earliest {earliest:+.2f} ms", earliest >= 0


def _late_with_many(asked: Judge) -> Answer:
    p50 = asked.ours("lateness", "p50_ms", _FULL)
    growth = p50 / asked.ours("lateness", "p50_ms", _SYNC)
    return f"p50 {p50:.1f} ms, {growth:.2f} times", growth <= 1.2


def _memory_with_many(asked: Judge) -> Answer:
    full, none = (asked.ours("lateness", "rss_total_mb", variant) for variant in (_FULL, _SYNC))
    waiting = asked.ours("lateness", "waiting", _FULL)
    return f"{full:.1f} MB with {waiting:,.0f} scheduled, {none:.1f} with none", full - none < 1


def _first_due(asked: Judge) -> Answer:
    first, jobs, usual, most = (
        asked.ours("due", metric, _SYNC) for metric in ("first_ms", "jobs", "lone_p50_ms", "lone_max_ms")
    )
    words = f"{first:.1f} ms with {jobs:,.0f} due; one by itself, after such a pause: {usual:.1f}"
    return f"{words}, at most {most:.1f} ms", first <= most


def _elsewhere(asked: Judge) -> Answer:
    then, before = (asked.ours("due", metric, _SYNC) for metric in ("elsewhere_p50_ms", "usual_p50_ms"))
    most = asked.ours("due", "elsewhere_max_ms", _SYNC)
    return f"p50 {then:.1f} ms, {before:.1f} before; at most {most:.1f}", then - before <= _CALL_MS


def _slow_calls(asked: Judge) -> Answer:
    due, made, jobs = (
        asked.ours("due", name, _SYNC) for name in ("slowest_ms", "slowest_enqueue_ms", "jobs")
    )
    found = f"slowest {due:.1f} ms with {jobs:,.0f} due, {made:.1f} ms while they are scheduled"
    return found, max(due, made) <= _CALL_MS


def _bytes_scheduled(asked: Judge) -> Answer:
    found = asked.ours("memory", "scheduled", Variant(extra=VALKEY))
    return f"{found:.0f} bytes", found <= 300


def _ready_less_than_scheduled(asked: Judge) -> Answer:
    found = [
        [asked.ours("memory", metric, variant) for metric in ("ready", "scheduled")]
        for variant in (_SYNC, Variant(extra=VALKEY))
    ]
    words = "; on Valkey ".join(f"{ready:.0f} of {scheduled:.0f} bytes" for ready, scheduled in found)
    return words, all(ready < scheduled for ready, scheduled in found)


def _nothing_left(asked: Judge) -> Answer:
    keys, left = (asked.ours("memory", metric, _SYNC) for metric in ("keys", "left"))
    return f"{keys:.0f} keys in all, {left:.1f} bytes per job", keys <= 5 and left < 5


def _at_most(case: str, metric: str, most: float, unit: str) -> Callable[[Judge], Answer]:
    def answer(asked: Judge) -> Answer:
        found = asked.ours(case, metric, _SYNC)
        return f"{found:.3g} {unit}", found <= most

    return answer


def _growth(asked: Judge) -> Answer:
    shares = {name: asked.ours("growth", f"{name}_share", _SYNC) for name in ("enqueue", "drain")}
    limit = {name: asked.of(IDEAL, "growth", f"{name}_share", _SYNC) for name in shares}
    words = ", ".join(f"{name} {share:.0%} ({limit[name]:.0%})" for name, share in shares.items())
    jobs = asked.ours("growth", "jobs", _SYNC)
    return f"with {jobs:,.0f} jobs: {words} of the rate; in brackets the ideal loop", (
        min(shares.values()) >= 0.85
    )


def _round_trips(asked: Judge) -> Answer:
    found, jobs = (asked.ours("growth", metric, _SYNC) for metric in ("requests", "jobs"))
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
    ("8 threads that share a queue: no slower than one", _threads),
    ("Idle latency, p50: below every peer", _below_every_peer("latency", "p50_ms")),
    ("… p99", _below_every_peer("latency", "p99_ms")),
    ("Lateness: p50 below 2 ms, p99 below 5 ms", _late(_SYNC)),
    (
        "… p50: below every peer that keeps its schedule in Redis, and runs nothing too early",
        _below_every_peer("lateness", "p50_ms", _in_redis),
    ),
    ("… p99", _below_every_peer("lateness", "p99_ms", _in_redis)),
    ("… never early, with a full schedule or without", _never_early),
    ("… with a full schedule p50 below 2 ms, p99 below 5 ms", _late(_FULL)),
    ("… and p50 within 20 % of that without", _late_with_many),
    ("… and the worker's memory within 1 MB", _memory_with_many),
    ("The first of very many due in the same second: late by no more than usual", _first_due),
    ("… jobs of another queue meanwhile: p50 at most 5 ms more than before", _elsewhere),
    ("… no call of the server over 5 ms", _slow_calls),
    ("A scheduled job: at most 300 bytes on Valkey 9", _bytes_scheduled),
    ("A ready job: less than a scheduled one", _ready_less_than_scheduled),
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
