"""The queues of one worker process, and what is said to the server about each: leases, lists, farewells."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from redjobs import commands
from redjobs.commands import Begun, Command
from redjobs.ids import new_token
from redjobs.keys import Keys
from redjobs.worker.bench import Bench
from redjobs.worker.comparison import Comparison
from redjobs.worker.health import FRESH_SECONDS
from redjobs.worker.lane import Lane, Order
from redjobs.worker.link import LOST, Link, Unreachable
from redjobs.worker.options import WorkerOptions
from redjobs.worker.outage import Outage
from redjobs.worker.queues import QueueNames
from redjobs.worker.seat import Seat
from redjobs.worker.upkeep import Upkeep
from redjobs.worker.work import Work

logger = logging.getLogger("redjobs.worker")


@dataclass(slots=True)
class Begin:
    """A `begin` call on its way."""

    lane: Lane
    token: str
    ids: list[str]
    command: Command[Begun]


#: So long a suspect waits for what runs here to end. After that it is begun beside what is left.
_SOLO_SECONDS = 1.0


class Lanes:
    """All lanes, in the order in which they are served; a queue that is gone stays known."""

    def __init__(
        self,
        options: WorkerOptions,
        link: Link,
        bench: Bench,
        outage: Outage,
        upkeep: Upkeep | None,
        seat: Seat | None,
    ) -> None:
        self._options = options
        self._link = link
        self._bench = bench
        self._outage = outage
        #: Heartbeats and sweeps: ours where no supervisor keeps them, and leases once it is gone.
        self._upkeep = upkeep
        self._seat = seat
        self.names = QueueNames(options, link)
        self._order = Order(options.weights)
        self._lanes: list[Lane] = []
        self._lane_of: dict[str, Lane] = {}
        # With the longest lease, too, often enough to show that this worker has a server.
        self._comparison = Comparison(link, outage, min(options.beat_interval, FRESH_SECONDS / 2))
        #: By queue name.
        self.keys_of: dict[str, Keys] = {}
        #: So many crashes make a job a suspect: at the next one it would be quarantined.
        self._last_crash = options.max_crashes - 1
        self._solo: Work | None = None

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes)

    def of(self, queue: str) -> Lane:
        """The lane of a queue."""
        return self._lane_of[queue]

    def served(self, works: list[Work]) -> list[Work]:
        """Those of queues that are not left alone."""
        resting = {lane.keys.queue for lane in self._lanes if lane.is_resting}
        return [work for work in works if work.claim.queue not in resting]

    def next_lanes(self) -> list[Lane]:
        """The lane to take from next, and behind it those to look at."""
        return self._order.next(self._lanes, self._link.pops)

    def block(self) -> None:
        """Let a pop wait on each queue, where that can be done."""
        for lane in [each for each in self._lanes if each.blocks and not each.is_resting]:
            self._link.pop(lane.keys, lane.worker)

    @property
    def next_at(self) -> float:
        """Monotonic time when there is something to do here."""
        upkeep_at = float("inf") if self._upkeep is None else self._upkeep.next_at
        return min(self._comparison.next_at, self.names.refresh_at, upkeep_at)

    def answered(self, lane: Lane, reply: Any, deeds: str) -> bool:
        """Whether the server did this for a queue. One that is refused is left alone; the others go on.

        Deeds are told apart: what is accepted does not undo that something else is refused.
        """
        what = f"{deeds} of {lane.keys.queue}"
        if isinstance(reply, ResponseError):
            lane.rest(self._outage.refused(reply, what))
            return False
        self._outage.accepted(what)
        return True

    def begins(self) -> list[Begin]:
        """The calls that begin what was taken; a suspect only when nothing else runs here.

        A queue that is left alone keeps what it has until it is overdue.
        """
        if self.solo:
            return []
        idle = not any(lane.begun for lane in self._lanes)
        awake = [lane for lane in self._lanes if lane.holds and not lane.is_resting]
        taken = [lane for lane in awake if lane.taken]
        if taken:
            alone = idle and sum(len(lane.taken) for lane in taken) == 1
            solo = 0 if alone else self._last_crash
            return [self._begin(lane, ids, solo) for lane in taken for ids in lane.drop_taken()]
        since = time.monotonic() - _SOLO_SECONDS
        for lane in awake:
            if lane.suspects and (idle or lane.suspects[0][1] < since):
                return [self._begin(lane, [lane.suspects.popleft()[0]])]
        return []

    def _begin(self, lane: Lane, ids: list[str], solo: int = 0) -> Begin:
        token = new_token()
        return Begin(lane, token, ids, commands.begin(lane.keys, lane.worker, token, ids, solo))

    def refused(self, begin: Begin, reply: ResponseError) -> None:
        """The server has not begun these. Some jobs are broken; of a queue with many it is no job that is."""
        lane = begin.lane
        lane.refused(begin.ids)
        if not lane.is_resting:  # of those that were begun one by one, it rests for one
            pause = self._outage.refused(reply, f"begins of {lane.keys.queue}")
            if lane.is_refused_much or isinstance(reply, Unreachable):
                lane.rest(pause)

    @property
    def solo(self) -> bool:
        """Whether a suspect runs: nothing else is begun then."""
        return self._solo is not None and self._solo.outcome is None

    @property
    def has_suspects(self) -> bool:
        """Whether a suspect waits for its turn, where there is one to come."""
        return any(lane.suspects and not lane.is_resting for lane in self._lanes)

    def watch(self, works: Sequence[Work]) -> None:
        """These run now: if one is a suspect, nothing is begun beside it."""
        for work in works:
            if 0 < self._last_crash <= work.claim.crashes:
                self._solo = work

    def gives(self, *, ending: bool) -> list[tuple[Lane, Command[Any]]]:
        """For ids that were taken and wait too long, or that an ending worker does not begin."""
        now = time.monotonic()
        gives: list[tuple[Lane, Command[Any]]] = []
        for lane in self._lanes:
            late = lane.give_up() if ending else lane.overdue(now, solo=self.solo)
            # One that could not be begun may not be given back, either: it keeps no other one here.
            refused = lane.drop_aside(float("inf") if ending else now)
            for ids in filter(None, [late, *([job_id] for job_id in refused)]):
                gives += [(lane, each) for each in commands.release(lane.keys, lane.worker, "", ids)]
                lane.open = True
        return gives

    # Now and then --------------------------------------------------------------------------

    def refresh(self) -> None:
        """Serve queues that are new. A lease comes before the first pop: a list without is nobody's."""
        if time.monotonic() < self.names.refresh_at:
            return
        options = self._options
        refused = False
        try:
            names = self.names.resolve(self._lane_of)
            self._outage.accepted("names of queues")
        except Unreachable as error:
            # The names are on another node than the queues, which go on.
            refused, names = True, [] if self._lanes else self.names.plain()
            if not names and not self._lanes:
                raise
            self._outage.refused(error, "names of queues")
        for keys in names:
            if keys.queue not in self._lane_of:
                lane = Lane(keys, options.name, options.min_priority, options.max_priority)
                try:
                    self._register(lane)
                except ResponseError as error:
                    refused = True
                    self._outage.refused(error, f"heartbeats of {keys.queue}")
                    continue
                self._lanes.append(lane)
                self._lane_of[keys.queue] = lane
                self.keys_of[keys.queue] = keys
        places = {keys.queue: place for place, keys in enumerate(names)}
        self._lanes.sort(key=lambda lane: places.get(lane.keys.queue, len(places)))
        self.names.served(all_of_them=not refused)

    def keep_up(self, *, ending: bool) -> None:
        """What is said to the server now and then: our lists are compared; upkeep, where it is ours."""
        now = time.monotonic()
        if now >= self._comparison.next_at:
            self._comparison.compare(self._lanes)
        if self._upkeep is not None and now >= self._upkeep.beat_at:
            self._beat(self._upkeep)
        if self._upkeep is not None and now >= self._upkeep.sweep_at:
            self._upkeep.sweep_once([] if ending else self.keys_of.values(), self._outage)

    def _beat(self, upkeep: Upkeep) -> None:
        lapsed = upkeep.beat_once({lane.keys: [lane.worker] for lane in self._lanes}, self._outage)
        for lane in [each for each in self._lanes if each.worker in lapsed]:
            self.renew(lane)

    def _register(self, lane: Lane) -> None:
        lease_ms = round(self._options.lease * 1000)
        self._link.run(commands.heartbeat(lane.keys, [lane.worker], lease_ms, register=True))
        if self._seat is not None:
            self._seat.registered(lane.keys.queue, lane.worker)

    def renew(self, lane: Lane) -> None:
        """This lane's lease has run out, and a sweep has seen it: begin anew under another name."""
        logger.warning(
            "the lease on queue %s had run out: its jobs were given to others; begins anew",
            lane.keys.queue,
        )
        for work in self._bench.running():
            if work.claim.worker == lane.worker:
                work.lost = True
        self._link.drop_pop(lane.keys.queue)
        # A pop may have moved a job to our list since; after a long sleep nobody remembers whose it is.
        self._link.run(commands.retire(lane.keys, lane.worker, clean=False))
        lane.renew()
        self._register(lane)

    def reconnected(self) -> None:
        """After an outage: what was delivered and never arrived is a stranger in our lists."""
        if self._upkeep is not None:
            self._upkeep.soon()
            self._beat(self._upkeep)
        self._comparison.find_again(self._lanes)
        self._outage.over()

    def leave(self, abandoned: list[Work]) -> None:
        """Give back what still runs, and take our name off the queues. One that is refused stops no other."""
        gives: list[Command[Any]] = []
        for work in abandoned:
            claim = work.claim
            gives += commands.release(self.keys_of[claim.queue], claim.worker, claim.token, [claim.id])
        for lane in self._lanes:
            self._link.drop_pop(lane.keys.queue)
        # A pop whose answer we did not wait for may still be served: our list is watched then.
        clean = not self._link.has_ghosts
        farewells = [commands.retire(lane.keys, lane.worker, clean=clean) for lane in self._lanes]
        try:
            replies = [*self._link.run_all(gives), *self._link.run_all(farewells)]
        except LOST as error:
            replies = [error]
        if refused := [reply for reply in replies if isinstance(reply, Exception)]:
            text = "could not say goodbye (%s): a sweep recovers what is left after the lease"
            logger.warning(text, type(refused[0]).__name__)
