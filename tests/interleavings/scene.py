"""Who takes part in a search, and what may happen there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tests.interleavings.calls import Call
from tests.interleavings.world import Budget, World


class Move(NamedTuple):
    """Something that may happen."""

    #: A line for the trace.
    say: str
    #: The call that it begins with, if any: the search makes many at once.
    call: Call | None
    #: Leads to the world behind it. Raises Broken.
    go: Callable[[], World]


@dataclass(frozen=True)
class Scene:
    """A search: every order of what may happen here, up to a number of moves."""

    name: str
    #: Calls that were made before.
    setup: tuple[Call, ...]
    budget: Budget
    #: In the default run; there is time for a few more.
    depth: int
    hands: int = 2
    #: How many jobs a process takes at a time.
    slots: int = 1
    #: How claims end.
    settles: tuple[str, ...] = ("complete",)
    #: Whether a supervisor clears up behind a process that died.
    supervised: bool = True
    #: Whether idle processes block, and nothing ends that but a pop or what they know to be due.
    sleeps: bool = False
    #: Whether the first job kills each process that begins it, until it is quarantined.
    poison: bool = False
    max_crashes: int = 2
    #: Whether a process that is down is replaced, as long as there are lives left.
    respawns: bool = False
    #: How often the call that enqueues a job may be sent, and for when.
    sends: int = 1
    run_at: str = ""
    #: What the processes leave undone, to see that it would be noticed: `tokens`, to remember those of
    #: begin calls whose replies were lost; `retire`, their old name when they take a new one; `ghosts`,
    #: to mind the pops whose replies they never read when they leave.
    omits: frozenset[str] = frozenset()


def say(call: Call) -> str:
    """A call in a trace."""
    verb, *rest = call
    return " ".join([verb, *(_part(part) for part in rest)])


def _part(part: object) -> str:
    if isinstance(part, tuple):
        return ",".join(map(_part, part))
    text = str(part)
    # The ids are long and all alike but for one letter.
    return text[1] if len(text) >= 20 else text or "''"
