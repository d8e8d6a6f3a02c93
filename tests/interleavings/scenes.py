"""The searches: each is every order of a few things that may happen at once."""

from __future__ import annotations

from dataclasses import replace

from tests.interleavings.calls import A, B, C, Call
from tests.interleavings.scene import Scene
from tests.interleavings.world import Budget

_WORKERS: tuple[Call, ...] = (("register", "w1"), ("register", "w2"))
_ONE: tuple[Call, ...] = (*_WORKERS, ("enqueue", A, ""))
_TWO: tuple[Call, ...] = (*_ONE, ("enqueue", B, ""))
#: A process that had begun both jobs is dead, and a sweep has charged both.
_CRASH: tuple[Call, ...] = (
    *_TWO,
    ("take", "w2", 2),
    ("begin", "w2", "t", (A, B), 0),
    ("retire", "w2", False),
    ("recover", "w2", A, True),
    ("recover", "w2", B, True),
)
#: The second job was in a crash, the first one was not.
_SUSPECT: tuple[Call, ...] = (
    *_WORKERS,
    ("enqueue", B, ""),
    ("take", "w2", 1),
    ("begin", "w2", "t", (B,), 0),
    ("retire", "w2", False),
    ("recover", "w2", B, True),
    ("enqueue", A, ""),
)
#: A process that had taken a job is dead and retired.
_STRANDED: tuple[Call, ...] = (
    *_WORKERS,
    ("enqueue", B, ""),
    ("take", "w2", 1),
    ("retire", "w2", False),
)
#: A process has begun the first job, and works on it.
_ELSEWHERE: tuple[Call, ...] = (*_ONE, ("take", "w2", 1), ("begin", "w2", "t", (A,), 0))
#: The same, and the job was in a crash of that process before.
_AGAIN: tuple[Call, ...] = (
    *_ELSEWHERE,
    ("retire", "w2", False),
    ("recover", "w2", A, True),
    ("register", "w2x"),
    ("take", "w2x", 1),
    ("begin", "w2x", "t", (A,), 0),
)
#: The first job is dead, the second one too.
_DEAD: tuple[Call, ...] = (
    *_TWO,
    ("take", "w2", 2),
    ("begin", "w2", "t", (A, B), 0),
    ("bury", "w2", "t", A),
    ("bury", "w2", "t", B),
)
_SUSPECTS = Scene(
    "suspects, swept",
    _CRASH,
    Budget(ticks=1, sweeps=1, lives=1),
    15,
    hands=1,
    slots=2,
    supervised=False,
    beats=True,
    poison=True,
    respawns=True,
    reaches=("completed", "dead"),
)
_POISON = Scene(
    "poison",
    _TWO,
    Budget(),
    22,
    hands=1,
    slots=2,
    poison=True,
    respawns=True,
    reaches=("completed", "dead"),
)
_SENT_AGAIN = Scene("sent again", _WORKERS, Budget(lost=1), 8, hands=1, sends=2)

