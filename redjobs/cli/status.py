"""`redjobs status`"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import click
import redis

from redjobs.cli.common import Target, as_json, connected
from redjobs.cli.params import DURATION
from redjobs.cli.text import age, count, is_terminal, printable, say, say_json, say_table
from redjobs.errors import ServerUnavailable, reason_of
from redjobs.snapshots import QueueStatus, WorkerStatus

_QUEUE_HEAD = ("queue", "scheduled", "ready", "processing", "dead", "completed", "latency", "next")
_WORKER_HEAD = ("worker", "jobs", "lease", "queues")


@click.command("status")
@click.argument("queue", nargs=-1)
@click.option(
    "--watch",
    type=DURATION,
    is_flag=False,
    flag_value="2s",
    metavar="[=EVERY]",
    help="Again and again, every 2 s or as said, until Ctrl-C.",
)
@as_json
@connected
def command(target: Target, /, queue: tuple[str, ...], watch: float | None, json: bool) -> None:
    """Show queues and workers: how much, how late, who.

    `latency` is how long the oldest ready job has been due; `next` when the next scheduled job
    is due, or how long it is overdue. `lease` is how long a worker counts as alive without a
    sign of life; a retired one is dead, and its jobs are given to others.

    \b
      redjobs status
      redjobs status critical default --json
      redjobs status --watch=10s
    """

    target.doubt(queue)

    def show() -> None:
        names = target.queues(queue)
        queues = [target.inspector.queue(name) for name in names]
        workers = [worker for name in names for worker in target.inspector.workers(name)]
        if json:
            say_json(
                {"queues": [one.as_dict() for one in queues], "workers": [one.as_dict() for one in workers]}
            )
        else:
            _show(target, queues, workers)

    if watch is None:
        show()
    else:
        repeat(show, max(0.01, watch))


def repeat(show: Callable[[], None], seconds: float) -> None:
    """Show it until Ctrl-C, on a terminal always at the same place. No error ends it that comes later."""
    seen = False
    try:
        while True:
            if is_terminal():
                click.clear()
            try:
                show()
                seen = True
            except (redis.RedisError, ServerUnavailable) as error:
                if not seen:
                    raise
                say(f"redjobs: {_in_a_line(error)}; trying again", err=True)
            time.sleep(seconds)
    except KeyboardInterrupt:
        if is_terminal():
            say()


def _in_a_line(error: Exception) -> str:
    what = "the server refuses" if isinstance(error, redis.ResponseError) else "the server does not answer"
    return f"{what}: {printable(reason_of(error).partition(chr(10))[0])}"


def _show(target: Target, queues: list[QueueStatus], workers: list[WorkerStatus]) -> None:
    if not queues:
        where = f"{target.server} with the prefix {target.prefix!r}"
        say(f"no queue yet: nothing was enqueued and no worker started on {where}")
        return
    say_table(_QUEUE_HEAD, map(_queue_row, queues), right=range(1, len(_QUEUE_HEAD)))
    say()
    if not workers:
        say("no worker runs" if len(queues) == 1 else "no worker runs on any of them")
        return
    rows = [_worker_row(some) for some in _by_process(workers)]
    say_table(_WORKER_HEAD, rows, right=(1, 2))


def _queue_row(queue: QueueStatus) -> list[str]:
    counts = (queue.scheduled, queue.ready, queue.processing, queue.dead, queue.completed)
    following = "-" if queue.next_ms is None else age(queue.next_ms)
    if queue.lateness_ms:
        following = f"{age(queue.lateness_ms)} late"
    return [queue.name, *map(count, counts), age(queue.latency_ms), following]


def _by_process(workers: list[WorkerStatus]) -> list[list[WorkerStatus]]:
    """A process has a name of its own on each queue: together they are one line."""
    processes: dict[object, list[WorkerStatus]] = {}
    met: Counter[object] = Counter()
    for worker in workers:
        key: object = worker.worker
        if worker.lease_left_ms is not None and worker.pid is not None:
            # Twice on one queue: another one of the same name and number, as in another container.
            process = (worker.host, worker.pid)
            key = (*process, met[process, worker.queue])
            met[process, worker.queue] += 1
        processes.setdefault(key, []).append(replace(worker))
    return list(processes.values())


def _worker_row(some: list[WorkerStatus]) -> list[str]:
    left = [worker.lease_left_ms for worker in some if worker.lease_left_ms is not None]
    lease = "retired" if not left else age(min(left)) if min(left) > 0 else "over"
    first = some[0]
    shown = first.worker if len(some) == 1 else f"{first.host}.{first.pid}"
    return [shown, count(sum(worker.jobs for worker in some)), lease, ", ".join(one.queue for one in some)]
