"""One worker process: the claim thread, the bench, signals. With or without a supervisor."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import NoReturn

import redis

from redjobs.registry import Registry
from redjobs.registry import registry as shared_registry
from redjobs.worker.bench import Bench
from redjobs.worker.link import Link
from redjobs.worker.logs import counted
from redjobs.worker.loop import ClaimLoop
from redjobs.worker.options import WorkerOptions
from redjobs.worker.seat import Seat
from redjobs.worker.station import Surroundings
from redjobs.worker.upkeep import OwnLeases, Upkeep

logger = logging.getLogger("redjobs.worker")

#: Where handlers are left behind, the hooks of `worker_stop` have so long, and each output that is flushed.
#: All in all it is less than what a supervisor leaves a child for its farewell.
_HOOKS_SECONDS = 0.5
_FLUSH_SECONDS = 0.2


class Worker:
    """Runs jobs until it is told to stop. `client` is one of `connect.connect_worker`.

    With a `seat` it is a supervisor's child, which keeps the heartbeat and tells it what to do;
    without, it does everything itself.
    """

    def __init__(
        self,
        client: redis.Redis,
        options: WorkerOptions = WorkerOptions(),  # noqa: B008 - frozen
        registry: Registry = shared_registry,
        seat: Seat | None = None,
    ) -> None:
        self._options = options
        self._seat = seat
        self._link = Link(client)
        slots = None if seat is None else seat.slots
        around = Surroundings(self._link.wake, registry.hooks, slots)
        self._bench = Bench(around, threads=options.threads, concurrency=options.concurrency)
        self._hooks = registry.hooks
        self._own_leases = OwnLeases(options, self._link.run_all)
        upkeep = Upkeep(options, self._link.run_all) if seat is None else self._own_leases
        self._loop = ClaimLoop(options, registry, self._link, self._bench, upkeep, seat)
        if seat is not None:
            self._link.watch(seat.channel)
        # A terminal that is closed ends it, but for `nohup`; a supervisor takes that as a wish for new code.
        ends = seat is None and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        self._stop_signals = (*_STOPS, signal.SIGHUP) if ends else _STOPS
        self._stops = 0
        self._error: BaseException | None = None

    def run(self, begins: Callable[[], None] = lambda: None) -> int:
        """Until SIGTERM, SIGINT or `stop`. Returns how many jobs failed.

        Must be called in the main thread: plain handlers run there. Raises what ended it.
        `begins` is called once the hooks of `worker_start` are over: it takes jobs from then on.
        """
        claims = threading.Thread(target=self._claim, name="redjobs-claims", daemon=True)
        with self._signals():
            self._hooks.fire("worker_start", self)
            begins()
            claims.start()
            self._bench.main.serve()
            claims.join()
            self._hooks.fire("worker_stop", self)
        # Not before: until here signals are written to it.
        self._link.close()
        if self._error is not None:
            raise self._error
        return self._loop.failed_jobs

    @property
    def leaving(self) -> str:
        """Why it ended by itself: burst, idle or recycle; '' where it was told to."""
        return self._loop.leaving

    def stop(self, grace: float | None = None) -> None:
        """Claim no more; end once nothing runs, within the grace. For any thread."""
        self._loop.stop(self._options.grace if grace is None else grace)
        self._link.wake()

    def _claim(self) -> None:
        try:
            self._loop.run(self._obey)
        except BaseException as error:
            # It may have a job to end first, and be killed meanwhile for doing nothing.
            logger.critical("the claim loop has failed", exc_info=error)
            self._error = error
        finally:
            if self._loop.abandoned:
                self._leave_behind(len(self._loop.abandoned))
            self._bench.stop()

    def _leave_behind(self, jobs: int) -> NoReturn:
        """End the process: handlers that ignore their interrupts hold its threads."""
        logger.warning("did not stop and given back: %s", counted(jobs, "job"))
        if self._seat is not None:
            self._seat.leave(self.leaving, self._loop.failed_jobs)
        _do_within(_HOOKS_SECONDS, lambda: self._hooks.fire("worker_stop", self))
        for flush in (sys.stdout.flush, sys.stderr.flush, logging.shutdown):
            _do_within(_FLUSH_SECONDS, flush)
        os._exit(0)

    # What it is told -----------------------------------------------------------------------

    def _obey(self, messages: bytes) -> None:
        for number in messages:
            if number in self._stop_signals:
                self._told_to_stop(signal.Signals(number).name)
            elif number == signal.SIGTTIN:
                dump_threads()
            elif number in _QUIETS:
                logger.info("quiet: finishes what runs, claims no more")
                self._loop.quiet()
        if self._seat is not None:
            self._obey_supervisor(self._seat)

    def _told_to_stop(self, by: str) -> None:
        self._stops += 1
        if self._stops == 1:
            logger.info("%s: finishes what runs, within %g s", by, self._options.grace)
            self._loop.stop(self._options.grace)
        else:
            logger.warning("%s again: stops now, jobs that run are given back", by)
            self._loop.stop(0)

    def _obey_supervisor(self, seat: Seat) -> None:
        for message in seat.channel.receive():
            match message:
                case {"do": "stop", "grace": float() | int() as grace}:
                    self._loop.stop(grace)
                case {"do": "quiet"}:
                    self._loop.quiet()
                case {"do": "dump"}:
                    dump_threads()
                case {"do": "lapsed", "worker": str() as worker}:
                    for work in self._bench.running():
                        work.lost = work.lost or work.claim.worker == worker
        if seat.channel.closed and not seat.orphaned:
            seat.orphaned = True
            self._link.unwatch(seat.channel)
            logger.error("the supervisor is gone: finishes what runs, claims no more and leaves")
            self._own_leases.inherit()
            self._loop.stop(self._options.grace)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Signals wake the claim thread with their number, at once, whatever a handler is doing."""
        numbers = {*self._stop_signals, *_QUIETS, signal.SIGTTIN}
        if self._seat is not None:
            # Ctrl-C and a terminal that is closed reach a supervisor's children too; they wait for its word.
            numbers |= {signal.SIGHUP}
        before = {number: signal.signal(number, lambda *_: None) for number in numbers}
        if self._seat is not None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        fd = signal.set_wakeup_fd(self._link.wake_fileno(), warn_on_full_buffer=False)
        _handled.update(numbers)
        try:
            yield
        finally:
            _handled.clear()
            signal.set_wakeup_fd(fd)
            for number, handler in before.items():
                signal.signal(number, handler)


