"""What a run has shown: the rows of its table, and what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from redjobs.worker import WorkerOptions
from tests.chaos.campaign import Seen
from tests.chaos.checker import (
    Fault,
    Repeats,
    TotalQueue,
    early,
    excused_share,
    living,
    percentile,
    ran_after,
    recoveries,
    repeats,
    total_queue,
    two_of_one_key,
    wrong_attempts,
)
from tests.chaos.history import History
from tests.chaos.record import CORRUPT, Run

#: So many of each kind of problem are told.
_MOST = 10


@dataclass
class Verdict:
    """Valid where `problems` is empty."""

    queue: TotalQueue
    repeats: Repeats
    #: By kind of kill: how long the jobs that ran there waited for their next start, in seconds.
    recoveries: dict[str, list[float]]
    dead: int = 0
    quarantined: int = 0
    cancelled: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def is_valid(self) -> bool:
        """Whether everything that was promised held."""
        return not self.problems


def judge(seen: Seen) -> Verdict:
    """The verdict on a run."""
    history, runs = seen.history, seen.record.runs
    faults = [*history.faults, *_poisoned(runs, history.poison)]
    dead = {job: fields for each in seen.contents for job, fields in _dead(each).items()}
    cancelled = history.may_be_cancelled
    done = [run.job for run in runs if run.is_done]
    # Cancelled jobs and dead ones came out, too, and not by running.
    otherwise = (history.acknowledged & (cancelled | dead.keys())).difference(done)
    queue = total_queue(history.attempted, history.acknowledged, [*done, *otherwise])
    verdict = Verdict(
        queue,
        repeats(runs, faults, seen.sent),
        recoveries(runs, faults),
        dead=len(dead),
        quarantined=sum(b"Quarantined" in errors for errors in dead.values()),
        cancelled=len(history.cancelled),
    )
    alive = living(runs, history.faults)
    verdict.problems = [
        *_first("lost", map(str, queue.lost)),
        *_first("came from nowhere", map(str, queue.unexpected)),
        *_first("ran again for no reason", (_pair(pair) for pair in verdict.repeats.unexplained)),
        *_first("wrong attempts", wrong_attempts(runs, alive, verdict.repeats.anew)),
        *_first("too early", early(alive, history.not_before)),
        *_first("ran though cancelled", ran_after(alive, history.cancelled)),
        *_first("two of one key", two_of_one_key(runs, _keyed(history, cancelled | dead.keys()))),
        *_first("wrong arguments", (run.job for run in runs if run.how == CORRUPT)),
        *_first(
            "dead, and no poison",
            (f"{job}: {dead[job]!r:.200}" for job in _dead_of_others(runs, dead, history)),
        ),
        *_first("counters", _unbalanced(seen)),
        *_first("wishes of nobody", _wishes_of_nobody(seen)),
        *_first("left or said", seen.wrong),
        *_first("recovered late", _late(seen, verdict.recoveries)),
    ]
    return verdict


def _poisoned(runs: Iterable[Run], poison: set[str]) -> list[Fault]:
    """The deaths that jobs brought about themselves."""
    return [
        Fault("poisoned", run.started, run.started + 0.1, frozenset({run.pid}), kills=True)
        for run in runs
        if run.job in poison and run.ended is None
    ]


def _dead(contents: Any) -> dict[str, bytes]:
    ids = contents.scores.get("dead", {})
    return {job: contents.hashes.get(job, {}).get("errors", b"") for job in ids}


def _dead_of_others(runs: Iterable[Run], dead: Iterable[str], history: History) -> list[str]:
    """Jobs that are dead, are no poison, and were not themselves hit when they ran for the last time.

    To a sweep, a worker that is cut off for longer than its lease has crashed.
    """
    last = {run.job: run for run in sorted(runs, key=lambda run: run.started)}
    hit = {
        job for job in dead if job in last and any(_overlaps(fault, last[job]) for fault in history.faults)
    }
    return sorted(set(dead) - history.poison - hit)


def _overlaps(fault: Fault, run: Run) -> bool:
    in_time = run.started <= fault.until and (run.ended is None or fault.at <= run.ended)
    return in_time and fault.hits(run)


def _first(what: str, texts: Iterable[str]) -> list[str]:
    found = list(texts)
    more = [f"{what}: {len(found) - _MOST} more"] if len(found) > _MOST else []
    return [f"{what}: {text}" for text in found[:_MOST]] + more


def _pair(pair: tuple[Run, Run]) -> str:
    run, again = pair
    ended = "never ended" if run.ended is None else f"{run.how} at {run.ended:.3f}"
    return (
        f"{run.job} attempt {run.attempt} in process {run.pid} from {run.started:.3f}, {ended};"
        f" attempt {again.attempt} in process {again.pid} from {again.started:.3f}"
    )


def _unbalanced(seen: Seen) -> list[str]:
    """All that was ever enqueued is completed, dead or cancelled, once nothing lives any more."""
    wrong = []
    for queue, count in seen.counters.items():
        into = count.get("enqueued", 0) + count.get("requeued", 0)
        out = sum(count.get(name, 0) for name in ("completed", "dead", "cancelled"))
        if into != out:
            wrong.append(f"{queue}: {into} came in and {out} went out: {count}")
    return wrong


def _keyed(history: History, over: Collection[str]) -> dict[str, str]:
    """The unique keys of jobs that can have let go of them at their ends only."""
    return {job: key for job, key in history.keyed.items() if job not in over}


def _wishes_of_nobody(seen: Seen) -> list[str]:
    """Wishes to stop a job, which stay for a day where it ended by itself: only of those that were asked."""
    asked = seen.history.asked | seen.history.doubtful
    return [job for each in seen.contents for job in sorted(each.scores.get("cancels", {}).keys() - asked)]


def _swept_within(lease: float) -> float:
    """After the death of whoever nobody looks after: when its jobs are to run again, in seconds.

    The longest that its lease and one sweeper's interval (see `Upkeep`) may take, and a bit. With the default
    lease, or a longer one, it is what is promised, lease and sweep: 20 s. Of several sweepers one is earlier.
    """
    longest = lease + 1.2 * lease / 3 + 1.0
    return longest if lease < WorkerOptions().lease else min(longest, lease + lease / 3)


def _late(seen: Seen, seconds: dict[str, list[float]]) -> list[str]:
    """A child's jobs within a second; those of whom nobody looks after within lease and sweep, and a bit."""
    if not seen.settings.timed:
        return []
    wrong = []
    for kind, values in seconds.items():
        bound = 1.0 if kind == "child killed" else _swept_within(seen.settings.lease)
        if percentile(values, 0.99) > bound:
            wrong.append(
                f"{kind}: p99 is {percentile(values, 0.99):.2f} s and should be {bound:.2f} s at most"
            )
    return wrong


