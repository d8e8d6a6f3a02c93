"""Commands of those who enqueue, look and change their minds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redjobs.commands.command import SCRIPTS, Arg, Command, word, word_and_text
from redjobs.ids import priority_of
from redjobs.jobs import Job, NewJob, State, job_from_fields, pack_options
from redjobs.keys import BELL, Keys


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A new job was not stored: this one holds its unique key."""

    holder: str


def enqueue(keys: Keys, jobs: Sequence[NewJob], stale: str = "") -> Command[list[Job | Duplicate]]:
    """Store up to `BATCH` jobs; `stale` is a holder of a unique key that is known to be gone."""
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


def _enqueued(queue: str, job: NewJob, answer: bytes, now_ms: int) -> Job:
    run_at_ms = now_ms
    if job.run_at:
        wanted = int(job.run_at)
        run_at_ms = max(now_ms, now_ms + wanted if job.run_at[0] == "+" else wanted)
    scheduled = answer == b"scheduled" or (answer == b"exists" and run_at_ms > now_ms)
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


def cancel(keys: Keys, job_id: str, key: str = "", *, stop: bool = True) -> Command[tuple[str, str]]:
    """Forget a job that has not begun; with `stop`, ask that one which is running be stopped.

    The reply: a word and, for `keyed`, the key to call again with.
    """
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
    return Command(SCRIPTS["cancel"], names, (job_id, key, int(stop)), word_and_text)


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
        keys.stats,
    )
    return Command(SCRIPTS["requeue"], names, (job_id, key, priority, BELL), word_and_text)


def delete(keys: Keys, place: str, ids: Sequence[str]) -> Command[int]:
    """Forget dead or completed jobs; `place` is `keys.dead` or `keys.completed`."""
    return Command(SCRIPTS["delete"], (place, *map(keys.job, ids)), tuple(ids), int)


def peek(keys: Keys, job_id: str) -> Command[Job | None]:
    """One job as it stands."""

    def parse(reply: Any) -> Job | None:
        answer, score, entry = reply
        if answer == b"missing":
            return None
        raw = dict(zip(entry[::2], entry[1::2], strict=True))
        return job_from_fields(job_id, keys.queue, State(answer.decode()), score, raw)

    names = (keys.job(job_id), keys.scheduled, keys.dead, keys.completed)
    return Command(SCRIPTS["peek"], names, (job_id,), parse)


def fields(keys: Keys, job_id: str) -> Command[dict[bytes, bytes]]:
    """One job's hash as it stands, read like `peek`; empty where there is none."""

    def parse(reply: Any) -> dict[bytes, bytes]:
        return dict(zip(reply[2][::2], reply[2][1::2], strict=True))

    wanted = peek(keys, job_id)
    return Command(wanted.script, wanted.keys, wanted.args, parse)


def holder(keys: Keys, key: str) -> Command[str]:
    """The id of the job that holds a unique key, or ''."""
    return Command(SCRIPTS["holder"], (keys.unique(key),), (), word)
