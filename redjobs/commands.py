"""Every operation on a queue as a value: which script, keys and arguments, and how to read the reply.

Pure: no client is imported here. `Queue` runs a command, `AsyncQueue` awaits it, the worker
sends several in one round trip. The functions have the names of the Lua files, whose headers
say what each does and costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from redjobs.ids import priority_of
from redjobs.job import Claim, Job, NewJob, State, job_from_fields, pack_options
from redjobs.keys import BELL, Keys
from redjobs.lua import Script, load

T = TypeVar("T")
Arg = bytes | str | int

#: One call moves at most this many jobs, so that no call holds the server for long.
BATCH = 500
#: `enqueue` stores at most this many per call.
ENQUEUE_BATCH = 1_000

SCRIPTS = {
    name: load(name)
    for name in (
        "begin",
        "bury",
        "cancel",
        "cancels",
        "complete",
        "delete",
        "discard",
        "enqueue",
        "heartbeat",
        "holder",
        "peek",
        "recover",
        "release",
        "requeue",
        "reschedule",
        "retire",
        "retry",
        "stranded",
        "sweep",
        "take",
    )
}


@dataclass(frozen=True, slots=True)
class Command(Generic[T]):
    """One script call: what to send, and how to read the reply."""

    script: Script
    keys: tuple[str, ...]
    args: tuple[Arg, ...]
    parse: Callable[[Any], T]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A new job was not stored: this one holds its unique key."""

    holder: str


def enqueue(keys: Keys, jobs: Sequence[NewJob], stale: str = "") -> Command[list[Job | Duplicate]]:
    """Store up to `ENQUEUE_BATCH` jobs; `stale` is a holder of a unique key that is known to be gone."""
    names = [keys.scheduled, keys.ready, keys.levels, keys.stats]
    args: list[Arg] = [BELL, stale]
    for job in jobs:
        priority = job.options.priority or 0
        names.append(keys.job(job.id))
        if job.options.key:
            names.append(keys.unique(job.options.key))
        if priority:
            names.append(keys.list_of(priority))
        args += (
            job.id,
            job.run_at,
            priority,
            job.options.key or "",
            job.name,
            job.payload,
            pack_options(job.options),
        )

    def parse(reply: Any) -> list[Job | Duplicate]:
        now_ms, words, holders = reply
        held = {holders[i] - 1: holders[i + 1].decode() for i in range(0, len(holders), 2)}
        return [
            Duplicate(held[i]) if i in held else _enqueued(keys.queue, job, words[i], now_ms)
            for i, job in enumerate(jobs)
        ]

    return Command(SCRIPTS["enqueue"], tuple(names), tuple(args), parse)


def _enqueued(queue: str, job: NewJob, word: bytes, now_ms: int) -> Job:
    run_at_ms = now_ms
    if job.run_at:
        wanted = int(job.run_at)
        run_at_ms = max(now_ms, now_ms + wanted if job.run_at[0] == "+" else wanted)
    scheduled = word == b"scheduled" or (word == b"exists" and run_at_ms > now_ms)
    return Job(
        id=job.id,
        queue=queue,
        name=job.name,
        state=State.SCHEDULED if scheduled else State.READY,
        enqueued_at_ms=now_ms,
        run_at_ms=run_at_ms,
        options=job.options,
        payload=job.payload,
    )


@dataclass(frozen=True, slots=True)
class Taken:
    """What `take` moved, and what it saw."""

    #: The worker was retired: it must begin anew under another name.
    lapsed: bool
    ids: list[str]
    #: Milliseconds to the next scheduled job; None: nothing is scheduled.
    next_ms: int | None
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
) -> Command[Taken]:
    """Promote what is due, then move up to `count` ids, at most `BATCH`, to the worker's list.

    `priorities` are those other than 0 whose lists are looked at. Only jobs whose priority is
    within `limits`, lowest and highest inclusively, are taken; all that are due are promoted.
    """

    def parse(reply: Any) -> Taken:
        word, next_ms, more, missing, ids, promoted = reply
        return Taken(
            lapsed=word == b"lapsed",
            ids=_texts(ids),
            next_ms=None if next_ms < 0 else next_ms,
            more=more,
            missing=[int(priority) for priority in missing],
            promoted=promoted,
        )

    names = (keys.processing(worker), keys.workers, keys.scheduled, keys.ready, keys.levels)
    lists = tuple(keys.list_of(priority) for priority in priorities)
    lowest, highest = ("" if limit is None else limit for limit in limits)
    args: tuple[Arg, ...] = (worker, min(count, BATCH), BATCH, BELL, lowest, highest, *priorities)
    return Command(SCRIPTS["take"], names + lists, args, parse)


