"""The moves of worker processes: what redjobs/worker/loop.py and salvage.py do, call by call.

What the loop sends in one round trip are single moves here, so that the calls of others come
between them, too. Of each call the reply may be read, or lost, or the call itself may arrive
long after its sender has given it up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from redjobs.keys import BELL
from tests.interleavings.calls import KEYS, NAMES, A, Call
from tests.interleavings.scene import Move, Scene, say
from tests.interleavings.world import Begun, Hand, Server, World

#: What a process makes of a reply.
Read = Callable[[World, Hand, Any], World]


class Processes:
    """What each process may do next."""

    def __init__(self, server: Server, scene: Scene) -> None:
        self._server = server
        self._scene = scene

    def of(self, world: World, hand: Hand) -> Iterator[Move]:
        """The moves of a process that is up."""
        if self.is_poisoned(hand) or (world.left.kills and not self._has_the_bell(world, hand)):
            yield Move(f"{hand.name} is killed", None, partial(self._kill, world, hand))
        if hand.gives:
            yield from self._gives(world, hand._replace(gives=hand.gives[1:]), hand.gives[0])
        elif hand.lost:
            yield from self._send(world, hand, ("listed", hand.name), self._listed)
        elif hand.sleeps_until is not None:
            yield from self._asleep(world, hand)
        else:
            yield from self._awake(world, hand)

    def is_poisoned(self, hand: Hand) -> bool:
        """Whether it runs the job that kills it."""
        return self._scene.poison and any(each.job == A and not each.said for each in hand.begun)

    def served(self, world: World, hand: Hand) -> Iterator[Move]:
        """The blocked pop of a process that sleeps gets what has come."""
        yield from self._send(world, hand._replace(sleeps_until=None), ("pop", hand.name), self._popped)

    @staticmethod
    def _asleep(world: World, hand: Hand) -> Iterator[Move]:
        if world.clock * 1000 >= (hand.sleeps_until or 0.0):
            awake = hand._replace(sleeps_until=None)
            yield Move(f"{hand.name} wakes in time", None, partial(world.hand, awake))

    def _awake(self, world: World, hand: Hand) -> Iterator[Move]:
        name = hand.name
        yield from self._begins(world, hand)
        yield from self._settles(world, hand)
        for job in (*hand.taken, *hand.suspects) if hand.solo else hand.taken:
            taken, suspects = (
                tuple(each for each in ids if each != job) for ids in (hand.taken, hand.suspects)
            )
            given = hand._replace(taken=taken, suspects=suspects)
            yield from self._send(world, given, ("release", name, "", job), _nothing)
        yield from self._takes(world, hand)
        if self._has_strangers(world, hand):
            yield from self._send(world, hand, ("listed", name), self._listed)
        if self._scene.sleeps and hand.saw is not None:
            sleeper = hand._replace(sleeps_until=hand.saw, saw=None)
            yield Move(f"{name} sleeps", None, partial(world.hand, sleeper))
        if world.left.leaves and not hand.holds:
            clean = "ghosts" in self._scene.omits or not hand.ghosts
            leaver = hand._replace(up=False)
            yield from self._send(world.spend("leaves"), leaver, ("retire", name, clean), _nothing)

    def _takes(self, world: World, hand: Hand) -> Iterator[Move]:
        free = self._scene.slots - hand.holds
        if free > 0 and not hand.suspects and not hand.solo:
            taker = hand._replace(saw=None)
            yield from self._send(world, taker, ("take", hand.name, free), self._took)
            if self._server.store.value(world.data, KEYS.ready):
                yield from self._send(world, taker, ("pop", hand.name), self._popped)

    def _begins(self, world: World, hand: Hand) -> Iterator[Move]:
        if hand.solo:
            return
        ids, alone = hand.taken, not hand.begun
        if ids:
            alone = alone and len(ids) == 1
        elif hand.suspects and (alone or self._scene.hurries):
            ids, alone = hand.suspects[:1], True
        if ids:
            token = f"t{hand.number + 1}{hand.begins}"
            beginner = hand._replace(
                taken=(),
                suspects=tuple(job for job in hand.suspects if job not in ids),
                begins=hand.begins + 1,
            )
            solo = 0 if alone else self._scene.max_crashes - 1
            yield from self._send(world, beginner, ("begin", hand.name, token, ids, solo), self._began)

    def _settles(self, world: World, hand: Hand) -> Iterator[Move]:
        for begun in hand.begun:
            if self._scene.poison and begun.job == A and not begun.said:
                continue
            others = tuple(each for each in hand.begun if each is not begun)
            for verb in self._verbs(world, begun):
                call = (verb, begun.worker, begun.token, begun.job)
                unread = hand._replace(begun=(*others, begun._replace(said=verb)))
                yield from self._send(world, hand._replace(begun=others), call, _nothing, unread)

    def _verbs(self, world: World, begun: Begun) -> tuple[str, ...]:
        if begun.said:
            return (begun.said,)
        cancels = self._server.store.value(world.data, KEYS.cancels)
        # It asks for wishes now and then: its job may end in another way before it has heard of one.
        asked = any(job == begun.job for job, _ in cancels)
        return ("discard", *self._scene.settles) if asked else self._scene.settles

    # Calls and their replies -----------------------------------------------------------------

    def _send(
        self, world: World, hand: Hand, call: Call, read: Read, unread: Hand | None = None
    ) -> Iterator[Move]:
        """A process makes a call; `unread` is the one that does not know what became of it."""
        cut = (unread or hand)._replace(
            lost=True, asked=None, sleeps_until=None, ghosts=hand.ghosts or call[0] == "pop"
        )
        yield Move(say(call), call, partial(self._reply, world, hand, call, read))
        if world.left.lost:
            yield Move(f"{say(call)}: its reply is lost", call, partial(self._lose, world, cut, call))
        if world.left.late:
            after = world.spend("late").fly(call).hand(cut)
            yield Move(f"{say(call)}: given up, and on its way still", None, lambda: after)

    def _reply(self, world: World, hand: Hand, call: Call, read: Read) -> World:
        after, reply = self._server.perform(world, call)
        return read(after, hand, reply)

    def _lose(self, world: World, cut: Hand, call: Call) -> World:
        after, _ = self._server.perform(world.spend("lost"), call)
        return after.hand(cut)

    def _took(self, world: World, hand: Hand, reply: Any) -> World:
        if reply.lapsed:
            return self._renew(world, hand)
        due = float("inf") if reply.next_ms is None else world.clock * 1000.0 + reply.next_ms
        saw = None if reply.ids or reply.more or hand.holds else due
        if saw is not None and self._scene.sleeps == "at once":
            return world.hand(hand._replace(sleeps_until=saw))
        return world.hand(hand._replace(taken=(*hand.taken, *reply.ids), saw=saw))

    @staticmethod
    def _popped(world: World, hand: Hand, reply: Any) -> World:
        ids = () if reply in (None, BELL) else (reply,)
        return world.hand(hand._replace(taken=(*hand.taken, *ids)))

    def _began(self, world: World, hand: Hand, reply: Any) -> World:
        if reply.lapsed:
            return self._renew(world, hand)
        most = self._scene.max_crashes
        new = (
            Begun(
                claim.id,
                claim.worker,
                claim.token,
                "bury" if claim.crashes >= most else "",
                0 < most - 1 <= claim.crashes,
            )
            for claim in reply.claims
        )
        suspects = (*hand.suspects, *reply.wait)
        return world.hand(hand._replace(begun=(*hand.begun, *new), suspects=suspects))

    def _listed(self, world: World, hand: Hand, reply: list[str]) -> World:
        strange = tuple(job for job in reversed(reply) if job not in hand.known)
        return world.hand(hand._replace(lost=False, gives=strange))

    def _gives(self, world: World, hand: Hand, job: str) -> Iterator[Move]:
        """A stranger goes back: under the token that the server knows, if a call of its own began it."""
        if "asks" in self._scene.omits:
            yield from self._send(world, hand, ("release", hand.name, "", job), _nothing)
        elif hand.asked is None:
            yield from self._send(world, hand, ("fields", job), partial(self._asked, job))
        else:
            release = ("release", hand.name, hand.asked, job)
            yield from self._send(world, hand._replace(asked=None), release, _nothing)

    @staticmethod
    def _asked(job: str, world: World, hand: Hand, reply: dict[bytes, bytes]) -> World:
        is_ours = reply.get(b"worker") == hand.name.encode()
        token = reply.get(b"token", b"").decode() if is_ours else ""
        return world.hand(hand._replace(gives=(job, *hand.gives), asked=token))

    def _renew(self, world: World, hand: Hand) -> World:
        """The lease is lost: it begins anew under another name."""
        if not self._may_renew(world, hand):
            return world.hand(hand._replace(up=False))
        if "retire" not in self._scene.omits:
            world, _ = self._server.perform(world, ("retire", hand.name, False))
        fresh = hand._replace(life=hand.life + 1, taken=(), suspects=(), ghosts=False)
        world, _ = self._server.perform(world, ("register", fresh.name))
        return world.spend("lives").hand(fresh)

    @staticmethod
    def _may_renew(world: World, hand: Hand) -> bool:
        return world.left.lives > 0 and hand.life + 1 < len(NAMES[hand.number])

    def _has_strangers(self, world: World, hand: Hand) -> bool:
        listed = self._server.store.value(world.data, KEYS.processing(hand.name))
        return any(job not in hand.known for job in listed if job != BELL)

    def _has_the_bell(self, world: World, hand: Hand) -> bool:
        # Who dies with the bell takes it along: the others sleep until their pops end by themselves.
        listed = self._server.store.value(world.data, KEYS.processing(hand.name))
        return bool(self._scene.sleeps) and BELL in listed

    # Death -----------------------------------------------------------------------------------

    def _kill(self, world: World, hand: Hand) -> World:
        if not self.is_poisoned(hand):
            world = world.spend("kills")
        world = world.hand(hand._replace(up=False, gives=(), asked=None, lost=False, sleeps_until=None))
        return world.chore((("listed", hand.name),)) if self._scene.supervised else world

    def down(self, world: World, hand: Hand) -> Iterator[Move]:
        """A process that is down: its supervisor looks at its list again, or starts another one."""
        listed = self._server.store.value(world.data, KEYS.processing(hand.name))
        if self._scene.supervised and not world.chores and any(job != BELL for job in listed):
            after = world.chore((("listed", hand.name),))
            yield Move(f"the supervisor looks at {hand.name} again", None, lambda: after)
        if self._scene.respawns and self._may_renew(world, hand):
            fresh = Hand(hand.number, life=hand.life + 1, begins=hand.begins)
            call = ("register", fresh.name)
            start = partial(self._reply, world.spend("lives"), fresh, call, _nothing)
            yield Move(f"{fresh.name} starts", call, start)

    def salvage(self, world: World, worker: str, listed: list[str]) -> list[Call]:
        """What a supervisor does with the list of a process that is down."""
        ran = {each.job for hand in world.hands if hand.name == worker for each in hand.begun}
        if self._scene.poison and not self._scene.threads:
            ran &= {A}
        back: list[Call] = [("recover", worker, job, job in ran) for job in reversed(listed)]
        return [("retire", worker, False), *back]


def _nothing(world: World, hand: Hand, _reply: Any) -> World:
    """What a process makes of a reply that tells it nothing."""
    return world.hand(hand)
