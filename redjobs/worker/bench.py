"""Where handlers run: the main thread, threads for functions that wait, an event loop for coroutines.

The claim thread submits works and collects those that are over; the bench knows how many more
it could start soon, so that nothing is claimed that would have to wait for long.
"""

from __future__ import annotations

from redjobs.worker.coroutines import EventLoop
from redjobs.worker.station import Station, Surroundings
from redjobs.worker.threads import MainThread, Threaded, Threads
from redjobs.worker.work import Work


class Bench:
    """All stations of one worker process."""

    def __init__(self, around: Surroundings, *, threads: int, concurrency: int) -> None:
        self._around = around
        self._threads = threads
        self._concurrency = concurrency
        self.main = MainThread(around)
        #: Plain functions run here: in the main thread, or in several others.
        self._plain: Threaded = self.main if threads == 1 else Threads(around, threads)
        #: Made when the first coroutine function is to be run: most workers need none.
        self._coroutines: EventLoop | None = None
        self._has_plain = False

    @property
    def _stations(self) -> list[Station]:
        return [self._plain] if self._coroutines is None else [self._plain, self._coroutines]

    def free(self, coming: int) -> int:
        """How many works of unknown kind could be started soon, beside those that are coming already."""
        if self._coroutines is None:
            return self._plain.free(coming)
        plain, coroutines = self._plain.free(coming), self._coroutines.free(coming)
        if not self._has_plain:
            return coroutines
        if plain > 0 and coroutines > 0:
            return min(plain, coroutines)
        if (self._plain if plain <= 0 else self._coroutines).flows:
            return 0  # there will be room for both soon
        # One kind is busy: what is taken of it goes back, so only a few are tried.
        return min(max(plain, coroutines), 4 - coming)

    def submit(self, works: list[Work]) -> None:
        """Run these works; those that have an outcome already are over at once."""
        plain = [work for work in works if work.outcome is None and not work.is_async]
        coroutines = [work for work in works if work.outcome is None and work.is_async]
        self._around.done.extend(work for work in works if work.outcome is not None)
        if plain:
            self._has_plain = True
            self._plain.submit(plain)
        if coroutines:
            if self._coroutines is None:
                self._coroutines = EventLoop(self._around, self._concurrency, self._threads)
            self._coroutines.submit(coroutines)

    def collect(self) -> list[Work]:
        """The works that are over."""
        over, done = [], self._around.done
        while done:
            over.append(done.popleft())
        return over

    @property
    def has_done(self) -> bool:
        """Whether `collect` would find something."""
        return bool(self._around.done)

    def active(self) -> bool:
        """Whether anything is submitted and not over."""
        return any(station.active for station in self._stations)

    def running(self) -> list[Work]:
        """The works that have started and are not over."""
        return [
            work
            for station in self._stations
            for work in list(station.active.values())
            if work.started_at and not work.finished_at
        ]

    def watch(self, now: float) -> None:
        """Let each station look whether its works keep each other waiting."""
        for station in self._stations:
            station.watch(now)

    def withdraw(self, before: float | None = None) -> list[Work]:
        """Take back what has not started: everything, or where the oldest waits since `before`."""
        waiting: list[Work] = []
        for station in self._stations:
            oldest = next((w for w in list(station.active.values()) if not w.started_at), None)
            if oldest is not None and (before is None or oldest.claimed_at < before):
                waiting += station.withdraw(before)
        return waiting

    def abandon(self) -> list[Work]:
        """Everything that is not over, the newest first; what has not started never will."""
        left = self.withdraw()
        for station in self._stations:
            left += [work for work in list(station.active.values()) if not work.finished_at]
        return sorted(left, key=lambda work: work.claimed_at, reverse=True)

    def interrupt(self, work: Work, exception: BaseException) -> None:
        """Raise an exception inside the handler of a running work, if that can be done."""
        for station in self._stations:
            if work.key in station.active:
                station.interrupt(work, exception)

    def calls_hooks(self, event: str) -> None:
        """Let the supervisor see that the claim thread calls hooks: if it hangs there, that was no job."""
        if self._around.slots is not None:
            self._around.slots.calls_hooks(event)

    def stop(self) -> None:
        """Let all threads go once they are idle, the main thread's `serve` included."""
        for station in {self.main, *self._stations}:
            station.stop()