@dataclass(frozen=True, slots=True)
class Begun:
    """What `begin` started, and what it did not."""

    lapsed: bool
    claims: list[Claim]
    #: Ids without a hash, dropped.
    missing: list[str]
    #: Ids that are not in this worker's list: somebody recovered them.
    strange: list[str]
    #: Suspects of a crash, to be begun alone; still in the list.
    wait: list[str]


def begin(keys: Keys, worker: str, token: str, ids: Sequence[str]) -> Command[Begun]:
    """Start jobs that the worker has taken."""

    def parse(reply: Any) -> Begun:
        word, now_ms, entries = reply
        begun = Begun(word == b"lapsed", [], [], [], [])
        others = {b"missing": begun.missing, b"strange": begun.strange, b"wait": begun.wait}
        for job_id, entry in zip(ids, entries, strict=False):
            if isinstance(entry, bytes):
                others[entry].append(job_id)
            else:
                begun.claims.append(_claim(job_id, keys.queue, worker, token, now_ms, entry))
        return begun

    names = (keys.processing(worker), keys.workers, *map(keys.job, ids))
    return Command(SCRIPTS["begin"], names, (worker, token, *ids), parse)


def _claim(job_id: str, queue: str, worker: str, token: str, now_ms: int, entry: list[bytes]) -> Claim:
    raw = dict(zip(entry[::2], entry[1::2], strict=True))
    enqueued_at = _number(raw, b"enqueued_at", now_ms)
    key = raw.get(b"key")
    return Claim(
        job_id,
        queue,
        worker,
        token,
        raw[b"name"].decode("utf-8", "replace") if b"name" in raw else "",
        raw.get(b"args", b""),
        _number(raw, b"attempt", 1),
        _number(raw, b"crashes", 0),
        enqueued_at,
        _number(raw, b"run_at", enqueued_at),
        now_ms,
        raw.get(b"options", b""),
        raw.get(b"errors", b""),
        None if key is None else key.decode("utf-8", "replace"),
        _number(raw, b"format", 1),
    )


def _number(raw: dict[bytes, bytes], name: bytes, default: int) -> int:
    """A number in a job's hash. Nothing that somebody wrote there may stop a worker."""
    value = raw.get(name)
    if value is None:
        return default
    try:
        return int(value)
    except ValueError:
        return default


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
    return Command(SCRIPTS["complete"], tuple(names), tuple(args), _texts)


def retry(
    keys: Keys, claim: Claim, delay_ms: int, errors: bytes = b"", *, refund: bool = False
) -> Command[str]:
    """A job runs again later; with `refund` its attempt does not count. The reply: scheduled or lost."""
    names = (
        keys.processing(claim.worker),
        keys.job(claim.id),
        keys.scheduled,
        keys.ready,
        keys.stats,
    )
    args = (claim.id, claim.token, delay_ms, errors, int(refund), BELL)
    return Command(SCRIPTS["retry"], names, args, _first_word)


def bury(keys: Keys, claim: Claim, errors: bytes) -> Command[str]:
    """A job is given up. The reply: dead or lost."""
    names = (
        keys.processing(claim.worker),
        keys.job(claim.id),
        keys.dead,
        keys.unique(claim.key or ""),
        keys.stats,
    )
    return Command(SCRIPTS["bury"], names, (claim.id, claim.token, errors), _word)