SCENES = (
    # A reply is lost, and a call comes late.
    Scene(
        "lost and late",
        _ONE,
        Budget(lost=1, late=1),
        9,
        hands=1,
        settles=("complete", "retry", "bury"),
        reaches=("completed", "dead"),
    ),
    Scene("two processes", _ONE, Budget(late=1, ticks=1, sweeps=1), 6, settles=("complete", "keep")),
    # A process dies; its supervisor and a sweep clear up behind it, at the same time.
    Scene("a death", _ONE, Budget(kills=1, ticks=1, sweeps=1), 7, settles=("complete", "retry")),
    Scene("a death, a call", _ONE, Budget(late=1, kills=1, ticks=1, sweeps=1), 7, hands=1),
    Scene("swept", _ONE, Budget(kills=1, ticks=1, sweeps=2), 6, supervised=False),
    # A lease runs out while its process works on, or sleeps for more than an hour.
    Scene("frozen", _TWO, Budget(ticks=1, sweeps=2), 7, settles=("complete", "retry"), supervised=False),
    Scene("frozen, a pop", _ONE, Budget(late=1, kills=1, ticks=2, sweeps=1), 7, hands=1, supervised=False),
    Scene("forgotten", _ONE, Budget(ticks=1, sweeps=1, hours=1), 9, hands=1, supervised=False),
    # One that leaves has a pop behind it that the server may serve still.
    Scene("leaving", _WORKERS, Budget(lost=1, late=1, leaves=1, ticks=1, sweeps=1), 7, hands=1),
    # People meddle with jobs on their way, one of which is for later.
    Scene(
        "people",
        (*_WORKERS, ("enqueue", A, ""), ("enqueue", B, "+500")),
        Budget(cancels=1, reschedules=1, ticks=1),
        6,
        hands=1,
        slots=2,
        settles=("complete", "retry", "bury"),
    ),
    Scene(
        "cancelled",
        _ONE,
        Budget(late=1, cancels=1, ticks=1, sweeps=1),
        6,
        settles=("complete", "retry", "bury"),
        supervised=False,
        reaches=("completed", "cancelled"),
    ),
    _SENT_AGAIN,
    # People give the dead another life, or forget them, while the job dies, or lives again.
    Scene(
        "requeued",
        _ONE,
        Budget(requeues=2, late=1),
        9,
        hands=1,
        settles=("complete", "retry", "bury"),
        reaches=("completed", "dead"),
    ),
    Scene(
        "deleted",
        _DEAD,
        Budget(requeues=1, deletes=2),
        7,
        settles=("complete", "bury"),
        reaches=("completed", "deleted"),
    ),
    # Another job wants the first one's unique key, and may have it in time.
    Scene(
        "a rival",
        _ONE,
        Budget(requeues=1, cancels=1, late=1),
        7,
        hands=1,
        settles=("complete", "keep", "bury"),
        flies=(("enqueue", C, ""),),
        reaches=("completed", "dead", "cancelled"),
    ),
    Scene(
        "requeued, cancelled",
        _ELSEWHERE,
        Budget(requeues=1, deletes=1, cancels=1, ticks=1, sweeps=1),
        8,
        hands=1,
        supervised=False,
        flies=(("bury", "w2", "t", A),),
        reaches=("completed", "cancelled", "deleted"),
    ),
    # A job that kills each process which begins it, and its neighbour.
    _POISON,
    replace(_POISON, name="poison, once is too often", depth=14, max_crashes=1),
    _SUSPECTS,
    Scene("poison, two processes", _TWO, Budget(lives=1), 11, slots=2, poison=True, respawns=True),
    # The same, and people cancel it, and a sweep comes by.
    Scene(
        "poison, cancelled, swept",
        _TWO,
        Budget(cancels=1, ticks=2, sweeps=2, lives=2),
        12,
        hands=1,
        slots=2,
        supervised=False,
        beats=True,
        poison=True,
        respawns=True,
        reaches=("completed", "cancelled"),
    ),
    Scene(
        "poison, cancelled, two processes",
        _TWO,
        Budget(cancels=1, ticks=1, sweeps=1, lives=1),
        8,
        poison=True,
        respawns=True,
    ),
    # Both processes sleep; nothing but a bell or what they know to be due wakes them.
    Scene(
        "asleep",
        _WORKERS,
        Budget(ticks=1),
        8,
        sleeps="soon",
        settles=("complete", "retry"),
        reaches=("completed",),
    ),
    Scene("asleep, later", _WORKERS, Budget(ticks=1, reschedules=1), 6, sleeps="soon", run_at="+500"),
    Scene("asleep, recovered", _STRANDED, Budget(sweeps=1), 9, hands=1, sleeps="soon"),
    Scene("asleep, others busy", _WORKERS, Budget(), 12, sleeps="at once"),
    Scene("asleep, others busy, later", _WORKERS, Budget(ticks=1), 9, sleeps="at once", run_at="+500"),
    Scene("asleep, requeued", _DEAD, Budget(requeues=2), 9, hands=1, sleeps="soon"),
    Scene(
        "asleep, given back",
        (*_WORKERS, ("enqueue", B, ""), ("take", "w2", 1)),
        Budget(ticks=1),
        9,
        hands=1,
        sleeps="soon",
        flies=(("release", "w2", "", B),),
    ),
    Scene(
        "asleep, retried elsewhere",
        _AGAIN,
        Budget(ticks=1),
        9,
        hands=1,
        sleeps="soon",
        flies=(("retry", "w2x", "t", A),),
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

#: What does not hold, and why it is left so; the searches find it each time.
KNOWN = (
    (
        replace(_SENT_AGAIN, sends_late=True),
        "A is completed, and stands in ready again",
        "an enqueue whose reply was lost and that is sent again when its job is over makes it anew",
    ),
    (
        replace(_SUSPECTS, setup=_SUSPECT, hurries=True),
        "a job is quarantined for what its neighbour did",
        "a suspect that has waited for long is begun beside what its worker has begun before",
    ),
)


def scene(name: str) -> Scene:
    """The scene of this name."""
    return next(scene for scene in SCENES if scene.name == name)