def _do_within(seconds: float, do: Callable[[], None]) -> None:
    """Do this, and wait no longer for it: who was left behind may hold a lock that it needs."""

    def last() -> None:
        with contextlib.suppress(Exception):
            do()

    thread = threading.Thread(target=last, name="redjobs-last", daemon=True)
    thread.start()
    thread.join(seconds)


_STOPS = (signal.SIGTERM, signal.SIGINT)
_QUIETS = (signal.SIGTSTP, signal.SIGUSR1)
#: The signals that this process's worker listens to, while there is one.
_handled: set[signal.Signals] = set()


def _before_a_fork() -> None:
    """Signals wait until parent and child each have handlers of their own."""
    if _handled:
        signal.pthread_sigmask(signal.SIG_BLOCK, _handled)


def _in_the_parent() -> None:
    if _handled:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _handled)


def _in_a_fork() -> None:
    """A process that a job forks is no worker: a signal ends it, and is not told to the worker."""
    if _handled:
        signal.set_wakeup_fd(-1)
        for number in _handled:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _handled)
        _handled.clear()


os.register_at_fork(before=_before_a_fork, after_in_parent=_in_the_parent, after_in_child=_in_a_fork)


def dump_threads() -> None:
    """Log what each thread of this process is doing."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        stack = "".join(traceback.format_stack(frame))
        logger.warning("thread %s (process %d):\n%s", names.get(ident, ident), os.getpid(), stack)
