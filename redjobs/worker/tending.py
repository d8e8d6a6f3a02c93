"""What runs and what waits in a worker process is held to its limits, and stopped where somebody wants it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from redis.exceptions import ResponseError

from redjobs import commands
from redjobs.errors import JobCancelled, JobInterrupted, JobTimeout
from redjobs.retry import Unrun
from redjobs.worker.bench import Bench
from redjobs.worker.lane import WAIT_SECONDS
from redjobs.worker.lanes import Lanes
from redjobs.worker.link import TEND_SECONDS, Link
from redjobs.worker.outage import Outage
from redjobs.worker.work import Work

#: How often, while jobs run, the server is asked whether one of them was cancelled.
_CANCELS_SECONDS = 0.5


@dataclass(slots=True)
class Course:
    """Whether the worker goes on."""

    #: Monotonic time until which running works may end; None: it goes on.
    stop_at: float | None = None
    #: Finish what runs, take no more.
    quiet: bool = False

    @property
    def ending(self) -> bool:
        """Whether no more jobs are taken."""
        return self.quiet or self.stop_at is not None

    def stops(self, now: float) -> bool:
        """Whether the grace is over."""
        return self.stop_at is not None and now > self.stop_at


class Tending:
    """Looks at the bench's works; the claim thread calls it in every turn."""

    def __init__(self, bench: Bench, link: Link, lanes: Lanes, course: Course, outage: Outage) -> None:
        self._bench = bench
        self._link = link
        self._lanes = lanes
        self._course = course
        self._outage = outage
        self._tend_at = 0.0
        self._cancels_at = 0.0
        #: Has waited too long, and is to be given back.
        self._withdrawn: list[Work] = []
        link.tend = self.tend_while_waiting

    def hurry(self) -> None:
        """Look at once: the course has changed."""
        self._tend_at = 0.0

    def withdrawn(self) -> list[Work]:
        """What has waited too long, and is to be given back."""
        withdrawn, self._withdrawn = self._withdrawn, []
        return withdrawn

    def tend_while_waiting(self) -> bool:
        """Limits hold while the server does not answer, too. Returns whether there is anything to tend."""
        if self._bench.active():
            self.tend()
            return True
        return False

    def pause(self, seconds: float) -> None:
        """Wait before the next attempt; whoever wakes us, or a stop, ends it sooner."""
        now = time.monotonic()
        if self._course.stop_at is not None:
            seconds = min(seconds, max(0.05, self._course.stop_at - now))
        until = now + seconds
        while (left := until - time.monotonic()) > 0:
            if self._link.pause(min(left, TEND_SECONDS) if self.tend_while_waiting() else left):
                return

    def tend(self) -> None:
        """Interrupt what exceeds a limit, and take back what has waited too long. Needs no server."""
        now = time.monotonic()
        if now < self._tend_at:
            return
        self._tend_at = now + TEND_SECONDS
        self._bench.watch(now)
        self._limit(now)
        waiting = self._bench.withdraw(None if self._course.ending else now - WAIT_SECONDS)
        for work in waiting:
            work.outcome = Unrun()
        self._withdrawn += waiting

    def cancel(self) -> None:
        """Interrupt what somebody cancelled while it was running; asks the server now and then."""
        now = time.monotonic()
        if now < self._cancels_at or not self._bench.active():
            return
        self._cancels_at = now + _CANCELS_SECONDS
        running: dict[str, dict[str, Work]] = {}
        for work in self._bench.running():
            running.setdefault(work.claim.queue, {})[work.claim.id] = work
        for queue, works in running.items():
            for work in map(works.__getitem__, self._wishes(queue, works)):
                if not work.interrupted:
                    work.interrupted = work.cancelled = True
                    self._bench.interrupt(work, JobCancelled("the job was cancelled"))

    def _wishes(self, queue: str, ids: Iterable[str]) -> list[str]:
        """Which jobs of a queue somebody wants stopped."""
        what = f"cancellations of {queue}"
        try:
            wishes: list[str] = self._link.run(commands.cancels(self._lanes.keys_of[queue], ids))
        except ResponseError as error:  # nothing else need wait for that
            self._outage.refused(error, what)
            return []
        self._outage.accepted(what)
        return wishes

    def _limit(self, now: float) -> None:
        """Interrupt what runs too long, or longer than a stopping worker can wait."""
        stops = self._course.stops(now)
        for work in self._bench.running():
            limit = work.options.timeout
            if work.interrupted:
                continue
            if limit is not None and now > work.started_at + limit + work.blocked_seconds:
                work.interrupted = True
                self._bench.interrupt(work, JobTimeout(f"ran longer than its timeout of {limit:g} s"))
            elif stops:
                work.interrupted = work.stops = True
                self._bench.interrupt(work, JobInterrupted("the worker has to stop"))
