"""Verbs for many jobs at once, for operators: a page of jobs per round trip, in bounded calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import redis
from redis.exceptions import NoScriptError

from redjobs import flows
from redjobs.commands import Command
from redjobs.flows import Flow
from redjobs.inspector import Inspector
from redjobs.jobs import State, Verdict
from redjobs.keys import Keys
from redjobs.queue import Queue

T = TypeVar("T")

PAGE = 500

#: What may be done to many dead jobs: `flows.requeue` or `flows.delete`.
Verb = Callable[[Keys, str], Flow[Verdict]]


# What each of these has done is counted as it goes on, for whoever is interrupted; and after each page it
# says how many jobs it has looked at, for whoever waits.


def requeue_dead(
    inspector: Inspector, queue: Queue, verdicts: Counter[Verdict], name: str | None = None
) -> Iterator[int]:
    """Another life for all jobs that are dead now, or for those of one name. O(dead) in all."""
    return _all_dead(inspector, queue, flows.requeue, verdicts, name)


def delete_dead(
    inspector: Inspector, queue: Queue, verdicts: Counter[Verdict], name: str | None = None
) -> Iterator[int]:
    """Forget all jobs that are dead now, or those of one name. O(dead) in all."""
    return _all_dead(inspector, queue, flows.delete, verdicts, name)


def _all_dead(
    inspector: Inspector, queue: Queue, verb: Verb, verdicts: Counter[Verdict], name: str | None
) -> Iterator[int]:
    began_ms: int | None = None
    cursor: int | None = 0
    while cursor is not None:
        page = inspector.jobs(queue.name, State.DEAD, cursor=cursor, limit=PAGE, name=name)
        began_ms = began_ms or page.at_ms
        # A job that was requeued may have died again by now: once is enough.
        ids = [job.id for job in page.jobs if (job.ended_at_ms or 0) <= began_ms]
        found = drive_all(queue.redis, [verb(queue.keys, job_id) for job_id in ids])
        verdicts.update(found)
        seen = len(page.jobs) if page.cursor is None else page.cursor - cursor
        # What is no longer dead has made the others move up.
        cursor = None if page.cursor is None else page.cursor - sum(map(bool, found))
        yield seen


def clear(inspector: Inspector, queue: Queue, state: State, removed: Counter[State]) -> Iterator[int]:
    """Forget all jobs of one state, but none that runs. O(jobs log N) in all.

    Jobs that are enqueued meanwhile may stay: it ends once it has seen as many as there were.
    """
    if state is State.PROCESSING:
        raise ValueError("jobs that run are not cleared: cancel them")
    # A job that a worker takes meanwhile is let run.
    waiting = state in (State.SCHEDULED, State.READY)
    verb = partial(flows.cancel, stop=False) if waiting else flows.delete
    left = inspector.jobs(queue.name, state, limit=1).total
    stayed = 0
    while left > 0:
        ids = inspector.newest_ids(queue.name, state, skip=stayed, limit=min(PAGE, left))
        if not ids:
            break
        verdicts = drive_all(queue.redis, [verb(queue.keys, job_id) for job_id in ids])
        removed[state] += sum(map(bool, verdicts))
        stayed += len(ids) - sum(map(bool, verdicts))
        left -= len(ids)
        yield len(ids)


def drive_all(client: redis.Redis, together: Iterable[Flow[T]]) -> list[T]:
    """Run flows side by side: each step of all of them is one round trip. Raises their first error."""
    running = dict(enumerate(together))
    replies: dict[int, Any] = dict.fromkeys(running)
    results: dict[int, T] = {}
    while running:
        wanted: dict[int, Command[Any]] = {}
        for number, flow in list(running.items()):
            try:
                wanted[number] = flow.send(replies[number])
            except StopIteration as stop:
                results[number] = stop.value
                del running[number]
        if wanted:
            replies = dict(zip(wanted, _run_all(client, list(wanted.values())), strict=True))
    return [results[number] for number in sorted(results)]


def _run_all(client: redis.Redis, wanted: Sequence[Command[Any]]) -> list[Any]:
    pipe: Any = client.pipeline(transaction=False)
    for command in wanted:
        pipe.evalsha(command.script.sha, len(command.keys), *command.keys, *command.args)
    replies = []
    for command, reply in zip(wanted, pipe.execute(raise_on_error=False), strict=True):
        if isinstance(reply, NoScriptError):
            # The server has forgotten its scripts, or has never seen this one.
            reply = client.eval(command.script.text, len(command.keys), *command.keys, *command.args)  # noqa: PLW2901
        if isinstance(reply, Exception):
            raise reply
        replies.append(command.parse(reply))
    return replies
