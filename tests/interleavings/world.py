"""A state of the whole world: the server, two worker processes, what is on the wire, what people know.

Worlds are plain values: two that are equal have the same future, whatever led there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.interleavings.calls import FATES, NAMES, Call
from tests.interleavings.rules import JOBS, Broken, Fact, Rules
from tests.interleavings.store import Step, Store


class Begun(NamedTuple):
    """A claim as a process knows it."""

    job: str
    worker: str
    token: str
    #: How it was settled in a call whose reply was lost: it is said again, and nothing else.
    said: str = ""
    #: One crash more is one too many: nothing is taken or begun beside it.
    suspect: bool = False


class Hand(NamedTuple):
    """One worker process: what it knows, which need not be what the server knows."""

    number: int
    #: How often it began anew under another name.
    life: int = 0
    up: bool = True
    #: Taken and not begun.
    taken: tuple[str, ...] = ()
    #: Were there in a crash, and are begun when nothing else runs.
    suspects: tuple[str, ...] = ()
    begun: tuple[Begun, ...] = ()
    #: How many begin calls it has made: each has a token of its own.
    begins: int = 0
    #: The connection was lost: it looks at its list before anything else.
    lost: bool = False
    #: What it found there and gives back, and under which token the first of these was begun.
    gives: tuple[str, ...] = ()
    asked: str | None = None
    #: Whether a pop's reply was never read: the server may serve that pop still.
    ghosts: bool = False
    #: Blocks in a pop, and knows of something that is due then (ms; inf: of nothing); None: awake.
    sleeps_until: float | None = None
    #: It has just taken, and there was nothing; the same for who is awake still.
    saw: float | None = None

    @property
    def name(self) -> str:
        """The incarnation's name."""
        return NAMES[self.number][self.life]

    @property
    def holds(self) -> int:
        """How many jobs it knows that it has."""
        return len(self.taken) + len(self.suspects) + len(self.begun)

    @property
    def solo(self) -> bool:
        """Whether a suspect runs."""
        return any(begun.suspect for begun in self.begun)

    @property
    def known(self) -> set[str]:
        """Those jobs."""
        return {*self.taken, *self.suspects, *(begun.job for begun in self.begun)}


class Ghost(NamedTuple):
    """What is true of a job, seen from outside."""

    #: The server has stored it, whether or not anybody heard so.
    stored: bool = False
    #: completed, dead, cancelled or deleted; '' as long as it lives.
    fate: str = ""
    #: Somebody has asked that it be stopped, since it last began to live.
    unwanted: bool = False
    #: Failed attempts that the server has accepted.
    retries: int = 0
    #: How often its enqueue may still be sent.
    sends: int = 1


class Budget(NamedTuple):
    """How much may still go wrong, and how often people may meddle."""

    lost: int = 0
    late: int = 0
    kills: int = 0
    ticks: int = 0
    hours: int = 0
    sweeps: int = 0
    cancels: int = 0
    reschedules: int = 0
    requeues: int = 0
    deletes: int = 0
    #: Recoveries of workers that are not retired: by a sweep that is mistaken.
    mistakes: int = 0
    leaves: int = 0
    lives: int = 2


class World(NamedTuple):
    """Everything."""

    data: int
    clock: int
    hands: tuple[Hand, ...]
    jobs: tuple[Ghost, ...]
    #: Calls that will still reach the server; nobody waits for their replies.
    flying: tuple[Call, ...]
    #: What sweeps and supervisors are about to do, each a line of calls.
    chores: tuple[tuple[Call, ...], ...]
    left: Budget

    def hand(self, hand: Hand) -> World:
        """The same world with another state of this process."""
        hands = tuple(hand if each.number == hand.number else each for each in self.hands)
        return self._replace(hands=hands)

    def spend(self, what: str) -> World:
        """One less of this in the budget."""
        return self._replace(left=self.left._replace(**{what: getattr(self.left, what) - 1}))

    def fly(self, call: Call) -> World:
        """One call more that is on its way."""
        return self._replace(flying=tuple(sorted((*self.flying, call), key=repr)))

    def land(self, call: Call) -> World:
        """This call is no longer on its way."""
        flying = list(self.flying)
        flying.remove(call)
        return self._replace(flying=tuple(flying))

    def chore(self, calls: tuple[Call, ...]) -> World:
        """Somebody is about to make these calls, one after the other."""
        return self._replace(chores=tuple(sorted((*self.chores, calls), key=repr)))

    def done(self, calls: tuple[Call, ...]) -> World:
        """Nobody is about to make these calls any more."""
        chores = list(self.chores)
        chores.remove(calls)
        return self._replace(chores=tuple(chores))

    def sends(self, position: int, sends: int) -> World:
        """How often a job's enqueue may still be sent."""
        jobs = list(self.jobs)
        jobs[position] = jobs[position]._replace(sends=sends)
        return self._replace(jobs=tuple(jobs))


