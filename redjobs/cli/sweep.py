"""`redjobs sweep`"""

from __future__ import annotations

import click

from redjobs.cli.common import Target, as_json, connected
from redjobs.cli.params import DURATION
from redjobs.cli.text import say, say_json, some
from redjobs.ids import whole_of
from redjobs.sweeper import SweepPolicy, SweepResult


@click.command("sweep")
@click.argument("queue", nargs=-1)
@click.option("--dead-age", type=DURATION, default="180d", show_default=True, help="Keep dead jobs so long.")
@click.option(
    "--dead-max",
    type=click.IntRange(min=1),
    metavar="N",
    default=10_000,
    show_default=True,
    help="Keep so many.",
)
@as_json
@connected
def command(target: Target, /, queue: tuple[str, ...], dead_age: float, dead_max: int, json: bool) -> None:
    """Do the maintenance once that workers do by themselves.

    Promotes jobs that are due, recovers those of workers that died, and trims what is old, of
    QUEUE... or of all queues. Nobody needs to call this regularly: every worker sweeps. It may
    run at any time, and beside any number of others.

    \b
      redjobs sweep
      redjobs sweep default --json

    Exit code 0 whenever the pass was made, whatever it found: for alarms there is `redjobs check`.
    """
    policy = SweepPolicy(dead_age_ms=round(dead_age * 1000), dead_max=dead_max)
    names = queue or map(whole_of, target.queues(()))  # a queue sweeps its shards
    results = {name: target.queue(name).sweep(policy) for name in dict.fromkeys(names)}
    total = SweepResult()
    for result in results.values():
        total.add(result)
    if json:
        queues = {name: result.as_dict() for name, result in results.items()}
        say_json({"queues": queues, "total": total.as_dict()})
        return
    recovered = f"recovered {some(total.recovered, 'job')} ({total.crashed:,} had begun)"
    say(
        f"swept {some(len(results), 'queue')}: promoted {some(total.promoted, 'job')}, {recovered}"
        f" of {some(total.retired, 'dead worker')}, trimmed {some(total.trimmed, 'old job')}"
    )
