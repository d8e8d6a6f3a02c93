"""What all ways to run a handler have in common."""

from __future__ import annotations

import decimal
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context
from dataclasses import dataclass, field

from redjobs.hooks import Hooks
from redjobs.worker.slots import Slots
from redjobs.worker.work import Work

#: Short works are held in three batches: one runs, one is made into works, one the server begins.
BATCHES = 3
#: Nothing is claimed to wait behind a job that runs for so long already.
LONG_SECONDS = 0.02


class Contexts:
    """The contexts in which jobs run: copies of one, so that what a job sets holds in no other one."""

    def __init__(self, original: Context) -> None:
        self._original = original
        # What stands in a context is shared by its copies, and decimal's settings are changed in place. Where
        # there are none yet, each copy makes its own when it calculates.
        probe = original.copy()
        probe.run(decimal.getcontext)
        self._has_decimals = len(probe) == len(original)

    def new(self) -> Context:
        """For one job."""
        context = self._original.copy()
        if self._has_decimals:
            context.run(_copy_decimals)
        return context


def _copy_decimals() -> None:
    decimal.setcontext(decimal.getcontext().copy())


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all stations of a process share."""

    #: Wakes the claim thread: there is something in `done`.
    wake: Callable[[], None]
    hooks: Hooks
    #: Where a supervisor sees what runs.
    slots: Slots | None = None
    #: Copies of the main thread's context as the app's modules and its `worker_start` have left it, once
    #: they are over.
    contexts: Future[Contexts] = field(default_factory=Future)
    #: Works that are over.
    done: deque[Work] = field(default_factory=deque)


class Station:
    """One way to run works."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        #: Submitted and not over. By claim: a job may come back to a worker that lost and still runs it.
        self.active: dict[tuple[str, str], Work] = {}

    def free(self, coming: int) -> int:
        """How many more works could be started soon, beside those that are coming already."""
        raise NotImplementedError

    @property
    def flows(self) -> bool:
        """Whether works are so short that those in line will have started in a moment."""
        raise NotImplementedError

    def submit(self, works: list[Work]) -> None:
        """Run these works, in this order."""
        raise NotImplementedError

    def interrupt(self, work: Work, exception: BaseException) -> None:
        """Raise an exception inside the handler of a running work, if that can be done."""
        raise NotImplementedError

    def watch(self, now: float) -> None:
        """Called by the claim thread now and then while works run, before they are held to their limits."""

    def withdraw(self, before: float | None) -> list[Work]:
        """Take back works that have not started; those that come next only if none has since `before`."""
        return []

    def stop(self) -> None:
        """No more works will be submitted; let go of threads that are idle."""
