"""What the driver knows: what it sent, what it was told, what it did to whom."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, field

from tests.chaos.checker import Fault


@dataclass
class History:
    """Written by several threads; each write is one operation of a list, a set or a dict."""

    #: Ids that were on their way at least once, and those whose enqueue returned.
    attempted: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    #: The number that each acknowledged job was given, and which of them keep a result.
    numbers: dict[str, int] = field(default_factory=dict)
    answers: list[str] = field(default_factory=list)
    #: The queue and unique key of each job that was sent with one.
    keyed: dict[str, str] = field(default_factory=dict)
    #: Jobs that were told to kill their process.
    poison: set[str] = field(default_factory=set)
    #: By job: monotonic time at which it was said to be cancelled; asked while it ran; who knows.
    cancelled: dict[str, float] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)
    #: By job: from when on (monotonic) it was not to start before when (ms of the wall clock).
    not_before: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    #: Errors that callers saw, by their class.
    errors: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def may_be_cancelled(self) -> set[str]:
        """Jobs that somebody has cancelled, or has tried to."""
        return self.cancelled.keys() | self.asked | self.doubtful

    def waiting(self, done: Set[str]) -> int:
        """About how many jobs have not run yet, when these have."""
        over = len(self.cancelled) + len(self.asked - done) + len(self.poison)
        return len(self.acknowledged) - over - len(done)

    def error(self, where: str, error: Exception) -> None:
        """A caller saw this."""
        with self._lock:
            self.errors[f"{where}: {type(error).__name__}"] += 1

    def later(self, job: str, since: float, before_ms: int) -> None:
        """From `since` on this job is not to start before this."""
        self.not_before.setdefault(job, []).append((since, before_ms))

    def fault(
        self,
        kind: str,
        at: float,
        pids: list[int] | None = None,
        *,
        until: float | None = None,
        excuses: bool = True,
        kills: bool = False,
        supervisor: int = 0,
    ) -> None:
        """Something was done, from `at` on until now if nothing else is said."""
        end = time.monotonic() if until is None else until
        hit = None if pids is None else frozenset(pids)
        self.faults.append(Fault(kind, at, end, hit, excuses, kills, supervisor))
