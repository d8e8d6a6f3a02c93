"""The sweep: one maintenance pass over a queue. Idempotent; any number may run at once."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, fields

from redjobs import commands
from redjobs.commands import BATCH, PROMPT_MS, Swept, Taken
from redjobs.flows import Flow
from redjobs.keys import Keys
from redjobs.shards import Shards

_LIMIT = 100
#: However much is due: after so many calls that promote, dead workers are looked for again.
_PROMOTIONS = 40


@dataclass(frozen=True, slots=True)
class SweepPolicy:
    """What is kept, and for how long."""

    dead_age_ms: int = 180 * 86_400_000
    dead_max: int = 10_000
    #: A retired worker is remembered this long: a frozen process may still take a job when it wakes.
    retired_ms: int = 3_600_000
    #: Where the server takes longer for a call nobody is retired. It must be less than what is always left of
    #: the lease of a worker that lives.
    prompt_ms: int = PROMPT_MS


@dataclass(slots=True)
class SweepResult:
    """What a pass did."""

    promoted: int = 0
    #: Workers whose lease had run out.
    retired: int = 0
    #: Those that were left, as the server answered too slowly to tell whether they live.
    late: int = 0
    #: Jobs that went back to the front of their queue, and those of them that had begun.
    recovered: int = 0
    crashed: int = 0
    trimmed: int = 0

    def add(self, other: SweepResult) -> None:
        """Count another queue's result in."""
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))

    def as_dict(self) -> dict[str, int]:
        """For `--json`."""
        return asdict(self)


def sweep_once(
    keys: Keys, policy: SweepPolicy = SweepPolicy(), result: SweepResult | None = None
) -> Flow[SweepResult]:
    """Recover what dead workers had, promote what is due, trim what is old.

    Every command is bounded; the pass ends when nothing is left to do. What it does is counted in `result`
    as it goes on, for those who leave it in the midst.
    """
    result = SweepResult() if result is None else result
    priorities: list[int] = []
    any_due = True
    while True:
        swept = yield from _look(keys, policy)
        result.retired += swept.expired
        result.late += swept.late
        # First what matters most: whatever is refused after it, or takes long, nobody's jobs wait for that.
        for at in range(0, len(swept.retired), _LIMIT):
            yield from _recover(keys, swept.retired[at : at + _LIMIT], policy, result)
        if any_due:
            any_due = yield from _promote(keys, priorities, result)
        for place, ids in ((keys.completed, swept.completed), (keys.dead, swept.dead)):
            if ids:
                result.trimmed += yield commands.delete(keys, place, ids)
        if not any_due and max(len(swept.completed), len(swept.dead), swept.expired) < _LIMIT:
            return result


def _look(keys: Keys, policy: SweepPolicy) -> Flow[Swept]:
    """What there is to do. Whose lease has run out is retired, if the server moves.

    Of a server that stood still for longer than a lease all leases have run out, and it may find a sweep
    before the heartbeats that wait there, or whose workers are about to try again. So it is asked first who
    is late; and again, with its own time, only where it answers promptly.
    """
    limits = {"dead_age_ms": policy.dead_age_ms, "dead_max": policy.dead_max, "limit": _LIMIT}
    limits["prompt_ms"] = policy.prompt_ms
    asked = time.monotonic()
    swept: Swept = yield commands.sweep(keys, **limits)
    if swept.late and time.monotonic() - asked < policy.prompt_ms / 1000:
        swept = yield commands.sweep(keys, **limits, asked_ms=swept.now_ms)
    return swept


def sweep_all(shards: Shards, policy: SweepPolicy) -> Flow[SweepResult]:
    """One pass over all parts of a queue."""
    total = SweepResult()
    for keys in shards.everywhere:
        total.add((yield from sweep_once(keys, policy)))
    return total


def _promote(keys: Keys, priorities: list[int], result: SweepResult) -> Flow[bool]:
    """Move what is due to ready, whether or not a worker is there to do so. Returns whether more is."""
    for _ in range(_PROMOTIONS):
        taken: Taken = yield commands.take(keys, "", 0, priorities)
        result.promoted += taken.promoted
        new = [priority for priority in taken.missing if priority not in priorities]
        priorities += new
        if taken.promoted < BATCH and not new:
            return False
    return True


def _recover(keys: Keys, workers: list[str], policy: SweepPolicy, result: SweepResult) -> Flow[None]:
    while workers:
        lists: list[list[str]] = yield commands.stranded(
            keys, workers, keep_ms=policy.retired_ms, limit=_LIMIT
        )
        more = []
        for worker, ids in zip(workers, lists, strict=True):
            before = result.recovered
            # Newest first: every round goes back before the one it follows, so the order holds.
            for command in commands.recover(keys, worker, ids[::-1]):
                recovered, crashed = yield command
                result.recovered += recovered
                result.crashed += crashed
            if len(ids) == _LIMIT and result.recovered > before:
                more.append(worker)
        workers = more
