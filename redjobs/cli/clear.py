"""`redjobs clear`"""

from __future__ import annotations

from collections import Counter
from itertools import chain

import click

from redjobs import bulk
from redjobs.cli.common import Target, as_json, confirm, connected
from redjobs.cli.text import say, say_json, some, with_progress
from redjobs.jobs import State

#: In this order: what is promoted meanwhile is met again. A job that runs is never touched.
_STATES = (State.SCHEDULED, State.READY, State.DEAD, State.COMPLETED)


@click.command("clear")
@click.argument("queue")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in _STATES]),
    help="Only the jobs of this state; may be repeated.",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@as_json
@connected
def command(target: Target, /, queue: str, states: tuple[str, ...], yes: bool, json: bool) -> None:
    """Remove the jobs of a queue.

    All that do not run, or those of the states that are named. Jobs that run are left alone: they
    end, and may be cancelled one by one. There is no way back, so it asks; --yes says it at once.

    \b
      redjobs clear default
      redjobs clear default --state dead --state completed --yes
    """
    chosen = [state for state in _STATES if not states or state.value in states]
    target.doubt([queue])
    parts = target.parts(queue)
    counted = {
        state: sum(target.inspector.jobs(part, state, limit=1).total for part in parts) for state in chosen
    }
    if any(counted.values()):
        listed = ", ".join(f"{number:,} {state}" for state, number in counted.items() if number)
        confirm(f"Remove {listed} of queue {queue}?", yes)
    removed: Counter[State] = Counter(dict.fromkeys(chosen, 0))
    try:
        removals = (
            bulk.clear(target.inspector, target.queue(part), state, removed)
            for state in chosen
            for part in (parts if counted[state] else ())
        )
        with_progress(chain.from_iterable(removals), sum(counted.values()), "removing")
    finally:  # what raises, as Ctrl-C does, takes nothing back of what was done before
        _say_removed(queue, removed, json)


def _say_removed(queue: str, removed: Counter[State], json: bool) -> None:
    if json:
        say_json({"queue": queue, "removed": {state.value: number for state, number in removed.items()}})
        return
    details = ", ".join(f"{number:,} {state}" for state, number in removed.items() if number)
    say(f"removed {some(removed.total(), 'job')} of queue {queue}" + (f": {details}" if details else ""))