def discard(keys: Keys, claim: Claim) -> Command[str]:
    """A job was cancelled while it ran. The reply: discarded or lost."""
    names = (
        keys.processing(claim.worker),
        keys.job(claim.id),
        keys.unique(claim.key or ""),
        keys.cancels,
        keys.stats,
    )
    return Command(SCRIPTS["discard"], names, (claim.id, claim.token), _word)


def cancels(keys: Keys) -> Command[list[str]]:
    """Ids of running jobs that are to be stopped."""
    return Command(SCRIPTS["cancels"], (keys.cancels,), (86_400_000, 1_000), _texts)


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
        for priority, some in _by_priority(ids)
    ]


def _by_priority(ids: Sequence[str]) -> list[tuple[int, list[str]]]:
    groups: dict[int, list[str]] = {}
    for job_id in ids:
        groups.setdefault(priority_of(job_id), []).append(job_id)
    return list(groups.items())


def heartbeat(
    keys: Keys, workers: Sequence[str], lease_ms: int, *, register: bool = False
) -> Command[list[bool]]:
    """Extend leases, or take them out. The reply: per worker, whether it still has one."""

    def parse(reply: Any) -> list[bool]:
        return [word == b"alive" for word in reply[1]]

    args: tuple[Arg, ...] = (lease_ms, int(register), *workers)
    return Command(SCRIPTS["heartbeat"], (keys.workers,), args, parse)


def retire(keys: Keys, worker: str, *, clean: bool) -> Command[str]:
    """A worker takes no more. The reply: left, or stranded where its list is to be recovered."""
    names = (keys.workers, keys.retired, keys.processing(worker))
    return Command(SCRIPTS["retire"], names, (worker, int(clean), BELL), _word)


@dataclass(frozen=True, slots=True)
class Swept:
    """What one `sweep` call retired and named."""

    expired: int
    retired: list[str]
    completed: list[str]
    dead: list[str]


def sweep(keys: Keys, *, dead_age_ms: int, dead_max: int, skip: int = 0, limit: int = 100) -> Command[Swept]:
    """Retire workers whose lease has run out; name up to `limit` of each kind of maintenance."""

    def parse(reply: Any) -> Swept:
        expired, retired, completed, dead = reply
        return Swept(expired, _texts(retired), _texts(completed), _texts(dead))

    names = (keys.workers, keys.retired, keys.completed, keys.dead)
    return Command(SCRIPTS["sweep"], names, (limit, dead_age_ms, dead_max, skip), parse)


def stranded(
    keys: Keys, workers: Sequence[str], *, keep_ms: int, limit: int = 100
) -> Command[list[list[str]]]:
    """What retired workers still have, newest first; those that had nothing for `keep_ms` are forgotten."""

    def parse(reply: Any) -> list[list[str]]:
        return [_texts(ids) for ids in reply]

    names = (keys.retired, *map(keys.processing, workers))
    return Command(SCRIPTS["stranded"], names, (limit, keep_ms, *workers), parse)


def listed(keys: Keys, worker: str) -> Command[list[str]]:
    """What stands in a worker's own list, newest first."""
    wanted = stranded(keys, [worker], keep_ms=0, limit=100_000)
    return Command(wanted.script, wanted.keys, wanted.args, lambda reply: _texts(reply[0]))


def recover(
    keys: Keys,
    worker: str,
    ids: Sequence[str],
    *,
    charge: Callable[[str], bool] = lambda _: True,
    errors: Callable[[str], bytes] = lambda _: b"",
) -> list[Command[tuple[int, int]]]:
    """Ids of a retired worker, oldest first, go back to the front: one command per priority.

    `charge` says whether a job that was begun counts as a crash, `errors` what its error
    history becomes (b'' leaves it). The reply: how many went back, how many were charged.
    """

    def parse(reply: Any) -> tuple[int, int]:
        return int(reply[0]), int(reply[1])

    result = []
    for priority, some in _by_priority(ids):
        names = (
            keys.processing(worker),
            keys.retired,
            keys.list_of(priority),
            keys.ready,
            keys.levels,
            keys.stats,
            *map(keys.job, some),
        )
        args: list[Arg] = [worker, priority, BELL]
        for job_id in some:
            args += (job_id, int(charge(job_id)), errors(job_id))
        result.append(Command(SCRIPTS["recover"], names, tuple(args), parse))
    return result


