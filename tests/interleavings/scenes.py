"""The searches, and the protections that each of them can see missing."""

from __future__ import annotations

from tests.interleavings.calls import A, B, Call
from tests.interleavings.scene import Scene
from tests.interleavings.world import Budget

_WORKERS: tuple[Call, ...] = (("register", "w1"), ("register", "w2"))
_ONE: tuple[Call, ...] = (*_WORKERS, ("enqueue", A, ""))
_TWO: tuple[Call, ...] = (*_ONE, ("enqueue", B, ""))
#: A process that had begun both jobs is dead, and a sweep has charged both.
_CRASH: tuple[Call, ...] = (
    ("take", "w2", 2),
    ("begin", "w2", "t", (A, B)),
    ("retire", "w2", False),
    ("recover", "w2", A, True),
    ("recover", "w2", B, True),
)

SCENES = (
    # Two processes and a job: a reply is lost, a call comes late.
    Scene("lost and late", _ONE, Budget(lost=1, late=1), 9, hands=1, settles=("complete", "retry", "bury")),
    Scene("two processes", _ONE, Budget(late=1, ticks=1, sweeps=1), 7, settles=("complete", "keep")),
    # A process dies; its supervisor and a sweep clear up behind it, at the same time.
    Scene("a death", _ONE, Budget(kills=1, ticks=1, sweeps=1), 8, settles=("complete", "retry")),
    Scene("a death, a call", _ONE, Budget(late=1, kills=1, ticks=1, sweeps=1), 7, hands=1),
    # A lease runs out while the process works on.
    Scene("frozen", _TWO, Budget(ticks=1, sweeps=2), 8, settles=("complete", "retry"), supervised=False),
    Scene("swept", _ONE, Budget(kills=1, ticks=1, sweeps=2), 8, supervised=False),
    Scene("forgotten", _ONE, Budget(ticks=1, sweeps=1, hours=1), 9, hands=1, supervised=False),
    # One that leaves has a pop behind it that the server may serve still.
    Scene("leaving", _WORKERS, Budget(lost=1, late=1, leaves=1, ticks=1, sweeps=1), 7, hands=1),
    # People meddle with jobs on their way, one of which is for later.
    Scene(
        "people",
        (*_WORKERS, ("enqueue", A, ""), ("enqueue", B, "+500")),
        Budget(cancels=1, reschedules=1, ticks=1),
        7,
        slots=2,
        hands=1,
        settles=("complete", "retry", "bury"),
    ),
    Scene(
        "people, late",
        _ONE,
        Budget(cancels=1, ticks=1, sweeps=1),
        9,
        settles=("complete",),
        supervised=False,
    ),
    Scene("sent again", _WORKERS, Budget(lost=1), 8, hands=1, sends=2),
    # A job that kills each process which begins it, and its neighbour.
    Scene("poison", _TWO, Budget(), 22, slots=2, hands=1, poison=True, respawns=True),
    Scene("poison, and another", _TWO, Budget(lives=1), 11, slots=2, poison=True, respawns=True),
    Scene(
        "poison, swept",
        (*_TWO, *_CRASH),
        Budget(ticks=1, sweeps=1, lives=1),
        15,
        hands=1,
        slots=2,
        poison=True,
        respawns=True,
        supervised=False,
    ),
    # Both processes sleep; nothing but a bell or what they know to be due wakes them.
    Scene("asleep", _WORKERS, Budget(ticks=1), 9, sleeps=True, settles=("complete", "retry")),
    Scene("asleep, later", _WORKERS, Budget(ticks=1, reschedules=1), 7, sleeps=True, run_at="+500"),
    Scene(
        "asleep, a death",
        (*_WORKERS, ("enqueue", B, "")),
        Budget(kills=1),
        9,
        settles=("complete", "retry"),
        sleeps=True,
    ),
    Scene(
        "everything",
        _TWO,
        Budget(lost=1, late=1, kills=1, ticks=1, sweeps=1, cancels=1, reschedules=1, mistakes=1),
        4,
        slots=2,
        settles=("complete", "keep", "retry", "bury"),
    ),
)


def scene(name: str) -> Scene:
    """The scene of this name."""
    return next(scene for scene in SCENES if scene.name == name)
