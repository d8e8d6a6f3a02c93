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
    #: What becomes of a job in some order or other: else the search has not come far enough.
    reaches: tuple[str, ...] = ()
    #: Calls that are on their way from the start, of a process that is none of the scene's.
    flies: tuple[Call, ...] = ()
    hands: int = 2
    #: How many jobs a process takes at a time.
    slots: int = 1
    #: How claims end.
    settles: tuple[str, ...] = ("complete",)
    #: Whether a supervisor clears up behind a process that died.
    supervised: bool = True
    #: Whether processes that are up never miss a heartbeat: only the dead lose their leases.
    beats: bool = False
    #: Whether processes that find nothing block, and nothing ends that but a pop or what they know to
    #: be due: `soon`, so that calls of others may come between; or `at once`.
    sleeps: str = ""
    #: Whether the first job kills each process that begins it, until it is quarantined.
    poison: bool = False
    #: Whether a process runs what it has begun all at once, so that a supervisor charges all of it.
    threads: bool = False
    max_crashes: int = 2
    #: Whether a suspect does not wait for what runs: it has waited long enough.
    hurries: bool = False
    #: Whether a process that is down is replaced, as long as there are lives left.
    respawns: bool = False
    #: How often the call that enqueues a job may be sent, and for when.
    sends: int = 1
    run_at: str = ""
    #: Whether it may be sent again when the job is over.
    sends_late: bool = False
    #: What the processes leave undone, to see that it would be noticed: `asks`, the server under which
    #: token a stranger was begun; `retire`, their old name when they take a new one; `ghosts`,
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
