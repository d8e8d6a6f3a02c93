"""`redjobs jobs`: list and show; the subcommands that change are in `jobs_change`."""

from __future__ import annotations

from collections.abc import Callable

import click

from redjobs.cli import jobs_change
from redjobs.cli.common import Target, as_json, connected
from redjobs.cli.lazy import SuggestingGroup
from redjobs.cli.show import show_job
from redjobs.cli.text import distance, plain, printable, say, say_json, say_table
from redjobs.errors import PayloadError
from redjobs.inspector import MAX_PAGE
from redjobs.jobs import Job, State
from redjobs.queue import Queue
from redjobs.snapshots import Page, job_as_dict

Row = tuple[object, ...]


@click.group("jobs", cls=SuggestingGroup)
def command() -> None:
    """List, show and change jobs.

    \b
      redjobs jobs list --state dead
      redjobs jobs show ID
      redjobs jobs retry ID

    A job is named by its id, or by the unique key that it holds. Without --queue it is looked for
    in all queues.
    """


@command.command("list")
@click.option("--queue", help="The queue; may be left out where there is only one.")
@click.option("--state", type=click.Choice([state.value for state in State]), help="All states without.")
@click.option("--name", help="Only of this handler, module:function; with * a pattern.")
@click.option(
    "--limit", type=click.IntRange(1, MAX_PAGE), metavar="N", default=20, show_default=True, help="Per state."
)
@click.option(
    "--cursor", type=click.IntRange(min=0), metavar="N", default=0, help="Go on there; needs --state."
)
@as_json
@connected
def list_(
    target: Target,
    /,
    queue: str | None,
    state: str | None,
    name: str | None,
    limit: int,
    cursor: int,
    json: bool,
) -> None:
    """List jobs, a page at a time.

    Those that are next come first; of the dead and the completed the newest. With --name a page
    looks at 10,000 jobs at most: it may be short, and still say where the next one begins.

    \b
      redjobs jobs list
      redjobs jobs list --state scheduled --limit 100
      redjobs jobs list --state dead --name 'shop.mail:*' --json
    """
    if cursor and state is None:
        raise click.UsageError("--cursor belongs to one --state")
    queue = target.one_queue(queue)
    parts = target.parts(queue)
    if cursor and len(parts) > 1:
        raise click.UsageError(f"--cursor belongs to one shard: --queue {parts[0]}")
    states = [State(state)] if state else list(State)
    pages = [
        target.inspector.jobs(part, one, cursor=cursor, limit=limit, name=name)
        for part in parts
        for one in states
    ]
    if json:
        say_json({"queue": queue, "pages": [page.as_dict() for page in pages]})
        return
    shown = [page for page in pages if page.jobs or page.cursor is not None]
    for number, page in enumerate(shown):
        if number:
            say()
        _say_page(page, name, limit, of_many=len(parts) > 1)
    if not shown:
        say(f"no {state or 'jobs'}{' of that name' if name else ''} in queue {printable(queue)}")


@command.command("show", short_help="Show one job: its state, times and errors.")
@click.argument("id_or_key")
@click.option("--queue", help="The queue; without, all are looked at.")
@click.option(
    "--show-args", is_flag=True, help="Show its arguments and its result, too: they may be secrets."
)
@as_json
@connected
def show(target: Target, /, id_or_key: str, queue: str | None, show_args: bool, json: bool) -> None:
    """Show one job: where it is, its times, its attempts and what went wrong.

    \b
      redjobs jobs show xYJtFZcTzR8hkyYb_1Qa
      redjobs jobs show reminder:7 --queue default --show-args
    """
    found = target.locate(queue, id_or_key)
    job = found.get(id_or_key)
    secrets = _secrets(found, job) if show_args else {}
    if json:
        say_json(job_as_dict(job) | {label: plain(value) for label, value in secrets.items()})
    else:
        show_job(job, target.inspector.now_ms(), secrets)


def _secrets(queue: Queue, job: Job) -> dict[str, object]:
    """The arguments and the result, where they can be decoded here."""
    try:
        args, kwargs = queue.arguments(job)
        shown: dict[str, object] = {"args": list(args), "kwargs": kwargs}
        if job.result_payload is not None:
            shown["result"] = queue.registry.codec.decode(job.result_payload)
    except PayloadError as error:
        return {"args": f"cannot be decoded here: {error}"}
    return shown


def _say_page(page: Page, name: str | None, limit: int, *, of_many: bool) -> None:
    heading = f"{page.queue} " if of_many else ""
    heading += f"{page.state}: {page.total:,}"
    if name:
        heading += f", looked at {page.scanned:,}"
    say(heading, bold=True)
    if page.jobs:
        head, row = _COLUMNS[page.state]
        say_table(head, [row(job, page.at_ms) for job in page.jobs])
    if page.cursor is not None:
        more = f"redjobs jobs list --queue {page.queue} --state {page.state} --cursor {page.cursor}"
        more += f" --name '{printable(name)}'" if name else ""
        say(f"more: {more}" + (f" --limit {limit}" if limit != 20 else ""), dim=True)


def _name(job: Job) -> str:
    return f"{job.name} (format {job.format}, not known here)" if job.is_newer else job.name


def _waiting(job: Job, now_ms: int) -> Row:
    return job.id, distance(job.run_at_ms, now_ms), job.attempt, job.key or "", _name(job)


def _processing(job: Job, now_ms: int) -> Row:
    started = "not yet" if job.started_at_ms is None else distance(job.started_at_ms, now_ms)
    return job.id, started, job.attempt, job.worker or "", _name(job)


def _dead(job: Job, now_ms: int) -> Row:
    error = job.errors[-1].error if job.errors else ""
    return job.id, distance(job.ended_at_ms or 0, now_ms), job.attempt, _name(job), error


def _completed(job: Job, now_ms: int) -> Row:
    return job.id, distance(job.ended_at_ms or 0, now_ms), job.attempt, _name(job)


_WAITING_HEAD = ("id", "due", "attempt", "key", "name")
_COLUMNS: dict[State, tuple[tuple[str, ...], Callable[[Job, int], Row]]] = {
    State.SCHEDULED: (_WAITING_HEAD, _waiting),
    State.READY: (_WAITING_HEAD, _waiting),
    State.PROCESSING: (("id", "started", "attempt", "worker", "name"), _processing),
    State.DEAD: (("id", "died", "attempt", "name", "error"), _dead),
    State.COMPLETED: (("id", "completed", "attempt", "name"), _completed),
}

for _change in (jobs_change.retry, jobs_change.cancel, jobs_change.reschedule, jobs_change.delete):
    command.add_command(_change)
