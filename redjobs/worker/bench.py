"""Where handlers run: the main thread, threads for functions that wait, an event loop for coroutines.

The claim thread submits works and collects those that are over; the bench knows how many more
it could start soon, so that nothing is claimed that would have to wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from redjobs.errors import JobCancelled
from redjobs.hooks import Hooks
from redjobs.worker.slots import Slots
from redjobs.worker.work import Work, execute, execute_async, failed, if_killed

#: A batch is what can be started within this time, by the durations seen lately.
_BATCH_SECONDS = 0.02
_MOST = 500
#: Finished works are reported at least this often while more are running.
_REPORT_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all stations of a process share."""

    #: Wakes the claim thread: there is something in `done`.
    wake: Callable[[], None]
    hooks: Hooks
    #: Where a supervisor sees what runs.
    slots: Slots | None = None
    #: Works that are over.
    done: deque[Work] = field(default_factory=deque)


class Station:
    """One way to run works."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        #: Submitted and not over. By claim: a job may come back to a worker that lost and still runs it.
        self.active: dict[tuple[str, str], Work] = {}

    def free(self) -> int:
        """How many more works could be started soon."""
        raise NotImplementedError

    def submit(self, works: list[Work]) -> None:
        """Run these works, in this order."""
        raise NotImplementedError

    def interrupt(self, work: Work, exception: BaseException) -> None:
        """Raise an exception inside the handler of a running work, if that can be done."""
        raise NotImplementedError

    def withdraw(self) -> list[Work]:
        """Take back works that have not started."""
        return []

    def stop(self) -> None:
        """No more works will be submitted; let go of threads that are idle."""


class _Threaded(Station):
    """Works wait in a line; one or more threads serve it."""

    def __init__(self, around: Surroundings, threads: int) -> None:
        super().__init__(around)
        self._line: SimpleQueue[Work | None] = SimpleQueue()
        self._threads = threads
        self._seconds = _BATCH_SECONDS
        self._reported = 0.0

    def free(self) -> int:
        most = max(1, min(_MOST, int(_BATCH_SECONDS / max(self._seconds, 1e-6))))
        oldest = next(iter(list(self.active.values())), None)
        running = time.monotonic() - oldest.started_at if oldest and oldest.started_at else 0.0
        if running > _BATCH_SECONDS:
            # A long job, whatever the ones before it were like: nothing may wait for it.
            most = 1
        return most * self._threads - len(self.active)

    def submit(self, works: list[Work]) -> None:
        for work in works:
            self.active[work.key] = work
            self._line.put(work)

    def withdraw(self) -> list[Work]:
        taken: list[Work] = []
        with contextlib.suppress(Empty):
            while True:
                work = self._line.get_nowait()
                if work is not None:
                    taken.append(work)
                    self.active.pop(work.key, None)
        return taken

    def _serve(self, begins: Callable[[Work | None], None], number: int) -> None:
        line, active, around = self._line, self.active, self.around
        slots, hooks = around.slots, around.hooks
        while (work := line.get()) is not None:
            try:
                begins(work)
                if slots is not None:
                    slots.occupy(number, work.claim.id, time.monotonic(), *if_killed(work))
                if work.handler is not None:
                    execute(work, partial(work.handler.fn, *work.args, **work.kwargs), hooks)
            except BaseException as late:  # noqa: BLE001 - an interrupt that came just behind the handler
                work.outcome = work.outcome or failed(work, late)
            self._ends(begins)
            if slots is not None:
                slots.vacate(number)
            active.pop(work.key, None)
            around.done.append(work)
            self._seconds += 0.2 * (work.finished_at - work.started_at - self._seconds)
            if line.empty() or work.finished_at - self._reported > _REPORT_SECONDS:
                self._reported = work.finished_at
                around.wake()

    @staticmethod
    def _ends(begins: Callable[[Work | None], None]) -> None:
        """The handler is over: from here on no interrupt may hit what runs next."""
        while True:
            try:
                begins(None)
                return
            except BaseException:  # noqa: BLE001 - an interrupt for the job that is over
                continue


class MainThread(_Threaded):
    """Plain functions, one at a time, in the process's main thread: signals work there."""

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around, threads=1)
        self._running: Work | None = None

    def serve(self) -> None:
        """Run works until `stop`. Called in the main thread."""
        before = signal.signal(signal.SIGALRM, self._on_alarm)
        try:
            self._serve(self._begins, 0)
        finally:
            signal.signal(signal.SIGALRM, before)

    def _begins(self, work: Work | None) -> None:
        self._running = work

    def interrupt(self, work: Work, exception: BaseException) -> None:
        work.interrupt = exception
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    def _on_alarm(self, _signum: int, _frame: Any) -> None:
        work = self._running
        if work is not None and work.interrupt is not None:
            exception, work.interrupt = work.interrupt, None
            raise exception

    def stop(self) -> None:
        self._line.put(None)


class Threads(_Threaded):
    """Plain functions that wait for something else, several at a time."""

    def __init__(self, around: Surroundings, threads: int) -> None:
        super().__init__(around, threads)
        self._running: dict[int, Work] = {}
        self._lock = threading.Lock()
        for number in range(threads):
            name = f"redjobs-{number + 1}"
            threading.Thread(target=self._work, args=(number,), name=name, daemon=True).start()

    def _work(self, number: int) -> None:
        self._serve(partial(self._begins, threading.get_ident()), number)

    def _begins(self, ident: int, work: Work | None) -> None:
        if work is not None:
            self._running[ident] = work
        elif ident in self._running:
            with self._lock:
                ended = self._running.pop(ident, None)
                if ended is not None and ended.interrupt is not None:
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), None)

    def interrupt(self, work: Work, exception: BaseException) -> None:
        # A thread takes an exception class only, between two bytecodes; `work.interrupt` says more.
        with self._lock:
            work.interrupt = exception
            for ident, running in list(self._running.items()):
                if running is work:
                    kind = ctypes.py_object(type(exception))
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), kind)

    def stop(self) -> None:
        for _ in range(self._threads):
            self._line.put(None)


