"""An exception that a signal handler raises, wherever it comes: the queue goes on for all others.

It is raised at each line in turn by a trace function, in one thread.
"""

from __future__ import annotations

import linecache
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from redjobs import Queue, drivers
from redjobs.errors import EnqueueUnknown, JobTimeout
from redjobs.keys import Keys
from tests.servers import Server
from tests.waiting import wait_until

#: Where whoever sends may be interrupted.
_STEPS = {"_share", "_appoint", "_leave", "_send_for_all", "wake", "__init__"}


def send(user_id: int) -> None:
    """A job."""


@pytest.fixture
def queue(server: Server, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    monkeypatch.setattr(drivers, "_LOOK_S", 0.02)
    queue = Queue(keys.queue, url=server.url, prefix=keys.prefix)
    queue.enqueue(send, 0)
    yield queue
    queue.close()


class Interrupting:
    """Raises at one of the lines, which are counted from 0; not where a `with` lets go of its lock.

    There it cannot come: the interpreter looks for signals after calls and jumps.
    """

    def __init__(self, at: int) -> None:
        self.left = at
        self.where = ""

    def trace(self, frame: FrameType, _event: str, _arg: Any) -> Any:
        code = frame.f_code
        return self._line if code.co_filename == drivers.__file__ and code.co_name in _STEPS else None

    def _line(self, frame: FrameType, event: str, _arg: Any) -> Any:
        text = linecache.getline(drivers.__file__, frame.f_lineno).strip()
        if event == "line" and not self.where and not text.startswith("with "):
            self.left -= 1
            if self.left < 0:
                self.where = f"{frame.f_code.co_name}: {text}"
                raise JobTimeout("the time is over")
        return self._line


@contextmanager
def traced(interrupting: Interrupting) -> Iterator[None]:
    before = sys.gettrace()
    sys.settrace(interrupting.trace)
    try:
        yield
    finally:
        sys.settrace(before)


class Caller(threading.Thread):
    """Enqueues one job in a thread."""

    def __init__(self, queue: Queue, interrupting: Interrupting | None = None) -> None:
        super().__init__(daemon=True)
        self._queue = queue
        self._interrupting = interrupting
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """In the thread."""
        try:
            if self._interrupting is None:
                self._queue.enqueue(send, 1)
            else:
                with traced(self._interrupting):
                    self._queue.enqueue(send, 1)
        except BaseException as error:
            self.error = error

    def ended(self, where: str) -> BaseException | None:
        """Its error."""
        self.join(5)
        assert not self.is_alive(), f"waits for ever for one that was interrupted in {where}"
        return self.error


def at_each_line(interrupt: Callable[[Interrupting], None]) -> list[str]:
    """Interrupt at one line after the other, until there are no more; where that was."""
    places: list[str] = []
    while True:
        interrupting = Interrupting(len(places))
        interrupt(interrupting)
        if not interrupting.where:
            return places
        places.append(interrupting.where)


def test_whoever_sends_alone_is_interrupted(queue: Queue) -> None:
    def interrupt(interrupting: Interrupting) -> None:
        error = Caller(queue, interrupting).ended("this one itself")
        assert bool(interrupting.where) == isinstance(error, JobTimeout)
        assert Caller(queue).ended(interrupting.where) is None

    assert len(at_each_line(interrupt)) > 5


@pytest.mark.slow
@pytest.mark.parametrize("look_s", [0.02, 0.15])
def test_whoever_sends_for_others_is_interrupted(
    queue: Queue, server: Server, monkeypatch: pytest.MonkeyPatch, look_s: float
) -> None:
    """Appointed by the one before, or because that one takes long."""
    monkeypatch.setattr(drivers, "_LOOK_S", look_s)

    def interrupt(interrupting: Interrupting) -> None:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            callers = [Caller(queue)]
            wait_until(lambda: queue._driver._busy)
            callers.append(Caller(queue, interrupting))
            wait_until(lambda: queue._driver._waiting or not callers[1].is_alive())
            callers += [Caller(queue), Caller(queue)]
            wait_until(lambda: len(queue._driver._waiting) >= 2)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        for caller in callers:
            error = caller.ended(interrupting.where)
            if caller is callers[1] and interrupting.where:
                assert isinstance(error, JobTimeout)
            else:
                assert error is None or isinstance(error, EnqueueUnknown), "it is another one's"
        assert Caller(queue).ended(interrupting.where) is None

    assert len(at_each_line(interrupt)) > 20
