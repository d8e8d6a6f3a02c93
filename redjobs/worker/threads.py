"""Plain functions: in the main thread, one at a time, or in several threads."""

from __future__ import annotations

import contextlib
import contextvars
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from redjobs.commands import BATCH
from redjobs.worker.station import BATCHES, LONG_SECONDS, Contexts, Station, Surroundings
from redjobs.worker.work import Work, execute, failed, if_killed

#: What is held can be started within this time, by the durations seen lately.
_HELD_SECONDS = 0.02
#: Finished works are reported at least this often while more are running.
_REPORT_SECONDS = 0.005


class Threaded(Station):
    """Works wait in a line; one or more threads serve it."""

    def __init__(self, around: Surroundings, threads: int) -> None:
        super().__init__(around)
        self._line: SimpleQueue[Work | None] = SimpleQueue()
        self._threads = threads
        self._seconds = _HELD_SECONDS
        self._reported = 0.0

    def free(self, coming: int) -> int:
        most = self._most()
        room = most * self._threads - len(self.active) - coming
        # In whole batches, or there would be a round trip for every few jobs.
        batch = max(1, most // BATCHES) * self._threads
        return room if most == 1 or room >= batch else 0

    def _most(self) -> int:
        """How many works each thread may hold, the one that runs included."""
        oldest = next(iter(list(self.active.values())), None)
        running = time.monotonic() - oldest.started_at if oldest and oldest.started_at else 0.0
        if running > LONG_SECONDS:
            # A long job, whatever the ones before it were like: nothing may wait for it.
            return 1
        return max(1, min(BATCHES * BATCH, int(_HELD_SECONDS / max(self._seconds, 1e-6))))

    def submit(self, works: list[Work]) -> None:
        for work in works:
            self.active[work.key] = work
            self._line.put(work)

    @property
    def flows(self) -> bool:
        return self._most() > 1

    def withdraw(self, before: float | None) -> list[Work]:
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
        slots, hooks, contexts = around.slots, around.hooks, around.contexts.result()
        while (work := line.get()) is not None:
            try:
                begins(work)
                if slots is not None:
                    slots.occupy(number, work.claim.id, time.monotonic(), *if_killed(work))
                if work.handler is not None:
                    call = partial(work.handler.fn, *work.args, **work.kwargs)
                    contexts.new().run(execute, work, call, hooks)
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


class MainThread(Threaded):
    """Plain functions, one at a time, in the process's main thread: signals work there.

    An interrupt is a SIGALRM, which ends calls of the system too. A handler may use that signal as well, and
    leave it changed behind; where it is not ours, it may end the process, and is not sent.
    """

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around, threads=1)
        self._running: Work | None = None
        self._alarm = self._on_alarm
        self._lock = threading.Lock()
        #: An exception may be waiting for this thread's next bytecode.
        self._told = False

    def serve(self) -> None:
        """Run works until `stop`. Called in the main thread."""
        before = signal.signal(signal.SIGALRM, self._alarm)
        self.around.contexts.set_result(Contexts(contextvars.copy_context()))
        try:
            self._serve(self._begins, 0)
        finally:
            signal.signal(signal.SIGALRM, before)

    def _begins(self, work: Work | None) -> None:
        self._running = work
        if self._told:
            with self._lock:
                self._told = False
                _raise_in(threading.get_ident(), None)
        # Only here, for each look takes two microseconds.
        if work is not None and work.options.timeout is not None and not self._hears:
            signal.signal(signal.SIGALRM, self._alarm)

    @property
    def _hears(self) -> bool:
        """Whether a SIGALRM comes to us."""
        return signal.getsignal(signal.SIGALRM) == self._alarm

    def interrupt(self, work: Work, exception: BaseException) -> None:
        work.interrupt = exception
        main = threading.main_thread().ident or 0
        if self._hears:
            signal.pthread_kill(main, signal.SIGALRM)
            return
        with self._lock:
            self._told = True  # first: whoever ends the work now sees it
            if self._running is work:
                _raise_in(main, type(exception))

    def _on_alarm(self, _signum: int, _frame: Any) -> None:
        work = self._running
        if work is not None and work.interrupt is not None:
            exception, work.interrupt = work.interrupt, None
            raise exception

    def stop(self) -> None:
        self._line.put(None)


class Threads(Threaded):
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
                    _raise_in(ident, None)

    def interrupt(self, work: Work, exception: BaseException) -> None:
        # A thread takes an exception class only, between two bytecodes; `work.interrupt` says more.
        with self._lock:
            work.interrupt = exception
            for ident, running in list(self._running.items()):
                if running is work:
                    _raise_in(ident, type(exception))

    def stop(self) -> None:
        for _ in range(self._threads):
            self._line.put(None)


def _raise_in(ident: int, kind: type[BaseException] | None) -> None:
    """Let a thread raise this where it is; None: it shall not raise what it was told before."""
    import ctypes  # a quarter of a megabyte, for those that interrupt threads

    told = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), told)