class Server:
    """Runs calls in worlds, and checks what they did."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.rules = Rules(store)

    def perform(self, world: World, call: Call) -> tuple[World, Any]:
        """The world after this call, and the reply. Raises Broken."""
        step = self.store.run(world.data, call)
        if step.after == world.data and not step.counted:
            return world, step.reply
        self.rules.check_call(world.data, call, step.after, tuple(sorted(step.counted.items())))
        self.rules.check_state(step.after)
        jobs = tuple(self._ghost(ghost, job, call, step) for ghost, job in zip(world.jobs, JOBS, strict=True))
        return world._replace(data=step.after, jobs=jobs), step.reply

    def _ghost(self, ghost: Ghost, job: str, call: Call, step: Step) -> Ghost:
        verb, mine = call[0], job in call
        fact = self.rules.facts(step.after)[JOBS.index(job)]
        if not ghost.stored and fact.place:
            ghost = ghost._replace(stored=True)
        if mine and step.reply == "scheduled" and verb == "retry":
            ghost = self._planned(ghost, job, fact)
        elif mine and verb in FATES and step.reply in ([], "dead", "discarded"):
            ghost = self._sealed(ghost, call, job, step.reply)
        elif mine and verb in ("cancel", "requeue", "delete"):
            ghost = self._meddled(ghost, call, step.reply, fact)
        self._check_job(ghost, job, fact.place)
        attempt = ghost.retries + bool(fact.token)
        if not ghost.fate and fact.attempt != attempt:
            raise Broken(f"{job[1]} is at attempt {fact.attempt}, and had {attempt}")
        return ghost

    @staticmethod
    def _planned(ghost: Ghost, job: str, fact: Fact) -> Ghost:
        """A job that failed and is to be run again."""
        if ghost.unwanted:
            raise Broken(f"{job[1]} is planned again, and somebody has asked that it be stopped")
        if fact.crashes:
            raise Broken(f"{job[1]} has ended its attempt, and its crashes are not forgotten")
        return ghost._replace(retries=ghost.retries + 1)

    @staticmethod
    def _sealed(ghost: Ghost, call: Call, job: str, reply: Any) -> Ghost:
        if reply == "discarded" and not ghost.unwanted:
            raise Broken(f"{job[1]} is stopped, and nobody has asked for that in this life")
        if reply == "dead" and ghost.unwanted:
            raise Broken(f"{job[1]} is dead, and somebody has asked that it be stopped")
        return ghost._replace(fate="cancelled" if reply == "discarded" else FATES[call[0]])

    @staticmethod
    def _meddled(ghost: Ghost, call: Call, reply: Any, fact: Fact) -> Ghost:
        """A job that people have cancelled, requeued or deleted, or tried to."""
        verb, job = call
        if verb == "delete":
            return ghost._replace(fate="deleted") if reply else ghost
        if reply[0] == "ready":
            if fact.attempt or fact.crashes:
                raise Broken(f"{job[1]} has another life, and its old attempts or crashes")
            return ghost._replace(fate="", retries=0, unwanted=False)
        if verb == "cancel" and reply[0] == "cancelled":
            return ghost._replace(fate="cancelled")
        return ghost._replace(unwanted=ghost.unwanted or (verb == "cancel" and reply[0] == "processing"))

    @staticmethod
    def _check_job(ghost: Ghost, job: str, place: str) -> None:
        if ghost.fate and place not in ("", ghost.fate):
            raise Broken(f"{job[1]} is {ghost.fate}, and stands in {place} again")
        if ghost.stored and not ghost.fate and not place:
            raise Broken(f"{job[1]} is lost")
        if ghost.fate == "dead" and place != "dead":
            raise Broken(f"{job[1]} is dead, and is not among the dead")