def figures(seen: Seen, verdict: Verdict) -> dict[str, Any]:
    """Everything for `--json`."""
    settings, record = seen.settings, seen.record
    return {
        "seed": settings.seed,
        "mix": settings.mix,
        "server": settings.server,
        "fsync": settings.fsync,
        "lease": settings.lease,
        "valid": verdict.is_valid,
        "seconds": round(seen.seconds, 1),
        "drain_seconds": round(seen.drain_seconds, 1),
        "acts": seen.acts,
        "rules_used": seen.used,
        "faults": dict(Counter(fault.kind for fault in seen.history.faults)),
        "jobs": {
            "attempted": verdict.queue.attempts,
            "acknowledged": len(seen.history.acknowledged),
            "executions": len(record.runs),
            "completed": len(record.done),
            "cancelled": verdict.cancelled,
            "dead": verdict.dead,
            "quarantined": verdict.quarantined,
            "unknown_and_run": verdict.queue.recovered.total(),
        },
        "lost": verdict.queue.lost.total(),
        "unexpected": verdict.queue.unexpected.total(),
        "duplicated": verdict.queue.duplicated.total(),
        "repeats": {
            "running": dict(verdict.repeats.running),
            "unsettled": dict(verdict.repeats.unsettled),
            "stopped": verdict.repeats.stopped,
            "sent_again": verdict.repeats.sent_again,
            "unexplained": len(verdict.repeats.unexplained),
        },
        "excused_everybody": {
            "repeats": verdict.repeats.of_everybody,
            "share_of_time": round(excused_share(seen.history.faults, seen.began, seen.seconds), 3),
        },
        "recovery_seconds": {
            kind: {
                "count": len(values),
                **{name: round(value, 3) for name, value in _shares(values).items()},
            }
            for kind, values in sorted(verdict.recoveries.items())
        },
        "errors": dict(seen.history.errors),
        "log": seen.log_lines,
        "problems": verdict.problems,
    }


def _shares(values: list[float]) -> dict[str, float]:
    return {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "max": max(values)}


def table(seen: Seen, verdict: Verdict) -> str:
    """The same for people."""
    told = figures(seen, verdict)
    jobs, again, excuse = told["jobs"], told["repeats"], told["excused_everybody"]
    lines = [
        f"mix {told['mix']}, seed {told['seed']}, {told['server']}, fsync {told['fsync']},"
        f" lease {told['lease']:g} s: {told['seconds']:g} s and {told['drain_seconds']:g} s to drain",
        "",
        f"  {'acts':<14}{_counts(told['acts'])}",
        f"  {'calls':<14}{_counts(told['rules_used'])}",
        f"  {'jobs':<14}{_counts(jobs)}",
        f"  {'lost':<14}{told['lost']}",
        f"  {'unexpected':<14}{told['unexpected']}",
        f"  {'ran again':<14}{verdict.repeats.total}, of these",
        f"    {'running':<12}{_counts(again['running'])}",
        f"    {'unsettled':<12}{_counts(again['unsettled'])}",
        f"    {'stopped':<12}{again['stopped']}",
        f"    {'sent again':<12}{again['sent_again']}: the job was over when its enqueue came once more",
        f"    {'unexplained':<12}{again['unexplained']}",
        f"  {'excused':<14}{excuse['repeats']} of these only by a fault that excuses everybody;"
        f" that was so for {excuse['share_of_time']:.0%} of the time",
        f"  {'recovery':<14}from the kill to the next start, in seconds",
    ]
    for kind, row in told["recovery_seconds"].items():
        shares = "  ".join(f"{name} {row[name]:.3f}" for name in ("p50", "p99", "max"))
        lines.append(f"    {kind:<20}{row['count']:>5}  {shares}")
    lines += [
        f"  {'callers saw':<14}{_counts(told['errors'])}",
        f"  {'logs said':<14}{_counts(told['log'])}",
        "",
        *(f"  ! {problem}" for problem in verdict.problems),
        "VALID" if verdict.is_valid else f"NOT VALID: {len(verdict.problems)} problems",
    ]
    return "\n".join(lines)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"
