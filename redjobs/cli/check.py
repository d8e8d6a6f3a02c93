"""`redjobs check`"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import click

from redjobs.cli.common import Target, as_json, connected
from redjobs.cli.params import DURATION
from redjobs.cli.text import age, printable, say, say_json
from redjobs.clock import format_duration
from redjobs.ids import whole_of, worker_host
from redjobs.snapshots import QueueStatus


@dataclass(frozen=True, slots=True)
class Violation:
    """A limit, and what was found instead; durations in seconds."""

    queue: str
    limit: str
    allowed: float
    found: float
    text: str

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"queue": self.queue, "limit": self.limit, "allowed": self.allowed, "found": self.found}


@click.command("check")
@click.argument("queue", nargs=-1)
@click.option("--max-latency", type=DURATION, help="No job has been due for longer than this.")
@click.option(
    "--max-late", type=click.IntRange(min=0), metavar="N", help="No more jobs are due and have not begun."
)
@click.option("--max-dead", type=click.IntRange(min=0), metavar="N", help="No more jobs are dead.")
@click.option(
    "--min-workers", type=click.IntRange(min=0), metavar="N", help="As many workers serve the queue at least."
)
@click.option("--name", help="`check worker`: of workers of this name, instead of this host's.")
@as_json
@connected
@click.pass_context
def command(
    ctx: click.Context,
    target: Target,
    /,
    queue: tuple[str, ...],
    json: bool,
    name: str | None,
    **limits: Any,
) -> None:
    """Fail when jobs are late or dead: for monitoring.

    Every limit holds for each QUEUE, or each queue in use. Only jobs that are due count as late,
    never those planned for later. Jobs whose handler no worker has are neither late nor dead: they
    come back within 30 seconds, and each time the worker's log says so.

    \b
      redjobs check --max-latency 5m --max-dead 0
      redjobs check default --max-late 1000 --min-workers 1
      redjobs check worker

    `check worker`, without a limit, looks whether a worker of this host holds a lease (--lease, 15
    seconds), that is, whether it has reached the server within that time: for probes that run a
    command. A worker that was killed counts until then, and a process that hangs until the worker
    replaces it, after a minute at most. The worker's own --health-port knows of both at once.

    Exit code 0: all is well, and nothing is printed; 1: one line per violated limit; 3: the
    server does not answer. A QUEUE that nobody has used yet is well; a warning says so. Where
    none is named and none is known, a warning says that, too; with --min-workers it is a violation.
    """
    if queue == ("worker",) and all(limit is None for limit in limits.values()):
        ctx.exit(_check_worker(target, worker_host(name), json=json))
    if all(limit is None for limit in limits.values()):
        raise click.UsageError("check what? Say a limit, such as --max-latency 5m or --max-dead 0")
    for said in queue:
        _doubt(said, set(map(whole_of, target.names)) | set(target.names))
    names = target.queues(queue)
    found = [violation for name in names for violation in violations(target.inspector.queue(name), **limits)]
    if not names:
        found += _nothing_known(target, limits["min_workers"])
    if json:
        say_json({"ok": not found, "violations": [one.as_dict() for one in found]})
    else:
        for one in found:
            say(printable(one.text))
    ctx.exit(1 if found else 0)


def _doubt(name: str, known: set[str]) -> None:
    """A queue that nobody has used yet is well for ever, and so is one that is misspelt."""
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {printable(near[0])}?" if near else "it has no jobs and no workers"
        say(f"warning: nobody has used a queue {printable(name)!r} here yet: {hint}", err=True)


def _nothing_known(target: Target, min_workers: int | None) -> list[Violation]:
    """No queue at all is well for ever, and so is what looks at the wrong database or prefix."""
    text = f"no queue is known at {target.server} with the prefix {target.prefix!r}"
    if min_workers:
        text = f"{text}: 0 workers, at least {min_workers:,}"
        return [Violation("", "min_workers", min_workers, 0, text)]
    say(f"warning: {printable(text)}", err=True)
    return []


def _check_worker(target: Target, host: str, *, json: bool) -> int:
    """0 if a worker of this host holds a lease."""
    leases = [
        worker.lease_left_ms
        for name in target.inspector.queues()
        for worker in target.inspector.workers(name)
        if worker.host == host and worker.lease_left_ms is not None
    ]
    healthy = any(left > 0 for left in leases)
    if json:
        say_json({"healthy": healthy, "host": host, "leases": len(leases)})
    elif not healthy:
        found = "its lease has run out" if leases else "none has registered"
        say(f"no healthy worker of {printable(host)}: {found}")
    return 0 if healthy else 1


def violations(
    queue: QueueStatus,
    *,
    max_latency: float | None = None,
    max_late: int | None = None,
    max_dead: int | None = None,
    min_workers: int | None = None,
) -> list[Violation]:
    """What exceeds a limit, in a queue as it was seen. Pure."""
    name, found = queue.name, []
    if max_latency is not None and queue.waiting_ms > max_latency * 1000:
        text = (
            f"{name}: a job has been due for {age(queue.waiting_ms)}, at most {format_duration(max_latency)}"
        )
        found.append(Violation(name, "max_latency", max_latency, queue.waiting_ms / 1000, text))
    for limit, word, allowed, number in (
        ("max_late", "late", max_late, queue.late),
        ("max_dead", "dead", max_dead, queue.dead),
    ):
        if allowed is not None and number > allowed:
            text = f"{name}: {number:,} {word}, at most {allowed:,}"
            found.append(Violation(name, limit, allowed, number, text))
    if min_workers is not None and queue.workers < min_workers:
        text = f"{name}: {queue.workers:,} workers, at least {min_workers:,}"
        found.append(Violation(name, "min_workers", min_workers, queue.workers, text))
    return found
