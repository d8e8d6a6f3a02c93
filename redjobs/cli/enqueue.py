"""`redjobs enqueue`"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from redjobs.aio import AsyncQueue
from redjobs.calls import Call
from redjobs.cli.apps import load_function
from redjobs.cli.common import Target, as_json, connected
from redjobs.cli.params import DURATION, MOMENT, call_arguments
from redjobs.cli.text import distance, printable, say, say_json
from redjobs.jobs import Job, State
from redjobs.queue import Queue
from redjobs.registry import Handler
from redjobs.snapshots import job_as_dict


@click.command("enqueue")
@click.argument("function")
@click.argument("args", nargs=-1)
@click.option("--in", "delay", type=DURATION, help="Not before this long from now.")
@click.option("--at", type=MOMENT, help="Not before this moment, ISO 8601 with an offset.")
@click.option("--queue", help="The queue; by default the one that the handler names, or `default`.")
@click.option("--priority", type=int, metavar="N", help="Lower runs first; 0 without.")
@click.option("--key", help="Unique: while a job that holds it lives, no second one is made.")
@click.option("--max-attempts", type=int, metavar="N", help="How often it may fail.")
@click.option("--timeout", type=DURATION, help="How long one attempt may take.")
@click.option("--result-ttl", type=DURATION, help="Keep what it returns for so long.")
@as_json
@connected
def command(
    target: Target,
    /,
    function: str,
    args: tuple[str, ...],
    delay: float | None,
    at: datetime | None,
    queue: str | None,
    json: bool,
    **options: Any,
) -> None:
    """Enqueue one job: now, or later.

    FUNCTION is module:function; the module is imported here, and ARGS are checked against the
    function. An argument that is JSON is taken as such, any other is a text; name=value passes
    it by keyword. Before a negative number write --.

    \b
      redjobs enqueue shop.jobs:remind 7
      redjobs enqueue shop.jobs:remind 7 template=gentle --in 3d --key reminder:7
      redjobs enqueue shop.jobs:remind '"7"' 'to=["a@example.org"]' --at 2026-03-01T09:00Z
      redjobs enqueue --queue mail shop.jobs:adjust -- -7

    Prints the job's id, and on stderr what became of it. A job that holds the key already is fine.
    """
    if delay is not None and at is not None:
        raise click.UsageError("give --in or --at, not both")
    positional, keywords = call_arguments(args)
    fn = load_function(function)
    call = Call(fn, tuple(positional), keywords)
    if delay is not None:
        call = call.in_(delay)
    if at is not None:
        call = call.at(at)
    said: Any = {name: value for name, value in options.items() if value is not None}
    (job,) = target.queue(queue or _queue_of(fn)).options(**said).enqueue_many([call])
    if json:
        say_json(job_as_dict(job) | {"created": job.created})
        return
    say(printable(job.id))
    say(printable(_what_became_of(job)), err=True)


def _queue_of(fn: Callable[..., Any]) -> str:
    """The name of the queue that the handler says, or is bound to. The server is that of the command."""
    if not isinstance(fn, Handler):
        return "default"
    # Not `fn.queue`: that of an unbound handler goes and looks for a server in the environment.
    bound: Queue | AsyncQueue | None = getattr(fn, "_queue", None)
    return fn.defaults.queue or (bound.name if bound else "default")


def _what_became_of(job: Job) -> str:
    if not job.created:
        return f"made no other: this one of queue {job.queue} holds the key {job.key!r}, and is {job.state}"
    if job.state is State.SCHEDULED:
        return f"scheduled in queue {job.queue}, due {distance(job.run_at_ms, job.enqueued_at_ms)}"
    return f"ready in queue {job.queue}"
