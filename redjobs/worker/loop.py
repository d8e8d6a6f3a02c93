"""The claim loop: takes jobs, lets the bench run them, says what came of them.

Idle it blocks, busy it batches: one round trip settles what is over, begins what was taken and
takes more. All of a worker's talk with Redis is here, in one thread, so handlers never wait for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import ResponseError

from redjobs.commands import BATCH, Begun, Command
from redjobs.registry import Registry
from redjobs.retry import GiveBack, RunAgain
from redjobs.worker import report
from redjobs.worker.bench import Bench
from redjobs.worker.deferred import Deferred
from redjobs.worker.lane import Lane
from redjobs.worker.lanes import Begin, Lanes
from redjobs.worker.limits import Limits
from redjobs.worker.link import LOST, TEND_SECONDS, Answer, Link, Unreachable
from redjobs.worker.options import WorkerOptions
from redjobs.worker.outage import Outage
from redjobs.worker.seat import Seat
from redjobs.worker.settle import Settlement, learn, lost_works, settle
from redjobs.worker.tending import Course, Tending
from redjobs.worker.upkeep import Upkeep
from redjobs.worker.work import Work

logger = logging.getLogger("redjobs.worker")

#: What is interrupted gets so long to clean up before its job is given back without it.
_CLEANUP_SECONDS = 1.0
#: So long the interpreter is left to the thread that was given the first job, which has to wake up first.
_YIELD_SECONDS = 50e-6
#: Whoever has nothing at all takes so many first, though very many may be due: they have started when a
#: whole batch would be on its way.
_FIRST = 8
#: Decisions after which a job may be due again.
_GOES_BACK = (GiveBack, RunAgain)


class ClaimLoop:
    """One worker process's loop. Everything is called in its own thread, but for `stop` and `quiet`."""

    def __init__(
        self,
        options: WorkerOptions,
        registry: Registry,
        link: Link,
        bench: Bench,
        upkeep: Upkeep | None = None,
        seat: Seat | None = None,
    ) -> None:
        self._options = options
        self._registry = registry
        self._link = link
        self._bench = bench
        self._seat = seat
        self._outage = Outage(logging.ERROR if seat is None else logging.DEBUG)
        self._lanes = Lanes(options, link, bench, self._outage, upkeep, seat)
        self._course = Course()
        self._tending = Tending(bench, link, self._lanes, self._course, self._outage)
        self._limits = Limits(options, None if seat is None else seat.slots)
        self._deferred = Deferred(registry, bench, self._lanes, options.max_crashes)
        #: Over, and not yet settled with the server; the keys of those that were sent before.
        self._unsettled: list[Work] = []
        self._resent: set[tuple[str, str]] = set()
        #: Whether the last round trip gave a job back, or planned its retry.
        self._went_back = False
        self.failed_jobs = 0
        #: Why it stops, where it does so by itself: burst, idle, recycle.
        self.leaving = ""
        #: Works that were not over at the end, and were given back without their consent.
        self.abandoned: list[Work] = []

    # The loop ------------------------------------------------------------------------------

    def run(self, obey: Callable[[bytes], None]) -> None:
        """Until told to stop, and then until nothing runs any more or the grace is over.

        `obey` gets what was written to wake the loop: signal numbers.
        """
        obey(b"")  # what it was told while it started: to be quiet, or to stop
        while not self._over():
            if self._seat is not None:
                self._seat.slots.turn(self._link.answered_at, self.failed_jobs)
            try:
                self._look_up()
                if not self.step() and not self._over():
                    self._sleep()
                if self._options.burst and not self._deferred.busy():
                    # What was given back may be on its way to us, and not in its list.
                    self._answers(self._link.unblock())
            except LOST as error:
                self._link.drop_all()
                self._resent.update(work.key for work in self._unsettled)
                self._pause(self._outage.lost(error))
            except ResponseError as error:
                self._pause(self._outage.refused(error))
            obey(self._link.messages())
            self._check_limits()
        self._deferred.do()
        self.abandoned = self._bench.abandon()
        self._lanes.leave(self.abandoned)

    def _look_up(self) -> None:
        """Learn of new queues; what was begun does not wait for the round trips that are due now."""
        if self._course.ending or self._lanes.next_at <= time.monotonic():
            self._deferred.do()
        if not self._course.ending:
            self._lanes.refresh()

    def _check_limits(self) -> None:
        """A burst that is over, a worker idle for too long, a process that is due for replacement."""
        if self._course.ending:
            return
        # In this order: what is over meanwhile is seen, though it does not run any more. Where nobody
        # knows what there is to do, a burst has not begun, and that is no idleness.
        busy = self._deferred.busy() or self._outage.is_down or not self._lanes.names.are_served
        due = bool(self._unsettled) or self._bench.has_done or any(lane.is_due for lane in self._lanes)
        if why := self._limits.reached(busy=busy, due=due):
            self.leaving = why
            if why == "recycle" and self._seat is not None:
                self._seat.recycles()
            self.stop(float("inf") if why == "recycle" else 0)

    def stop(self, grace: float) -> None:
        """Claim no more, and end within `grace` seconds."""
        self._course.stop_at = time.monotonic() + grace
        self._tending.hurry()

    def quiet(self) -> None:
        """Claim no more, and finish what runs, however long it takes."""
        self._course.quiet = True

    def _over(self) -> bool:
        if self._course.stop_at is None:
            return False
        held = any(lane.holds for lane in self._lanes) or self._link.popping
        nothing = not (held or self._unsettled or self._bench.has_done or self._deferred.busy())
        return nothing or time.monotonic() > self._course.stop_at + _CLEANUP_SECONDS

    def step(self) -> bool:
        """One round trip: settle what is over, begin what was taken, take more.

        Returns whether there was anything to do.
        """
        self._tending.tend()
        self._unsettled += self._tending.withdrawn()
        if self._link.popping:  # where we do not get to sleep, nobody else reads the answers
            self._answers(self._link.wait(0.0))
        if self._outage.is_down:
            self._lanes.reconnected()
        self._tending.cancel()
        self._lanes.keep_up(ending=self._course.ending)
        self._unsettled += self._bench.collect()
        settlements = settle(self._lanes.served(self._unsettled), self._lanes.keys_of, self._registry.codec)
        free, ending = self._free(), self._course.ending
        begins = [] if ending else self._lanes.begins()
        lanes = self._lanes.next_lanes() if free > 0 else []
        gives = self._lanes.gives(ending=ending)
        wanted: list[Command[Any]] = [settlement.command for settlement in settlements]
        wanted += [begin.command for begin in begins]
        wanted += [command for _, command in gives]
        most = BATCH if settlements or begins or self._deferred.busy() else _FIRST
        wanted += [lane.take(min(free, most) if lane is lanes[0] else 0, promote=most) for lane in lanes]
        if not wanted:
            return self._deferred.do()
        self._went_back = False
        replies = iter(self._link.run_all(wanted, self._deferred.do))
        self._outage.over()
        for settlement in settlements:
            self._settled(settlement, next(replies))
        for begin in begins:
            self._begun(begin, next(replies))
        for given_by, _ in gives:
            self._lanes.answered(given_by, next(replies), "returns")
        for lane in lanes:
            self._took(lane, next(replies))
            # A script that the server did not know has run behind this take, which stood behind it.
            lane.open = lane.open or bool(gives) or self._went_back
        return True

    # Settling ------------------------------------------------------------------------------

    def _settled(self, settlement: Settlement, reply: Any) -> None:
        lane = self._lanes.of(settlement.works[0].claim.queue)
        if not self._lanes.answered(lane, reply, "outcomes"):
            if isinstance(reply, Unreachable):
                self._resent.update(work.key for work in settlement.works)
            return
        learn(settlement, reply)
        lost = lost_works(settlement, reply)
        # After a lost reply the first answer may have been "done": then this one says "lost".
        if news := [work for work in lost if work.key not in self._resent]:
            report.lost(news)
        over = {work.key for work in settlement.works}
        self._resent -= over
        lane.begun -= over
        # What goes back may be due at once.
        if any(isinstance(work.decision, _GOES_BACK) for work in settlement.works):
            lane.open = self._went_back = True
        self._unsettled = [work for work in self._unsettled if work.key not in over]
        done = [work for work in settlement.works if work not in lost] if lost else settlement.works
        self.failed_jobs += sum(work.has_failed for work in done)
        self._limits.done(len(done))
        self._deferred.settled(done)

    # Claiming ------------------------------------------------------------------------------

    def _free(self) -> int:
        if self._course.ending or self._lanes.solo or self._lanes.has_suspects:
            return 0
        return self._bench.free(self._deferred.coming + sum(len(lane.taken) for lane in self._lanes))

    def _begun(self, begin: Begin, reply: Begun | ResponseError) -> None:
        lane = begin.lane
        if isinstance(reply, ResponseError):
            self._lanes.refused(begin, reply)
            return
        self._lanes.answered(lane, reply, "begins")
        if reply.lapsed:
            self._lanes.renew(lane)
        if reply.missing:
            report.dropped(lane.keys.queue, reply.missing)
        lane.suspects.extend((job_id, time.monotonic()) for job_id in reply.wait)
        lane.begun.update((job_id, begin.token) for job_id in reply.hashes)
        is_first = len(begin.ids) <= _FIRST and not self._deferred.busy()
        self._deferred.begun(reply)
        if is_first or len(begin.ids) == 1:  # nothing to wait for, or it may be a suspect
            self._deferred.submit()
        if is_first and reply.hashes:
            time.sleep(_YIELD_SECONDS)

    def _took(self, lane: Lane, reply: Any) -> None:
        if not self._lanes.answered(lane, reply, "takes"):
            return
        if reply.lapsed:
            self._lanes.renew(lane)
        else:
            lane.took(reply)

    # Waiting -------------------------------------------------------------------------------

    def _sleep(self) -> None:
        free = self._free()
        if free > 0 and any(lane.is_open(time.monotonic()) for lane in self._lanes):
            return
        if free > 0:
            self._lanes.block()
        elif self._link.popping:
            self._answers(self._link.unblock())
            return
        self._answers(self._link.wait(max(0.0, self._wake_at(free) - time.monotonic())))
        if not self._course.ending and (begins := self._lanes.begins()):
            self._begin_at_once(begins)

    def _begin_at_once(self, begins: list[Begin]) -> None:
        """These have come to a worker that slept; the next turn looks at all the rest."""
        for begin, reply in zip(begins, self._link.run_all([each.command for each in begins]), strict=True):
            self._begun(begin, reply)

    def _wake_at(self, free: int) -> float:
        now = time.monotonic()
        moments = [self._lanes.next_at, self._limits.next_at]
        moments += [lane.returns_at for lane in self._lanes if lane.holds]
        if free > 0:
            moments += [lane.wake_at for lane in self._lanes]
        if self._bench.active():
            moments.append(now + TEND_SECONDS)
        if self._course.stop_at is not None:
            moments.append(max(self._course.stop_at, now + TEND_SECONDS))
        return min(moments)

    def _answers(self, answers: list[tuple[str, Answer]]) -> None:
        now = time.monotonic()
        for queue, answer in answers:
            lane = self._lanes.of(queue)
            lane.open = True
            if isinstance(answer, ResponseError):
                # A full server refuses pops, and lets `take` pass.
                lane.pops_again_at = now + self._outage.refused(answer, f"pops of {queue}")
            else:
                self._outage.accepted(f"pops of {queue}")
                if answer is not None:
                    lane.taken.append((answer, now))

    def _pause(self, seconds: float) -> None:
        """Wait before the next attempt."""
        self._deferred.do()
        self._tending.pause(seconds)
