"""`redjobs sweep`"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from redjobs import strays
from redjobs.cli.common import Target, as_json, connected
from redjobs.cli.failures import NotSo
from redjobs.cli.params import DURATION
from redjobs.cli.text import is_terminal, printable, say, say_json, some
from redjobs.ids import whole_of
from redjobs.strays import Strays
from redjobs.sweeper import SweepPolicy, SweepResult

#: So many of each kind are named.
_SHOWN = 10


@click.command("sweep")
@click.argument("queue", nargs=-1)
@click.option(
    "--dead-age",
    type=DURATION,
    default="180d",
    show_default=True,
    envvar="REDJOBS_DEAD_AGE",
    help="Keep dead jobs so long.",
)
@click.option(
    "--dead-max",
    type=click.IntRange(min=1),
    metavar="N",
    default=10_000,
    show_default=True,
    envvar="REDJOBS_DEAD_MAX",
    help="Keep so many.",
)
@click.option("--deep", is_flag=True, help="Look at all keys of the server for what is left over, too.")
@as_json
@connected
def command(
    target: Target, /, queue: tuple[str, ...], dead_age: float, dead_max: int, deep: bool, json: bool
) -> None:
    """Do the maintenance once that workers do by themselves.

    Promotes jobs that are due, recovers those of workers that died, and trims what is old, of
    QUEUE... or of all queues. Nobody needs to call this regularly: every worker sweeps. It may
    run at any time, and beside any number of others. Where workers are told to keep more dead jobs
    than by default, tell it here, too; both listen to $REDJOBS_DEAD_MAX and $REDJOBS_DEAD_AGE.

    \b
      redjobs sweep
      redjobs sweep default --json
      redjobs sweep --deep

    With --deep it also looks for what nobody would come across, as after keys were deleted by hand
    or evicted: jobs that stand in no place, ids and unique keys without a job, jobs of a worker that
    nobody knows. The latter go back to their queue; the rest is told and left as it is. It goes
    through all keys of the server (SCAN), slowly and beside everything else, and keeps the ids in
    memory; for that it needs more rights than `redjobs acl` gives anybody.

    Exit code 0 whenever the pass was made, whatever it found: for alarms there is `redjobs check`.
    With --deep, 1 where something was found that is left as it is.
    """
    policy = SweepPolicy(dead_age_ms=round(dead_age * 1000), dead_max=dead_max)
    target.doubt(queue)
    names = queue or map(whole_of, target.queues(()))  # a queue sweeps its shards
    results = {name: target.queue(name).sweep(policy) for name in dict.fromkeys(names)}
    total = SweepResult()
    for result in results.values():
        total.add(result)
    found = look_deep(target, list(results), policy) if deep else {}
    if json:
        told: dict[str, object] = {name: result.as_dict() for name, result in results.items()}
        more = {"strays": {name: each.as_dict() for name, each in found.items()}} if deep else {}
        say_json({"queues": told, "total": total.as_dict(), **more})
        _raise_if_left(found)
        return
    _tell(total, len(results))
    for name, each in found.items():
        for line in _lines(each):
            say(f"{printable(name)}: {line}")
    if deep:
        nothing = "" if any(map(_is_any, found.values())) else ": nothing is left over"
        say(f"all keys were looked at{nothing}")
    _raise_if_left(found)


def _tell(total: SweepResult, queues: int) -> None:
    recovered = f"recovered {some(total.recovered, 'job')} ({total.crashed:,} had begun)"
    say(
        f"swept {some(queues, 'queue')}: promoted {some(total.promoted, 'job')}, {recovered}"
        f" of {some(total.retired, 'dead worker')}, trimmed {some(total.trimmed, 'old job')}"
    )
    if total.late:
        late = f"{some(total.late, 'worker')} did not extend the lease in time"
        say(f"warning: {late}, and the server answers too slowly to tell who lives; sweep again", err=True)


def look_deep(target: Target, names: list[str], policy: SweepPolicy) -> dict[str, Strays]:
    """What is left over in these queues and their shards; tells people how far it is."""
    found = {}
    for part in dict.fromkeys(part for name in names for part in target.parts(name)):

        def tell(keys: int, part: str = part) -> None:
            if is_terminal(err=True):
                click.echo(f"\r{part}: {keys:,} keys", nl=False, err=True)

        found[part] = strays.look(target.queue(part), policy, tell)
        if is_terminal(err=True):
            click.echo("\r" + " " * 79 + "\r", nl=False, err=True)
    return found


def _is_any(found: Strays) -> bool:
    return bool(found.left or found.workers)


def _lines(found: Strays) -> Iterator[str]:
    """What was found, some of each kind by name."""
    kinds: tuple[tuple[str, Sequence[object]], ...] = (
        ("gave back what unknown workers had", found.workers),
        ("jobs that stand in no place", found.jobs),
        ("ids without a job", found.ids),
        ("priorities whose jobs nobody is told of", found.levels),
        ("unique keys without a job", found.keys),
    )
    for what, which in kinds:
        if which:
            shown = ", ".join(printable(str(each)) for each in which[:_SHOWN])
            more = f" and {len(which) - _SHOWN:,} more" if len(which) > _SHOWN else ""
            yield f"{what}: {shown}{more}"


def _raise_if_left(found: dict[str, Strays]) -> None:
    left = sum(each.left for each in found.values())
    if left:
        raise NotSo(f"{left:,} of these are left as they are")