class EventLoop(Station):
    """Coroutines, many at a time, on an event loop in a thread of its own."""

    def __init__(self, around: Surroundings, concurrency: int, first_slot: int) -> None:
        super().__init__(around)
        self._concurrency = concurrency
        self._free_slots = list(range(first_slot, first_slot + concurrency))
        #: Submitted and not started: a batch of unknown kind may hold more than there are slots.
        self._line: deque[Work] = deque()
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._reporting = False
        self._loop = _new_event_loop()
        threading.Thread(target=self._turn, name="redjobs-loop", daemon=True).start()

    def _turn(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def free(self) -> int:
        return self._concurrency - len(self.active)

    def submit(self, works: list[Work]) -> None:
        for work in works:
            self.active[work.key] = work
        self._line.extend(works)
        self._loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        while self._free_slots:
            try:
                work = self._line.popleft()
            except IndexError:  # nothing waits any more: `withdraw` may have been here
                return
            number = self._free_slots.pop()
            self._tasks[work.key] = self._loop.create_task(self._run(work, number))

    def withdraw(self) -> list[Work]:
        taken: list[Work] = []
        with contextlib.suppress(IndexError):
            while True:
                taken.append(self._line.popleft())
                self.active.pop(taken[-1].key, None)
        return taken

    async def _run(self, work: Work, number: int) -> None:
        if self.around.slots is not None:
            self.around.slots.occupy(number, work.claim.id, time.monotonic(), *if_killed(work))
        if work.handler is not None:
            coroutine = work.handler.fn(*work.args, **work.kwargs)
            await execute_async(work, _Interruptible(work, coroutine), self.around.hooks)
        if self.around.slots is not None:
            self.around.slots.vacate(number)
        self._free_slots.append(number)
        self._tasks.pop(work.key, None)
        self.active.pop(work.key, None)
        self.around.done.append(work)
        self._start()
        if not self._reporting:
            self._reporting = True
            self._loop.call_soon(self._report)

    def _report(self) -> None:
        # Everything that ends in one turn of the loop is reported together.
        self._reporting = False
        self.around.wake()

    def interrupt(self, work: Work, exception: BaseException) -> None:
        # A cancelled job's coroutine sees an ordinary cancellation; other reasons it sees themselves.
        work.interrupt = None if isinstance(exception, JobCancelled) else exception
        self._loop.call_soon_threadsafe(self._cancel, work)

    def _cancel(self, work: Work) -> None:
        if work.key in self._tasks:
            self._tasks[work.key].cancel()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class _Interruptible:
    """Awaits a coroutine; where its task is cancelled for a reason, the coroutine sees the reason."""

    def __init__(self, work: Work, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._work = work
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._coroutine
        error: BaseException | None = None
        while True:
            try:
                waits_for = inner.throw(error) if error is not None else inner.send(None)
            except StopIteration as stop:
                return stop.value
            error = None
            try:
                yield waits_for
            except asyncio.CancelledError as cancelled:
                error, self._work.interrupt = self._work.interrupt or cancelled, None
            except BaseException as raised:  # noqa: BLE001 - it belongs to the coroutine
                error = raised


class Bench:
    """All stations of one worker process."""

    def __init__(self, around: Surroundings, *, threads: int, concurrency: int) -> None:
        self._around = around
        self._threads = threads
        self._concurrency = concurrency
        self.main = MainThread(around)
        #: Plain functions run here: in the main thread, or in several others.
        self._plain: _Threaded = self.main if threads == 1 else Threads(around, threads)
        #: Made when the first coroutine function is to be run: most workers need none.
        self._coroutines: EventLoop | None = None
        self._has_plain = False

    @property
    def _stations(self) -> list[Station]:
        return [self._plain] if self._coroutines is None else [self._plain, self._coroutines]

    def free(self) -> int:
        """How many works of unknown kind could be started soon."""
        if self._coroutines is None:
            return self._plain.free()
        plain, coroutines = self._plain.free(), self._coroutines.free()
        if not self._has_plain:
            return coroutines
        if plain > 0 and coroutines > 0:
            return min(plain, coroutines)
        # One kind is busy: what is taken of it goes back, so only a few are tried.
        return min(max(plain, coroutines), 4)

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

    def withdraw(self, before: float | None = None) -> list[Work]:
        """Take back what has not started: everything, or where the oldest waits since `before`."""
        waiting: list[Work] = []
        for station in self._stations:
            oldest = next((w for w in list(station.active.values()) if not w.started_at), None)
            if oldest is not None and (before is None or oldest.claimed_at < before):
                waiting += station.withdraw()
        return waiting

    def interrupt(self, work: Work, exception: BaseException) -> None:
        """Raise an exception inside the handler of a running work, if that can be done."""
        for station in self._stations:
            if work.key in station.active:
                station.interrupt(work, exception)

    def stop(self) -> None:
        """Let all threads go once they are idle, the main thread's `serve` included."""
        for station in {self.main, *self._stations}:
            station.stop()
