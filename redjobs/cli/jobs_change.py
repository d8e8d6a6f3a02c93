"""`redjobs jobs retry | cancel | reschedule | delete`"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import chain

import click

from redjobs import bulk
from redjobs.cli.common import Target, as_json, confirm, connected
from redjobs.cli.params import DURATION, MOMENT
from redjobs.cli.text import printable, say, say_json, some, with_progress
from redjobs.errors import JobNotFound
from redjobs.inspector import Inspector
from redjobs.jobs import State, Verdict
from redjobs.queue import Queue

Verb = Callable[[Queue, str], Verdict]

_ids = click.argument("ids", nargs=-1, metavar="[ID]...")
_queue = click.option("--queue", help="The queue; without, all are looked at.")
_all_dead = click.option("--all-dead", is_flag=True, help="All dead jobs of the queue, in place of ID.")
_name = click.option("--name", help="With --all-dead: only of this handler; with * a pattern.")
_yes = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


@click.command("retry", short_help="Give dead jobs another life.")
@_ids
@_queue
@_all_dead
@_name
@_yes
@as_json
@connected
def retry(
    target: Target,
    /,
    ids: tuple[str, ...],
    queue: str | None,
    all_dead: bool,
    name: str | None,
    yes: bool,
    json: bool,
) -> None:
    """Give dead jobs another life: ready now, their attempts counted from the start.

    \b
      redjobs jobs retry xYJtFZcTzR8hkyYb_1Qa
      redjobs jobs retry --all-dead --name 'shop.mail:*' --yes

    Exit code 1 where one of them is not dead.
    """
    _check_ids(ids, all_dead, name)
    if all_dead:
        queue = target.one_queue(queue)
        _confirm_dead(target, queue, "Retry", name, yes)
        _of_all_dead(target, queue, bulk.requeue_dead, name, json)
    else:
        _each(target, queue, ids, Queue.requeue, json)


@click.command("delete", short_help="Forget jobs that are over.")
@_ids
@_queue
@_all_dead
@_name
@_yes
@as_json
@connected
def delete(
    target: Target,
    /,
    ids: tuple[str, ...],
    queue: str | None,
    all_dead: bool,
    name: str | None,
    yes: bool,
    json: bool,
) -> None:
    """Forget jobs that are over: dead ones, or completed ones with their results.

    There is no way back, so it asks; --yes says it at once.

    \b
      redjobs jobs delete xYJtFZcTzR8hkyYb_1Qa --yes
      redjobs jobs delete --all-dead --queue mail

    Exit code 1 where one of them is not over.
    """
    _check_ids(ids, all_dead, name)
    if all_dead:
        queue = target.one_queue(queue)
        _confirm_dead(target, queue, "Delete", name, yes)
        _of_all_dead(target, queue, bulk.delete_dead, name, json)
    else:
        confirm(f"Delete {some(len(ids), 'job')} for ever?", yes)
        _each(target, queue, ids, Queue.delete, json)


@click.command("cancel")
@click.argument("ids", nargs=-1, required=True, metavar="ID_OR_KEY...")
@_queue
@as_json
@connected
def cancel(target: Target, /, ids: tuple[str, ...], queue: str | None, json: bool) -> None:
    """Forget jobs that have not begun.

    \b
      redjobs jobs cancel xYJtFZcTzR8hkyYb_1Qa
      redjobs jobs cancel reminder:7 --queue default

    A job that runs is asked to stop; it may complete before it does, and the exit code is 1.
    """
    _each(target, queue, ids, Queue.cancel, json)


@click.command("reschedule")
@click.argument("id_or_key", metavar="ID_OR_KEY")
@click.option("--in", "delay", type=DURATION, help="To this long from now; 0 is now.")
@click.option("--at", type=MOMENT, help="To this moment, ISO 8601 with an offset.")
@_queue
@as_json
@connected
def reschedule(
    target: Target,
    /,
    id_or_key: str,
    delay: float | None,
    at: datetime | None,
    queue: str | None,
    json: bool,
) -> None:
    """Give a job that has not begun another time.

    \b
      redjobs jobs reschedule reminder:7 --in 1h
      redjobs jobs reschedule xYJtFZcTzR8hkyYb_1Qa --at 2026-03-01T09:00+01:00

    Exit code 1 where it has begun, or is over.
    """
    if (delay is None) == (at is None):
        raise click.UsageError("to when? Give either --in or --at")
    _each(target, queue, (id_or_key,), lambda found, job: found.reschedule(job, delay, at=at), json)


def _check_ids(ids: tuple[str, ...], all_dead: bool, name: str | None) -> None:
    if bool(ids) == all_dead:
        raise click.UsageError("which jobs? Give either their ids, or --all-dead")
    if name is not None and not all_dead:
        raise click.UsageError("--name belongs to --all-dead")


def _of_all_dead(
    target: Target,
    queue: str,
    verb: Callable[[Inspector, Queue, Counter[Verdict], str | None], Iterator[int]],
    name: str | None,
    json: bool,
) -> None:
    """Say what became of them, and exit with 1 where some could not be done."""
    verdicts: Counter[Verdict] = Counter()
    try:
        parts = target.parts(queue)
        pages = (verb(target.inspector, target.queue(part), verdicts, name) for part in parts)
        with_progress(chain.from_iterable(pages), _dead(target, queue), "dead jobs")
    finally:  # what raises takes nothing back of what was done before
        _say_totals(verdicts, json)
    click.get_current_context().exit(0 if all(verdicts) else 1)


def _confirm_dead(target: Target, queue: str, verb: str, name: str | None, yes: bool) -> None:
    total = _dead(target, queue)
    which = (
        f"those named {printable(name)} of the {some(total, 'dead job')}" if name else some(total, "dead job")
    )
    confirm(f"{verb} {which} of queue {printable(queue)}?", yes)


def _dead(target: Target, queue: str) -> int:
    return sum(target.inspector.jobs(part, State.DEAD, limit=1).total for part in target.parts(queue))


def _each(target: Target, queue: str | None, ids: tuple[str, ...], verb: Verb, json: bool) -> None:
    """Do it to each of them, say what came of it, and exit with 1 where it could not be done."""
    told: list[tuple[str, Verdict]] = []
    try:
        for job_id in ids:
            try:
                verdict = verb(target.locate(queue, job_id), job_id)
            except JobNotFound:
                verdict = Verdict.NOT_FOUND
            told.append((job_id, verdict))
            if not json:
                say(f"{printable(job_id)}  {verdict}")
    finally:  # what raises takes nothing back of what was done before
        if json:
            say_json({"jobs": [{"id": job_id, "verdict": verdict.value} for job_id, verdict in told]})
    click.get_current_context().exit(0 if all(verdict for _, verdict in told) else 1)


def _say_totals(verdicts: Counter[Verdict], json: bool) -> None:
    """What became of many."""
    found: Mapping[str, int] = {verdict.value: number for verdict, number in verdicts.items()}
    if json:
        say_json({"verdicts": found})
    else:
        say(", ".join(f"{number:,} {word}" for word, number in found.items()) or "no dead job fits")
