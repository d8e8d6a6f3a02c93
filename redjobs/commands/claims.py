"""Commands of a worker about the jobs that it takes and has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from redjobs.commands.command import BATCH, SCRIPTS, Arg, Command, by_priority, first_word, texts, word
from redjobs.jobs import Claim, number_in
from redjobs.keys import BELL, Keys


@dataclass(frozen=True, slots=True)
class Taken:
    """What `take` moved, and what it saw."""

    #: The worker was retired: it must begin anew under another name.
    lapsed: bool
    ids: list[str]
    #: Milliseconds to the next scheduled job; None: nothing is scheduled.
    next_ms: float | None
    #: Ready jobs that were left; a bell that lies between them counts as one.
    more: int
    #: Priorities that hold jobs and were not declared: call again with them.
    missing: list[int]
    promoted: int


def take(
    keys: Keys,
    worker: str,
    count: int,
    priorities: Sequence[int],
    limits: tuple[int | None, int | None] = (None, None),
    promote: int = BATCH,
) -> Command[Taken]:
    """Promote up to `promote` that are due, then move up to `count` ids to the worker's list.

    Of neither more than `BATCH` in one call: it would hold the server for too long.
    `priorities` are those other than 0 whose lists are looked at. Only jobs whose priority is
    within `limits`, lowest and highest inclusively, are taken; promoted are those of any priority.
    """

    def parse(reply: Any) -> Taken:
        answer, next_us, more, missing, ids, promoted = reply
        return Taken(
            lapsed=answer == b"lapsed",
            ids=texts(ids),
            next_ms=None if next_us < 0 else next_us / 1000,
            more=more,
            missing=[int(priority) for priority in missing],
            promoted=promoted,
        )

    names = (keys.processing(worker), keys.workers, keys.scheduled, keys.ready, keys.levels)
    lists = tuple(keys.list_of(priority) for priority in priorities)
    lowest, highest = ("" if limit is None else limit for limit in limits)
    args: tuple[Arg, ...] = (worker, min(count, BATCH), promote, BELL, lowest, highest, *priorities)
    return Command(SCRIPTS["take"], names + lists, args, parse)


@dataclass(slots=True)
class Begun:
    """What `begin` started, and what it did not."""

    lapsed: bool
    #: Ids that are this worker's claims now, and the fields of their hashes as they came.
    hashes: dict[str, list[bytes]]
    #: Ids without a hash, dropped.
    missing: list[str]
    #: Ids that are not in this worker's list: somebody recovered them.
    strange: list[str]
    #: To be begun alone; still in the list.
    wait: list[str]
    claim_of: Callable[[str, list[bytes]], Claim] = field(repr=False, compare=False)

    @property
    def claims(self) -> list[Claim]:
        """Made when they are asked for: that takes longer than all the rest of the reply."""
        return [self.claim_of(job_id, entry) for job_id, entry in self.hashes.items()]


def begin(keys: Keys, worker: str, token: str, ids: Sequence[str], solo: int = 0) -> Command[Begun]:
    """Start jobs that the worker has taken; those with `solo` crashes or more wait, unless it is 0."""

    def parse(reply: Any) -> Begun:
        answer, now_ms, entries = reply
        begun = Begun(answer == b"lapsed", {}, [], [], [], partial(_claim, keys.queue, worker, token, now_ms))
        others = {b"missing": begun.missing, b"strange": begun.strange, b"wait": begun.wait}
        for job_id, entry in zip(ids, entries, strict=False):
            if isinstance(entry, bytes):
                others[entry].append(job_id)
            else:
                begun.hashes[job_id] = entry
        return begun

    names = (keys.processing(worker), keys.workers, *map(keys.job, ids))
    return Command(SCRIPTS["begin"], names, (worker, token, solo, *ids), parse)


#: The fields of most jobs: begun for the first time, due at once, without options. They are read in half the
#: time, which is a tenth of all that a worker's Python does for a short job.
_USUAL = [b"name", b"enqueued_at", b"args", b"attempt"]


def _claim(queue: str, worker: str, token: str, now_ms: int, job_id: str, entry: list[bytes]) -> Claim:
    names, values = entry[::2], entry[1::2]
    if names == _USUAL and values[1].isdigit() and values[3].isdigit():
        at, name, attempt = int(values[1]), values[0].decode("utf-8", "replace"), int(values[3])
        return Claim(
            job_id, queue, worker, token, name, values[2], attempt, 0, at, at, now_ms, b"", b"", None, 1
        )
    # The later one of two wins: `begin` tells the new attempt behind the old one.
    raw = dict(zip(names, values, strict=True))
    get = raw.get
    try:
        enqueued_at = int(get(b"enqueued_at", now_ms))
        run_at = int(get(b"run_at", enqueued_at))
        attempt, crashes, fmt = int(get(b"attempt", 1)), int(get(b"crashes", 0)), int(get(b"format", 1))
    except ValueError:
        enqueued_at, run_at, attempt, crashes, fmt = _readable_numbers(raw, now_ms)
    key = get(b"key")
    return Claim(
        job_id,
        queue,
        worker,
        token,
        get(b"name", b"").decode("utf-8", "replace"),
        get(b"args", b""),
        attempt,
        crashes,
        enqueued_at,
        run_at,
        now_ms,
        get(b"options", b""),
        get(b"errors", b""),
        None if key is None else key.decode("utf-8", "replace"),
        fmt,
    )


def _readable_numbers(raw: dict[bytes, bytes], now_ms: int) -> tuple[int, int, int, int, int]:
    """What numbers there are among these. Nothing that somebody wrote into a hash may stop a worker."""
    enqueued_at = number_in(raw, b"enqueued_at", now_ms)
    run_at = number_in(raw, b"run_at", enqueued_at)
    attempt, crashes, fmt = (
        number_in(raw, name, default) for name, default in ((b"attempt", 1), (b"crashes", 0), (b"format", 1))
    )
    return enqueued_at, run_at, attempt, crashes, fmt


def claim_from_fields(job_id: str, queue: str, worker: str, raw: dict[bytes, bytes]) -> Claim:
    """The claim in the hash of a running job: for who settles it in place of a dead worker."""
    entry = [part for pair in raw.items() for part in pair]
    started_at = int(raw.get(b"started_at", 0))
    return _claim(queue, worker, raw[b"token"].decode(), started_at, job_id, entry)


@dataclass(slots=True)
class Finished:
    """A job that completed; the last three only where there is something to do beside forgetting it."""

    id: str
    key: str | None = None
    result_ttl_ms: int = 0
    result: bytes = b""


def complete(keys: Keys, worker: str, token: str, jobs: Sequence[Finished]) -> Command[list[str]]:
    """Jobs of one claim are done. The reply: ids that another claim has by now."""
    names = [keys.processing(worker), keys.completed, keys.stats]
    names += [keys.job(job.id) for job in jobs]
    args: list[Arg] = [token, len(jobs), *[job.id for job in jobs]]
    uniques = 0
    for position, job in enumerate(jobs, 1):
        if job.key or job.result_ttl_ms:
            if job.key:
                uniques += 1
                names.append(keys.unique(job.key))
            args += (position, uniques if job.key else 0, job.result_ttl_ms, job.result)
    return Command(SCRIPTS["complete"], tuple(names), tuple(args), texts)


def retry(
    keys: Keys,
    claim: Claim,
    delay_ms: int,
    errors: bytes = b"",
    *,
    refund: bool = False,
    ended: bool = True,
) -> Command[str]:
    """A job runs again later; with `refund` its attempt does not count. The reply: scheduled or lost.

    `ended`: its handler came to a good end, and the crashes before it are forgotten. The reply is discarded
    where it was cancelled while it ran, and ended before the worker had heard of that.
    """
    names = (
        keys.processing(claim.worker),
        keys.job(claim.id),
        keys.scheduled,
        keys.ready,
        keys.stats,
        keys.unique(claim.key or ""),
        keys.cancels,
    )
    args = (claim.id, claim.token, delay_ms, errors, int(refund), BELL, int(ended))
    return Command(SCRIPTS["retry"], names, args, first_word)


def bury(keys: Keys, claim: Claim, errors: bytes) -> Command[str]:
    """A job is given up. The reply: dead or lost; discarded as in `retry`."""
    names = (
        keys.processing(claim.worker),
        keys.job(claim.id),
        keys.dead,
        keys.unique(claim.key or ""),
        keys.stats,
        keys.cancels,
    )
    return Command(SCRIPTS["bury"], names, (claim.id, claim.token, errors), word)


def discard(keys: Keys, claim: Claim) -> Command[str]:
    """A job was cancelled while it ran. The reply: discarded or lost."""
    names = (
        keys.processing(claim.worker),
        keys.job(claim.id),
        keys.unique(claim.key or ""),
        keys.cancels,
        keys.stats,
    )
    return Command(SCRIPTS["discard"], names, (claim.id, claim.token), word)


def cancels(keys: Keys, running: Iterable[str]) -> Command[list[str]]:
    """Which of these ids are to be stopped."""
    return Command(SCRIPTS["cancels"], (keys.cancels,), (86_400_000, *running), texts)


def release(keys: Keys, worker: str, token: str, ids: Sequence[str]) -> list[Command[int]]:
    """Give ids back unrun, `token` '' for those not begun: one command per priority."""
    return [
        Command(
            SCRIPTS["release"],
            (
                keys.processing(worker),
                keys.list_of(priority),
                keys.ready,
                keys.levels,
                keys.stats,
                *map(keys.job, some),
            ),
            (token, priority, BELL, *some),
            int,
        )
        for priority, some in by_priority(ids)
    ]
