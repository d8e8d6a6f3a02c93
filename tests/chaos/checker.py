"""The verdict: what was lost, what came from nowhere, what ran twice and why.

`total_queue` is Jepsen's checker of that name: multisets of what was attempted, what was
acknowledged and what came out. `repeats` asks of each execution that was not the job's first which
fault explains it; one that none explains is a fault of redjobs. Nothing here asks the server.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.record import AGAIN, STOPPED, Run

_NOTHING: Mapping[str, Sequence[float]] = {}
#: The kind of the fault that a supervisor was killed alone: its children live on for a while.
ORPHANED = "supervisor killed"
#: A request that passed the proxy has reached the server within so many seconds.
_TRANSIT_SECONDS = 0.1


@dataclass(frozen=True)
class TotalQueue:
    """Multisets, and whether the queue was one."""

    lost: Counter[Hashable]
    unexpected: Counter[Hashable]
    duplicated: Counter[Hashable]
    recovered: Counter[Hashable]
    attempts: int = 0
    acknowledged: int = 0
    ok: int = 0

    @property
    def is_valid(self) -> bool:
        """Nothing was lost, and nothing came out that was never put in."""
        return not self.lost and not self.unexpected


def total_queue(
    attempted: Iterable[Hashable], acknowledged: Iterable[Hashable], came_out: Iterable[Hashable]
) -> TotalQueue:
    """Compare what was put in with all that came out of a queue that was drained.

    Lost: acknowledged, and did not come out. Unexpected: came out, and nobody tried to put it in.
    Duplicated: came out more often than it was put in. Recovered: nobody was told that it was put
    in, and it came out.
    """
    attempts, acks, out = Counter(attempted), Counter(acknowledged), Counter(came_out)
    ok = out & attempts
    unexpected = Counter({each: count for each, count in out.items() if each not in attempts})
    return TotalQueue(
        lost=acks - out,
        unexpected=unexpected,
        duplicated=out - attempts - unexpected,
        recovered=ok - acks,
        attempts=attempts.total(),
        acknowledged=acks.total(),
        ok=ok.total(),
    )


@dataclass(frozen=True)
class Fault:
    """Something that was done to processes or the server, in monotonic seconds."""

    kind: str
    at: float
    until: float
    #: Whom it hit; None: everybody.
    pids: frozenset[int] | None = None
    #: Whether a job that had begun may run again for it.
    excuses: bool = True
    #: Whether those it hit are dead.
    kills: bool = False
    #: The supervisor above whom it hit.
    supervisor: int = 0

    @property
    def excuses_everybody(self) -> bool:
        """Whether any job may run again for it."""
        return self.excuses and self.pids is None

    def hits(self, run: Run) -> bool:
        """Whether this process was hit, and that is an excuse."""
        return self.excuses and (self.pids is None or run.pid in self.pids)

    def explains(self, run: Run, again: Run, slack: float) -> bool:
        """Whether `run`, which was begun before or during this, may be followed by `again`."""
        if self.makes_zombie(again):
            return True
        ended = again.started if run.ended is None else run.ended
        # The end of a job is settled a moment after it has ended.
        in_time = run.started <= self.until and self.at <= ended + slack and self.at <= again.started
        return in_time and self.hits(run)

    def makes_zombie(self, run: Run) -> bool:
        """Whether this run may have been begun before, by a worker that lost its lease meanwhile."""
        return not self.kills and self.hits(run) and self.at <= run.started <= self.until


@dataclass
class Repeats:
    """Executions that followed another one of the same job without a plan."""

    #: By the kind of the fault: the process died in the middle; or it had ended and not been settled.
    running: Counter[str] = field(default_factory=Counter)
    unsettled: Counter[str] = field(default_factory=Counter)
    #: Told to stop by their worker, and given back.
    stopped: int = 0
    #: Their enqueue was sent again, and the job was over when it arrived: the first runs of those made anew.
    anew: list[Run] = field(default_factory=list)
    #: Of those that faults explain: by no other fault than one that excuses everybody.
    of_everybody: int = 0
    unexplained: list[tuple[Run, Run]] = field(default_factory=list)

    def count(self, run: Run, again: Run, fault: Fault | None) -> None:
        """One more, and the fault that explains it."""
        if fault is None:
            self.unexplained.append((run, again))
            return
        self.of_everybody += fault.excuses_everybody
        (self.running if run.ended is None else self.unsettled)[fault.kind] += 1

    @property
    def sent_again(self) -> int:
        """How many there were of those."""
        return len(self.anew)

    @property
    def total(self) -> int:
        """All of them."""
        explained = self.running.total() + self.unsettled.total() + self.stopped + self.sent_again
        return explained + len(self.unexplained)


def repeats(
    runs: Iterable[Run],
    faults: Sequence[Fault],
    sent: Mapping[str, Sequence[float]] = _NOTHING,
    slack: float = 0.5,
) -> Repeats:
    """Why jobs ran more often than was planned.

    `sent` is when each job's enqueue was sent. `slack`: seconds from a job's end to its settlement.
    """
    found = Repeats()
    faults = sorted(faults, key=lambda fault: fault.excuses_everybody)
    for job, each in by_job(runs).items():
        sendings = [_arrivals(at, faults) for at in sent.get(job, ())[1:]]
        for run, again in pairwise(each):
            if _is_planned(run, again):
                continue
            if run.how == STOPPED:
                found.stopped += 1
                continue
            fault = next((fault for fault in faults if fault.explains(run, again, slack)), None)
            # What everybody is excused for is looked at last; and what begins to count anew is another job.
            if fault is None or fault.excuses_everybody or again.attempt < run.attempt:
                made_anew = _made_anew(run, again, sendings)
                if made_anew is not None:
                    sendings.remove(made_anew)
                    found.anew.append(again)
                    continue
            found.count(run, again, fault)
    return found


def excused_share(faults: Iterable[Fault], began: float, seconds: float) -> float:
    """Of this time, the share in which there was a fault that excuses everybody."""
    spans = sorted((fault.at, fault.until) for fault in faults if fault.excuses_everybody)
    at, covered = began, 0.0
    for since, until in spans:
        end = min(until, began + seconds)
        covered += max(0.0, end - max(since, at))
        at = max(at, end)
    return covered / seconds if seconds else 0.0


def _is_planned(run: Run, again: Run) -> bool:
    """Whether this is the next attempt of a job that has failed."""
    failed = run.how == AGAIN and run.ended is not None and run.ended <= again.started
    return failed and again.attempt > run.attempt


def _arrivals(sent_at: float, faults: Iterable[Fault]) -> tuple[float, float]:
    """When a request can have been carried out: at the latest when the server was itself again."""
    held = [fault.until for fault in faults if fault.pids is None and fault.at <= sent_at <= fault.until]
    return sent_at, max(held, default=sent_at) + _TRANSIT_SECONDS


def _made_anew(run: Run, again: Run, sendings: Iterable[tuple[float, float]]) -> tuple[float, float] | None:
    """The sending that may have come once the job was over and forgotten, and have made it again."""
    if run.ended is None or not run.is_done:
        return None
    return next((each for each in sendings if run.ended <= each[1] and each[0] <= again.started), None)


def by_job(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """The executions of each job, in their order."""
    found: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.started):
        found.setdefault(run.job, []).append(run)
    return found


def recoveries(runs: Iterable[Run], faults: Sequence[Fault]) -> dict[str, list[float]]:
    """By kind of fault: how long after a process died the jobs that ran there were started again.

    Of a process whose supervisor died: the jobs that it did not finish itself before it left.
    """
    orphaned = {pid: fault for fault in faults if fault.kind == ORPHANED for pid in fault.pids or ()}
    died = orphaned | {pid: fault for fault in faults if fault.kills for pid in fault.pids or ()}
    supervisors: dict[int, list[float]] = {}
    for other in faults:
        for pid in () if other.supervisor else other.pids or ():
            supervisors.setdefault(pid, []).append(other.at)
    seconds: dict[str, list[float]] = {}
    for each in by_job(runs).values():
        for run, again in pairwise(each):
            fault = died.get(run.pid)
            if fault is not None and _was_left(run, fault) and fault.at <= again.started:
                kind = fault.kind
                # The supervisor itself was hit before it can have cleared up.
                if any(fault.at <= at <= fault.at + 1.0 for at in supervisors.get(fault.supervisor, ())):
                    kind += ", supervisor too"
                seconds.setdefault(kind, []).append(again.started - fault.at)
    return seconds


def _was_left(run: Run, fault: Fault) -> bool:
    """Whether it ran when its process was hit, and that did not finish it."""
    if run.started > (fault.at if fault.kills else fault.until):
        return False
    stopped = run.how == STOPPED and run.ended is not None and run.ended >= fault.at
    return run.ended is None or (stopped and not fault.kills)


def living(runs: Iterable[Run], faults: Iterable[Fault]) -> list[Run]:
    """The runs that no worker has started which had lost its lease without knowing."""
    wide = [fault for fault in faults if not fault.kills]
    return [run for run in runs if not any(fault.makes_zombie(run) for fault in wide)]


def wrong_attempts(runs: Iterable[Run], alive: Iterable[Run], anew: Iterable[Run] = ()) -> list[str]:
    """Attempts count failures and nothing else: they never fall, and never run ahead.

    With the runs in `anew` a job begins that was made again when it was over.
    """
    wrong, counted, firsts = [], {id(run) for run in alive}, {id(run) for run in anew}
    for job, each in by_job(runs).items():
        failures, least = 0, 1
        for run in each:
            if id(run) in firsts:
                failures, least = 0, 1
            if id(run) in counted:
                if run.attempt > 1 + failures:
                    wrong.append(f"{job} was at attempt {run.attempt} after {failures} failures")
                if run.attempt < least:
                    wrong.append(f"{job} fell from attempt {least} to {run.attempt}")
                least = run.attempt
            failures += run.how == AGAIN
    return wrong


def early(runs: Iterable[Run], not_before: Mapping[str, Sequence[tuple[float, int]]]) -> list[str]:
    """Jobs that started before their time: `not_before` has what was said of them, and when."""
    wrong = []
    for run in runs:
        said = [moment for since, moment in not_before.get(run.job, ()) if since <= run.started]
        if said and run.started_ms < said[-1]:
            wrong.append(f"{run.job} started {said[-1] - run.started_ms} ms before its time")
    return wrong


def ran_after(runs: Iterable[Run], over: Mapping[str, float]) -> list[str]:
    """Jobs that started after they were said to be cancelled, by job and time."""
    return [
        f"{run.job} started {run.started - over[run.job]:.3f} s after it was cancelled"
        for run in runs
        if run.job in over and run.started > over[run.job]
    ]


def two_of_one_key(runs: Iterable[Run], keyed: Mapping[str, str]) -> list[str]:
    """Jobs of one unique key that lived at the same time: from a job's first start to its first end it lives.

    `keyed` has the keys of the jobs that nobody has cancelled and that are not dead: those have let go of it.
    """
    lives: dict[str, list[tuple[float, float, str]]] = {}
    for job, each in by_job(run for run in runs if run.job in keyed).items():
        ends = [run.ended for run in each if run.ended is not None and run.is_done]
        if ends:
            lives.setdefault(keyed[job], []).append((each[0].started, min(ends), job))
    return [
        f"{later} began {until - began:.3f} s before {first} had ended, which has the key {key!r} too"
        for key, spans in lives.items()
        for (_, until, first), (began, _, later) in pairwise(sorted(spans))
        if began < until
    ]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of the values lies; 0 where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
