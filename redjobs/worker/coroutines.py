"""Coroutines, many at a time, on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Awaitable, Generator
from types import CoroutineType, coroutine
from typing import Any

from redjobs.commands import BATCH
from redjobs.errors import JobCancelled, JobInterrupted, JobTimeout
from redjobs.worker.slots import Slots
from redjobs.worker.station import BATCHES, LONG_SECONDS, Station, Surroundings
from redjobs.worker.work import Work, execute_async, if_killed


class EventLoop(Station):
    """Coroutines, many at a time, on an event loop in a thread of its own."""

    def __init__(self, around: Surroundings, concurrency: int, first_slot: int) -> None:
        super().__init__(around)
        self._concurrency = concurrency
        self._free_slots = list(range(first_slot, first_slot + concurrency))
        #: Submitted and not started: short ones are claimed ahead, and of a batch of unknown kind more may
        #: be coroutines than there are slots.
        self._line: deque[Work] = deque()
        #: Their tasks are made and have not had a turn yet: while one keeps the loop, they may be withdrawn.
        self._fresh: dict[tuple[str, str], Work] = {}
        #: When the last one had its first turn.
        self._started_at = 0.0
        #: Works were withdrawn from behind one that keeps the loop, and it has not turned since.
        self._is_stuck = False
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._reporting = False
        #: Of works with a timeout, which the claim thread postpones while the loop's takes and leaves slots.
        self._slot_of: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()
        #: Whether the loop has turned since it was looked at.
        self._has_turned = True
        self._looked_at = 0.0
        #: When those ended that ended lately. Only its length and its ends are looked at: any thread may.
        self._ends: deque[float] = deque(maxlen=BATCHES * BATCH)
        self._contexts = around.contexts.result()
        self._loop = _new_event_loop()
        threading.Thread(target=self._turn, name="redjobs-loop", daemon=True).start()

    def _turn(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def free(self, coming: int) -> int:
        if self._is_stuck:
            return 0
        room, ended = self._concurrency - len(self.active) - coming, self._lately()
        if ended < self._concurrency:
            return room
        # As many as can run at once have ended just now: as many as have ended may wait in line, and start
        # as soon. In pieces that are worth a round trip.
        room += ended
        return room if room >= ended // BATCHES else 0

    def _lately(self) -> int:
        """How many have ended just now; not all, if they are very many."""
        ends, since = self._ends, time.monotonic() - LONG_SECONDS
        while ends and ends[0] < since:
            ends.popleft()
        return len(ends)

    def submit(self, works: list[Work]) -> None:
        for work in works:
            self.active[work.key] = work
        self._line.extend(works)
        self._loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        while self._free_slots and self._line:
            try:
                work = self._line.popleft()
            except IndexError:  # it was withdrawn just now
                return
            self._fresh[work.key] = work
            run = self._run(work, self._free_slots.pop())
            # A context of its own: this one is that of the job which has just left its slot.
            context = self._contexts.new()
            self._tasks[work.key] = asyncio.Task(run, loop=self._loop, name=work.claim.id, context=context)

    @property
    def flows(self) -> bool:
        return self._lately() >= self._concurrency

    def withdraw(self, before: float | None) -> list[Work]:
        # Each has kept the loop for a moment only: those that have a task come next.
        is_stuck = before is None or self._started_at < before
        # Meanwhile the loop may get on: whoever of the two removes a work has it.
        fresh = [self._fresh.pop(key, None) for key in list(self._fresh)] if is_stuck else []
        taken = [work for work in fresh if work is not None]
        with contextlib.suppress(IndexError):
            while True:
                taken.append(self._line.popleft())
        for work in taken:
            self.active.pop(work.key, None)
        if taken and is_stuck:
            self._is_stuck = True
            self._loop.call_soon_threadsafe(self._gets_on)
        return taken

    def _gets_on(self) -> None:
        self._is_stuck = False
        self.around.wake()

    async def _run(self, work: Work, number: int) -> None:
        self._started_at = time.monotonic()
        if self._fresh.pop(work.key, None) is None:  # it was withdrawn: somebody else has the job by now
            self._leave_slot(work, number)
            return
        try:
            if self.around.slots is not None:
                self._occupy(self.around.slots, work, number)
            await execute_async(work, _interruptible(work), self.around.hooks)
        finally:
            self._ended(work, number)

    def _occupy(self, slots: Slots, work: Work, number: int) -> None:
        if work.options.timeout is None:
            slots.occupy(number, work.claim.id, self._started_at)
            return
        with self._lock:
            self._slot_of[work.key] = number
            slots.occupy(number, work.claim.id, self._started_at, *if_killed(work))

    def _vacate(self, slots: Slots, work: Work, number: int) -> None:
        if work.options.timeout is None:
            slots.vacate(number)
            return
        with self._lock:
            self._slot_of.pop(work.key, None)
            slots.vacate(number)

    def _ended(self, work: Work, number: int) -> None:
        if self.around.slots is not None:
            self._vacate(self.around.slots, work, number)
        self._ends.append(work.finished_at)
        self.active.pop(work.key, None)
        self.around.done.append(work)
        self._leave_slot(work, number)
        if not self._reporting:
            self._reporting = True
            self._loop.call_soon(self._report)

    def _leave_slot(self, work: Work, number: int) -> None:
        self._free_slots.append(number)
        self._tasks.pop(work.key, None)
        self._start()

    def _report(self) -> None:
        # Everything that ends in one turn of the loop is reported together.
        self._reporting = False
        self.around.wake()

    def watch(self, now: float) -> None:
        if not self.active:
            return
        if self._has_turned:
            self._has_turned, self._looked_at = False, now
            self._loop.call_soon_threadsafe(self._turns)
            return
        # One of them has kept the loop since the last look: what the others wait for is their turn.
        blocked, self._looked_at = now - self._looked_at, now
        task = asyncio.current_task(self._loop)
        culprit = next((key for key, other in list(self._tasks.items()) if other is task), None)
        if culprit is None:  # a task that a job has started, or a callback: nobody knows whose
            return
        for work in list(self.active.values()):
            if work.key != culprit and work.started_at and work.options.timeout is not None:
                self._postpone(work, min(blocked, work.options.timeout - work.blocked_seconds))

    def _postpone(self, work: Work, seconds: float) -> None:
        work.blocked_seconds += seconds
        with self._lock:
            number = self._slot_of.get(work.key)
            if self.around.slots is not None and number is not None:
                self.around.slots.postpone(number, seconds)

    def _turns(self) -> None:
        self._has_turned = True

    def interrupt(self, work: Work, exception: BaseException) -> None:
        # A cancelled job's coroutine sees an ordinary cancellation; other reasons it sees themselves.
        work.interrupt = None if isinstance(exception, JobCancelled) else _as_cancellation(exception)
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


class _TimedOut(JobTimeout, asyncio.CancelledError):
    """A timeout that is a cancellation, too: task groups and `wait_for` then end what they have started."""


class _Interrupted(JobInterrupted, asyncio.CancelledError):
    """The same for a worker that has to stop."""


# A handler that writes down what it was stopped by names these.
_TimedOut.__name__ = JobTimeout.__name__
_Interrupted.__name__ = JobInterrupted.__name__


def _as_cancellation(reason: BaseException) -> BaseException:
    kind = _TimedOut if isinstance(reason, JobTimeout) else _Interrupted
    cancellation = kind(*reason.args)
    cancellation.__cause__ = reason
    return cancellation


def _reason_of(cancellation: BaseException) -> BaseException:
    """What it was made of, with where it went through."""
    return (cancellation.__cause__ or cancellation).with_traceback(cancellation.__traceback__)


async def _awaiting(made: Awaitable[Any]) -> Any:
    """A coroutine of a future, or of Cython's coroutine; TypeError where it is nothing such."""
    return await made


@coroutine
def _interruptible(work: Work) -> Generator[Any, Any, Any]:
    """Awaits the handler's call; where its task is cancelled for a reason, the coroutine sees the reason.

    The call is made here, for it may raise, too: not every function that is marked as one is `async def`.
    """
    assert work.handler is not None
    made = work.handler.fn(*work.args, **work.kwargs)
    inner = made if isinstance(made, CoroutineType) else _awaiting(made)
    error: BaseException | None = None
    while True:
        try:
            waits_for = inner.throw(error) if error is not None else inner.send(None)
        except StopIteration as stop:
            return stop.value
        except (_TimedOut, _Interrupted) as cancellation:
            raise _reason_of(cancellation) from None
        except BaseExceptionGroup as group:
            ours, others = group.split((_TimedOut, _Interrupted))
            if ours is None or others is not None:
                raise
            raise _reason_of(ours.exceptions[0]) from None
        error = None
        try:
            yield waits_for
        except asyncio.CancelledError as cancelled:
            error, work.interrupt = work.interrupt or cancelled, None
        except BaseException as raised:  # noqa: BLE001 - it belongs to the coroutine
            error = raised
