"""What may happen next in a world, and what must hold in each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from tests.interleavings.calls import KEYS, LEASE_MS, A, Call
from tests.interleavings.process import Processes
from tests.interleavings.rules import JOBS, Broken, Fact
from tests.interleavings.scene import Move, Scene, say
from tests.interleavings.world import Ghost, Hand, Server, World

_CLOCK = 10
_SWEEP: tuple[Call, ...] = (("sweep",),)
_BOTH: Call = ("enqueue both",)


class Moves:
    """The moves in a scene."""

    def __init__(self, server: Server, scene: Scene) -> None:
        self.server = server
        self._scene = scene
        self._processes = Processes(server, scene)

    def start(self) -> World:
        """The world before the first move."""
        hands = tuple(Hand(number) for number in range(self._scene.hands))
        empty = self.server.store.empty(_CLOCK)
        ghost = Ghost(sends=self._scene.sends)
        # Nobody sends the third job but a call that is on its way from the start.
        ghosts = (ghost, ghost, Ghost(sends=0))
        world = World(empty, _CLOCK, hands, ghosts, (), (), self._scene.budget)
        for call in self._scene.setup:
            world, _ = self.server.perform(world, call)
        jobs = tuple(ghost._replace(sends=0) if ghost.stored else ghost for ghost in world.jobs)
        for call in self._scene.flies:
            world = world.fly(call)
        return world._replace(jobs=jobs)

    def of(self, world: World) -> Iterator[Move]:
        """Everything that may happen next."""
        sleepers = [hand for hand in world.hands if hand.up and hand.sleeps_until is not None]
        if sleepers and self.server.store.value(world.data, KEYS.ready):
            # The server serves blocked clients before it reads the next call.
            for hand in sleepers:
                yield from self._processes.served(world, hand)
            return
        for hand in world.hands:
            if hand.up:
                yield from self._processes.of(world, hand)
            else:
                yield from self._processes.down(world, hand)
        for call in dict.fromkeys(world.flying):
            yield Move(f"late: {say(call)}", call, partial(self._perform, world.land(call), call))
        for chore in dict.fromkeys(world.chores):
            yield Move(f"then: {say(chore[0])}", chore[0], partial(self._chore, world, chore))
        yield from self._of_people(world)
        yield from self._of_sweeps(world)
        yield from self._of_time(world)

    def _perform(self, world: World, call: Call) -> World:
        return self.server.perform(world, call)[0]

    # Sweeps and supervisors ------------------------------------------------------------------

    def _of_sweeps(self, world: World) -> Iterator[Move]:
        if world.left.sweeps:
            swept = world.spend("sweeps").chore(_SWEEP)
            yield Move("a sweep begins", _SWEEP[0], partial(self._chore, swept, _SWEEP))
        if world.left.mistakes:
            for job, fact in zip(JOBS, self.server.rules.facts(world.data), strict=True):
                if fact.owner:
                    call = ("recover", fact.owner, job, True)
                    yield self._meddle(world, "mistakes", call)

    def _chore(self, world: World, chore: tuple[Call, ...]) -> World:
        call, *rest = chore
        world, reply = self.server.perform(world.done(chore), call)
        rest = [*self._then(world, call, reply), *rest]
        return world.chore(tuple(rest)) if rest else world

    def _then(self, world: World, call: Call, reply: Any) -> list[Call]:
        """What follows from a chore's reply."""
        if call[0] == "sweep":
            return [("stranded", worker, 10**9) for worker in reply.retired]
        if call[0] == "stranded":
            return [("recover", call[1], job, True) for job in reversed(reply[0])]
        if call[0] == "listed":
            return self._processes.salvage(world, call[1], reply)
        return []

    # People and time -------------------------------------------------------------------------

    def _of_people(self, world: World) -> Iterator[Move]:
        for position, (job, ghost) in enumerate(zip(JOBS, world.jobs, strict=True)):
            if ghost.sends and (self._scene.sends_late or not ghost.fate):
                yield from self._enqueue(world, position)
            if self._scene.sleeps and job == A and all(ghost.sends for ghost in world.jobs[:2]):
                both = world.sends(0, 0).sends(1, 0)
                yield Move("enqueue both", _BOTH, partial(self._perform, both, _BOTH))
            if ghost.stored and world.left.requeues:
                yield self._meddle(world, "requeues", ("requeue", job))
            if ghost.stored and world.left.deletes:
                yield self._meddle(world, "deletes", ("delete", job))
            if ghost.stored and world.left.cancels:
                yield self._meddle(world, "cancels", ("cancel", job))
            if ghost.stored and world.left.reschedules:
                yield self._meddle(world, "reschedules", ("reschedule", job, "+500"))
                yield self._meddle(world, "reschedules", ("reschedule", job, ""))

    def _meddle(self, world: World, what: str, call: Call) -> Move:
        return Move(say(call), call, partial(self._perform, world.spend(what), call))

    def _enqueue(self, world: World, position: int) -> Iterator[Move]:
        """Sent until there is a reply; the second call may come when the first one's job is over."""
        call, sends = ("enqueue", JOBS[position], self._scene.run_at), world.jobs[position].sends
        told, untold = world.sends(position, 0), world.sends(position, sends - 1)
        yield Move(say(call), call, partial(self._perform, told, call))
        if world.left.lost and sends > 1:
            lost = untold.spend("lost")
            yield Move(f"{say(call)}: its reply is lost", call, partial(self._perform, lost, call))
        if world.left.late and sends > 1:
            late = untold.spend("late").fly(call)
            yield Move(f"{say(call)}: given up, and on its way still", None, lambda: late)

    def _of_time(self, world: World) -> Iterator[Move]:
        if world.left.ticks:
            yield Move("time passes: leases end, what is scheduled is due", None, partial(self._tick, world))
        leases = dict(self.server.store.value(world.data, KEYS.workers))
        for hand in world.hands:
            beat = ("beat", hand.name)
            if hand.up and int(leases.get(hand.name, 0)) < world.clock * 1000 + LEASE_MS:
                yield Move(say(beat), beat, partial(self._perform, world, beat))
        if world.left.hours and not world.flying and not world.chores:
            for worker in sorted(self.server.rules.known(world.data)[1]):
                forget = ("stranded", worker, -1)
                after = partial(self._perform, world.spend("hours"), forget)
                yield Move(f"{worker} was retired an hour ago", forget, after)

    def _tick(self, world: World) -> World:
        clock = world.clock + 1
        data = self.server.store.at(world.data, clock)
        world = world.spend("ticks")._replace(data=data, clock=clock)
        for hand in world.hands if self._scene.beats else ():
            if hand.up:
                world = self._perform(world, ("beat", hand.name))
        return world

    # What must hold --------------------------------------------------------------------------

    def check(self, world: World) -> None:
        """What must hold in a world beyond what holds on its server. Raises Broken."""
        for job, fact in zip(JOBS, self.server.rules.facts(world.data), strict=True):
            if fact.owner and not world.flying and self._is_stuck(world, job, fact):
                raise Broken(f"{job[1]} stays in the list of {fact.owner} for ever")
        if self._scene.sleeps:
            self._check_sleep(world)
        if self._scene.poison and world.jobs[1].fate == "dead":
            raise Broken("a job is quarantined for what its neighbour did")

    def _is_stuck(self, world: World, job: str, fact: Fact) -> bool:
        """Whether nobody will ever move a job out of the list where it stands."""
        leased, retired = self.server.rules.known(world.data)
        if fact.owner in retired:
            return False
        owner = next((hand for hand in world.hands if hand.up and hand.name == fact.owner), None)
        if owner is None:
            # A lease that nobody extends runs out, and a sweep takes it from there.
            return fact.owner not in leased and not _is_looked_after(world, fact.owner)
        if not fact.token or "asks" not in self._scene.omits:
            return False
        return (job, fact.token) not in {(begun.job, begun.token) for begun in owner.begun}

    def _check_sleep(self, world: World) -> None:
        """Nobody sleeps beside work that nobody who is awake will come to."""
        up = [hand for hand in world.hands if hand.up]
        asleep = [hand.sleeps_until for hand in up if hand.sleeps_until is not None]
        if not asleep or world.chores or self.server.store.value(world.data, KEYS.ready):
            return
        work = self.server.rules.work_to_wake_for(world.data)
        if len(asleep) == len(up) and work < min(asleep):
            raise Broken("all processes sleep, and none knows of the job that waits")
        busy = [hand for hand in up if hand.holds == self._scene.slots]
        if self._scene.sleeps == "at once" and len(asleep) + len(busy) == len(up) and work < min(asleep):
            raise Broken("a process sleeps, and the job that waits is left to those that are busy")


def _is_looked_after(world: World, worker: str) -> bool:
    """Whether somebody is about to retire this worker."""
    wanted = (("retire", worker), ("listed", worker))
    return any(call[:2] in wanted for chore in world.chores for call in chore)