def cancel(keys: Keys, job_id: str, key: str = "") -> Command[tuple[str, str]]:
    """Forget a job that has not begun. The reply: a word and, for `keyed`, the key to call again with."""
    names = (
        keys.job(job_id),
        keys.scheduled,
        keys.list_of(priority_of(job_id)),
        keys.unique(key),
        keys.dead,
        keys.completed,
        keys.stats,
        keys.cancels,
    )
    return Command(SCRIPTS["cancel"], names, (job_id, key), _word_and_text)


def reschedule(keys: Keys, job_id: str, run_at: str) -> Command[tuple[str, int]]:
    """Another run_at for a job that has not begun. The reply: a word, and its run_at in ms."""

    def parse(reply: Any) -> tuple[str, int]:
        return reply[0].decode(), int(reply[1])

    names = (
        keys.job(job_id),
        keys.scheduled,
        keys.list_of(priority_of(job_id)),
        keys.ready,
        keys.dead,
        keys.completed,
    )
    return Command(SCRIPTS["reschedule"], names, (job_id, run_at, BELL), parse)


def requeue(keys: Keys, job_id: str, key: str = "") -> Command[tuple[str, str]]:
    """Another life for a dead job. The reply: a word and, for `duplicate` and `keyed`, a text."""
    priority = priority_of(job_id)
    names = (
        keys.job(job_id),
        keys.dead,
        keys.list_of(priority),
        keys.ready,
        keys.levels,
        keys.unique(key),
        keys.cancels,
        keys.stats,
    )
    return Command(SCRIPTS["requeue"], names, (job_id, key, priority, BELL), _word_and_text)


def delete(keys: Keys, place: str, ids: Sequence[str]) -> Command[int]:
    """Forget dead or completed jobs; `place` is `keys.dead` or `keys.completed`."""
    return Command(SCRIPTS["delete"], (place, *map(keys.job, ids)), tuple(ids), int)


def peek(keys: Keys, job_id: str) -> Command[Job | None]:
    """One job as it stands."""

    def parse(reply: Any) -> Job | None:
        word, score, entry = reply
        if word == b"missing":
            return None
        raw = dict(zip(entry[::2], entry[1::2], strict=True))
        return job_from_fields(job_id, keys.queue, State(word.decode()), score, raw)

    names = (keys.job(job_id), keys.scheduled, keys.dead, keys.completed)
    return Command(SCRIPTS["peek"], names, (job_id,), parse)


def fields(keys: Keys, job_id: str) -> Command[dict[bytes, bytes]]:
    """One job's hash as it stands, read like `peek`; empty where there is none."""

    def parse(reply: Any) -> dict[bytes, bytes]:
        return dict(zip(reply[2][::2], reply[2][1::2], strict=True))

    wanted = peek(keys, job_id)
    return Command(wanted.script, wanted.keys, wanted.args, parse)


def claim_from_fields(job_id: str, queue: str, worker: str, raw: dict[bytes, bytes]) -> Claim:
    """The claim in the hash of a running job: for who settles it in place of a dead worker."""
    entry = [part for pair in raw.items() for part in pair]
    started_at = int(raw.get(b"started_at", 0))
    return _claim(job_id, queue, worker, raw[b"token"].decode(), started_at, entry)


def holder(keys: Keys, key: str) -> Command[str]:
    """The id of the job that holds a unique key, or ''."""
    return Command(SCRIPTS["holder"], (keys.unique(key),), (), _word)


def _word(reply: Any) -> str:
    return str(reply.decode())


def _first_word(reply: Any) -> str:
    return _word(reply[0])


def _word_and_text(reply: Any) -> tuple[str, str]:
    return _word(reply[0]), _word(reply[1])


def _texts(reply: Any) -> list[str]:
    # What is no ASCII is no id of ours; it must not stop who finds it.
    return [item.decode("ascii", "backslashreplace") for item in reply]
