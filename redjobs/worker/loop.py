"""The claim loop: takes jobs, lets the bench run them, says what came of them.

Idle it blocks, busy it batches: one round trip settles what is over, begins what was taken and
takes more. All of a worker's talk with Redis is here, in one thread, so handlers never wait for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from redjobs import commands
from redjobs.commands import Begun, Command
from redjobs.current import CurrentJob
from redjobs.errors import JobCancelled, JobInterrupted, JobTimeout
from redjobs.ids import new_token
from redjobs.keys import Keys
from redjobs.registry import Registry
from redjobs.retry import GiveBack, RunAgain, Unrun
from redjobs.worker import report
from redjobs.worker.bench import Bench
from redjobs.worker.lane import WAIT_SECONDS, Lane, Order
from redjobs.worker.limits import Limits
from redjobs.worker.link import LOST, Answer, Link
from redjobs.worker.options import WorkerOptions
from redjobs.worker.outage import Outage
from redjobs.worker.queues import QueueNames
from redjobs.worker.seat import Seat
from redjobs.worker.settle import Settlement, fire_outcomes, lost_works, settle
from redjobs.worker.upkeep import Upkeep
from redjobs.worker.work import Work, prepare

logger = logging.getLogger("redjobs.worker")

#: How often running works are looked at while there are any.
_TEND_SECONDS = 0.05
#: How often, while jobs run, the server is asked whether one of them was cancelled.
_CANCELS_SECONDS = 0.5
#: What is interrupted gets so long to clean up before its job is given back without it.
_CLEANUP_SECONDS = 1.0


@dataclass(slots=True)
class Begin:
    """A `begin` call on its way."""

    lane: Lane
    token: str
    ids: list[str]
    command: Command[Begun]


class ClaimLoop:
    """One worker process's loop. Everything is called in its own thread, but for `stop` and `quiet`."""

    def __init__(
        self,
        options: WorkerOptions,
        registry: Registry,
        link: Link,
        names: QueueNames,
        bench: Bench,
        upkeep: Upkeep | None = None,
        seat: Seat | None = None,
    ) -> None:
        self._options = options
        self._registry = registry
        self._link = link
        self._names = names
        #: In the order in which they are served; a queue that is gone from `names` stays known.
        self._lanes: list[Lane] = []
        self._lane_of: dict[str, Lane] = {}
        self._keys_of: dict[str, Keys] = {}
        self._bench = bench
        #: Heartbeats and sweeps: ours where no supervisor keeps them.
        self._upkeep = upkeep
        self._seat = seat
        self._limits = Limits(options)
        self._order = Order(options.weights)
        self._outage = Outage(logging.ERROR if seat is None else logging.DEBUG)
        #: Over, and not yet settled with the server; whether they were sent before.
        self._unsettled: list[Work] = []
        self._resent = False
        self._tend_at = 0.0
        self._compare_at = time.monotonic() + options.beat_interval
        self._cancels_at = 0.0
        self._answered_at = 0.0
        #: Monotonic time until which running works may end; None: the worker goes on.
        self._stop_at: float | None = None
        self._quiet = False
        self.failed_jobs = 0
        #: Why it stops, where it does so by itself: burst, idle, recycle.
        self.leaving = ""
        #: Works that were still running at the end, and were given back without their consent.
        self.abandoned: list[Work] = []

    # The loop ------------------------------------------------------------------------------

    def run(self, obey: Callable[[bytes], None]) -> None:
        """Until told to stop, and then until nothing runs any more or the grace is over.

        `obey` gets what was written to wake the loop: signal numbers.
        """
        while not self._over():
            if self._seat is not None:
                self._seat.slots.turn(self._answered_at)
            try:
                if time.monotonic() >= self._names.refresh_at and not self._ending:
                    self._refresh_lanes()
                if not self.step() and not self._over():
                    self._sleep()
            except LOST as error:
                self._link.drop_pops()
                self._resent = True
                self._pause(self._outage.lost(error))
            except ResponseError as error:
                self._pause(self._outage.refused(error))
            obey(self._link.messages())
            self._check_limits()
        self._leave()

    def _refresh_lanes(self) -> None:
        """Serve queues that are new. A lease comes before the first pop: a list without is nobody's."""
        options = self._options
        refused = False
        for keys in self._names.resolve():
            if keys.queue not in self._lane_of:
                lane = Lane(keys, options.name, options.min_priority, options.max_priority)
                try:
                    self._register(lane)
                except ResponseError as error:
                    refused = True
                    self._outage.refused(error, lane.what)
                    continue
                self._lanes.append(lane)
                self._lane_of[keys.queue] = lane
                self._keys_of[keys.queue] = keys
        self._names.served(all_of_them=not refused)

    def _check_limits(self) -> None:
        """A burst that is over, a worker idle for too long, a process that is due for replacement."""
        if self._ending:
            return
        now = time.monotonic()
        due = bool(self._unsettled) or any(
            lane.taken or lane.suspects or lane.open or (lane.due_at or now + 1) <= now
            for lane in self._lanes
        )
        if why := self._limits.reached(busy=self._bench.active(), due=due):
            self.leaving = why
            self.stop(float("inf") if why == "recycle" else 0)

    def stop(self, grace: float) -> None:
        """Claim no more, and end within `grace` seconds."""
        self._stop_at = time.monotonic() + grace
        self._tend_at = 0.0

    def quiet(self) -> None:
        """Claim no more, and finish what runs, however long it takes."""
        self._quiet = True

    def _over(self) -> bool:
        if self._stop_at is None:
            return False
        held = any(lane.taken or lane.suspects for lane in self._lanes) or self._link.popping
        if not (held or self._unsettled or self._bench.has_done or self._bench.active()):
            return True
        return time.monotonic() > self._stop_at + _CLEANUP_SECONDS

    @property
    def _ending(self) -> bool:
        return self._quiet or self._stop_at is not None

    def step(self) -> bool:
        """One round trip: settle what is over, begin what was taken, take more.

        Returns whether there was anything to do.
        """
        self._tend()
        if self._outage.is_down:
            self._reconnected()
        self._keep_up()
        self._unsettled += self._bench.collect()
        settlements = settle(self._unresting(), self._keys_of, self._registry.codec)
        free = self._free()
        begins = self._begins()
        lane = self._next_lane() if free > 0 else None
        gives = self._gives()
        wanted: list[Command[Any]] = [settlement.command for settlement in settlements]
        wanted += [begin.command for begin in begins]
        wanted += [command for _, command in gives]
        if lane is not None:
            wanted.append(lane.take(free))
        if not wanted:
            return False
        replies = iter(self._link.run_all(wanted))
        self._answered_at = time.monotonic()
        self._outage.over()
        for settlement in settlements:
            self._settled(settlement, next(replies))
        self._resent = False
        for begin in begins:
            self._begun(begin, next(replies))
        for given_by, _ in gives:
            self._gave(given_by, next(replies))
        if lane is not None:
            self._took(lane, next(replies))
        return True

    def _unresting(self) -> list[Work]:
        """What is to be settled now: not of a queue that is left alone."""
        now = time.monotonic()
        return [work for work in self._unsettled if now >= self._lane_of[work.claim.queue].rests_until]

    def _refused(self, lane: Lane, error: ResponseError) -> None:
        """The server refuses something of one queue; the others go on."""
        lane.rest(self._outage.refused(error, lane.what))

    # Settling ------------------------------------------------------------------------------

    def _settled(self, settlement: Settlement, reply: Any) -> None:
        if isinstance(reply, ResponseError):
            self._refused(self._lane_of[settlement.works[0].claim.queue], reply)
            return
        lost = lost_works(settlement, reply)
        # After a lost reply the first answer may have been "done": then this one says "lost".
        if lost and not self._resent:
            report.lost(lost)
        for work in settlement.works:
            lane = self._lane_of[work.claim.queue]
            lane.begun.discard(work.key)
            # What goes back may be due at once.
            lane.open = lane.open or isinstance(work.decision, GiveBack | RunAgain)
        over = set(map(id, settlement.works))
        self._unsettled = [work for work in self._unsettled if id(work) not in over]
        done = [work for work in settlement.works if work not in lost] if lost else settlement.works
        self.failed_jobs += sum(work.has_failed for work in done)
        self._limits.done(len(done))
        report.jobs(done)
        fire_outcomes(self._registry.hooks, done)

    # Claiming ------------------------------------------------------------------------------

    def _free(self) -> int:
        if self._ending or any(lane.suspects for lane in self._lanes):
            return 0
        return self._bench.free() - sum(len(lane.taken) for lane in self._lanes)

    def _next_lane(self) -> Lane | None:
        now = time.monotonic()
        return next((lane for lane in self._order.lanes(self._lanes) if lane.is_open(now)), None)

    def _begins(self) -> list[Begin]:
        begins = []
        for lane in self._lanes if not self._ending else ():
            ids = [job_id for job_id, _ in lane.taken]
            if not ids and lane.suspects and not any(other.begun for other in self._lanes):
                ids = [lane.suspects.popleft()[0]]
            if ids:
                token = new_token()
                # Remembered until the reply is read: without it these ids are strangers to us.
                lane.tokens.append(token)
                lane.taken.clear()
                command = commands.begin(lane.keys, lane.worker, token, ids)
                begins.append(Begin(lane, token, ids, command))
        return begins

    def _begun(self, begin: Begin, reply: Any) -> None:
        lane, now = begin.lane, time.monotonic()
        if isinstance(reply, ResponseError):
            # One of them may be to blame: the others are begun one by one. Who is refused alone is
            # a stranger in our list from now on, and given back after a while.
            if len(begin.ids) > 1:
                lane.suspects.extend((job_id, now) for job_id in begin.ids)
            self._outage.refused(reply, lane.what)
            return
        begun: Begun = reply
        if begin.token in lane.tokens:
            lane.tokens.remove(begin.token)
        if begun.lapsed:
            self._renew(lane)
        if begun.missing:
            report.dropped(lane.keys.queue, begun.missing)
        lane.suspects.extend((job_id, now) for job_id in begun.wait)
        lane.begun.update((claim.id, claim.token) for claim in begun.claims)
        most = self._options.max_crashes
        works = [prepare(claim, self._registry, most) for claim in begun.claims]
        if self._registry.hooks.has("claim"):
            for work in works:
                self._registry.hooks.fire("claim", CurrentJob(work))
        self._bench.submit(works)

    def _took(self, lane: Lane, reply: Any) -> None:
        if isinstance(reply, ResponseError):
            self._refused(lane, reply)
            return
        self._outage.accepted(lane.what)
        if reply.lapsed:
            self._renew(lane)
        else:
            lane.took(reply)

    def _gave(self, lane: Lane, reply: Any) -> None:
        if isinstance(reply, ResponseError):
            self._refused(lane, reply)

    def _gives(self) -> list[tuple[Lane, Command[Any]]]:
        """For ids that were taken and wait too long, or that an ending worker does not begin."""
        now = time.monotonic()
        gives: list[tuple[Lane, Command[Any]]] = []
        for lane in self._lanes:
            ids = lane.give_up() if self._ending else lane.overdue(now)
            if ids:
                gives += [(lane, each) for each in commands.release(lane.keys, lane.worker, "", ids)]
                lane.open = True
        return gives

    # Waiting -------------------------------------------------------------------------------

    def _sleep(self) -> None:
        free = self._free()
        if free > 0 and self._next_lane() is not None:
            return
        if free > 0:
            for lane in self._lanes:
                if lane.blocks:
                    self._link.pop(lane.keys, lane.worker)
        elif self._link.popping:
            self._answers(self._link.unblock())
            return
        self._answers(self._link.wait(max(0.0, self._wake_at(free) - time.monotonic())))

    def _wake_at(self, free: int) -> float:
        now = time.monotonic()
        moments = [self._compare_at, self._limits.next_at, self._names.refresh_at]
        if self._upkeep is not None:
            moments.append(self._upkeep.next_at)
        if free > 0:
            moments += [lane.wake_at for lane in self._lanes]
        if self._bench.active():
            moments.append(now + _TEND_SECONDS)
        if self._stop_at is not None:
            moments.append(max(self._stop_at, now + _TEND_SECONDS))
        return min(moments)

    def _answers(self, answers: list[tuple[str, Answer]]) -> None:
        now = time.monotonic()
        for queue, answer in answers:
            lane = self._lane_of[queue]
            lane.open = True
            if isinstance(answer, ResponseError):
                # A full server refuses pops, and lets `take` pass.
                lane.pops_again_at = now + self._outage.refused(answer, f"pops of {queue}")
            else:
                self._outage.accepted(f"pops of {queue}")
                if answer is not None:
                    lane.taken.append((answer, now))

    def _pause(self, seconds: float) -> None:
        """Wait before the next attempt; whoever wakes us, or a stop, ends it sooner."""
        if self._stop_at is not None:
            seconds = min(seconds, max(0.05, self._stop_at - time.monotonic()))
        self._link.pause(seconds)

    # Tending -------------------------------------------------------------------------------

    def _tend(self) -> None:
        """Limits of what runs and of what waits: they hold while the server is gone, too."""
        now = time.monotonic()
        if now >= self._tend_at:
            self._tend_at = now + _TEND_SECONDS
            self._limit(now)
            waiting = self._bench.withdraw(None if self._ending else now - WAIT_SECONDS)
            for work in waiting:
                work.outcome = Unrun()
            self._unsettled += waiting

    def _keep_up(self) -> None:
        """What is asked of the server now and then: cancellations, our lists, and upkeep if it is ours."""
        now = time.monotonic()
        if now >= self._cancels_at and self._bench.active():
            self._cancels_at = now + _CANCELS_SECONDS
            self._cancel()
        if now >= self._compare_at:
            self._compare_at = now + self._options.beat_interval
            self._of_each_lane(self._compare)
        if self._upkeep is not None and now >= self._upkeep.beat_at:
            self._beat(self._upkeep)
        if self._upkeep is not None and now >= self._upkeep.sweep_at and not self._ending:
            self._upkeep.sweep_once(self._keys_of.values(), self._outage)

    def _of_each_lane(self, do: Callable[[Lane], None]) -> None:
        for lane in self._lanes:
            try:
                do(lane)
            except ResponseError as error:
                self._refused(lane, error)

    def _cancel(self) -> None:
        """Interrupt what somebody cancelled while it was running."""
        running = {work.claim.id: work for work in self._bench.running()}
        queues = {work.claim.queue for work in running.values()}
        for queue in queues:
            for job_id in self._link.run(commands.cancels(self._keys_of[queue])):
                work = running.get(job_id)
                if work is not None and not work.interrupted:
                    work.interrupted = work.cancelled = True
                    self._bench.interrupt(work, JobCancelled("the job was cancelled"))

    def _limit(self, now: float) -> None:
        """Interrupt what runs too long, or longer than a stopping worker can wait."""
        stops = self._stop_at is not None and now > self._stop_at
        for work in self._bench.running():
            limit = work.options.timeout
            if work.interrupted:
                continue
            if limit is not None and now > work.started_at + limit:
                work.interrupted = True
                self._bench.interrupt(work, JobTimeout(f"ran longer than its timeout of {limit:g} s"))
            elif stops:
                work.interrupted = work.stops = True
                self._bench.interrupt(work, JobInterrupted("the worker has to stop"))

    def _beat(self, upkeep: Upkeep) -> None:
        lapsed = upkeep.beat_once({lane.keys: [lane.worker] for lane in self._lanes}, self._outage)
        for lane in self._lanes:
            if lane.worker in lapsed:
                self._renew(lane)

    def _compare(self, lane: Lane) -> None:
        """Give back what stands in our list without our knowledge."""
        listed = self._link.run(commands.listed(lane.keys, lane.worker))
        strange = lane.compare(listed)
        if not strange:
            return
        logger.warning("gave back %d jobs whose delivery was lost on the way", len(strange))
        for token in ("", *lane.tokens):
            for command in commands.release(lane.keys, lane.worker, token, strange):
                self._link.run(command)
        # The tokens stay: a `begin` that was given up may reach the server even now.
        lane.open = True

    def _register(self, lane: Lane) -> None:
        lease_ms = round(self._options.lease * 1000)
        self._link.run(commands.heartbeat(lane.keys, [lane.worker], lease_ms, register=True))
        if self._seat is not None:
            self._seat.registered(lane.keys.queue, lane.worker)

    def _renew(self, lane: Lane) -> None:
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

    def _reconnected(self) -> None:
        """After an outage: what was delivered and never arrived is a stranger in our lists."""
        if self._upkeep is not None:
            self._upkeep.soon()
            self._beat(self._upkeep)
        self._of_each_lane(self._find_again)
        self._outage.over()

    def _find_again(self, lane: Lane) -> None:
        # Nothing is under way now, so once unknown is enough.
        lane.strangers = set(self._link.run(commands.listed(lane.keys, lane.worker)))
        self._compare(lane)
        lane.open = True

    def _leave(self) -> None:
        """Give back what still runs, and take our name off the queues."""
        self.abandoned = self._bench.running()
        try:
            for work in self.abandoned:
                claim = work.claim
                keys = self._keys_of[claim.queue]
                for command in commands.release(keys, claim.worker, claim.token, [claim.id]):
                    self._link.run(command)
            for lane in self._lanes:
                self._link.drop_pop(lane.keys.queue)
                # A pop whose answer we did not wait for may still be served: our list is watched then.
                clean = not self._link.has_ghosts
                self._link.run(commands.retire(lane.keys, lane.worker, clean=clean))
        except (*LOST, ResponseError) as error:
            logger.warning(
                "could not say goodbye (%s): a sweep recovers what is left after the lease",
                type(error).__name__,
            )
