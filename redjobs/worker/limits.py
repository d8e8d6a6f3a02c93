"""When a worker process is to end by itself: a burst is over, nothing comes, or it is due for replacement."""

from __future__ import annotations

import random
import resource
import sys
import time
from pathlib import Path

from redjobs.worker.options import WorkerOptions
from redjobs.worker.slots import Slots

#: How often the process's memory is looked at.
_MEMORY_SECONDS = 1.0
#: So that children which were started together are not replaced together.
_JITTER = 0.1


class Limits:
    """Counts what the process does. `slots`: where a supervisor sees that it does nothing."""

    def __init__(self, options: WorkerOptions, slots: Slots | None = None) -> None:
        self._options = options
        self._slots = slots
        self._jobs = 0
        self._busy_at = time.monotonic()
        self._memory_at = 0.0
        spread = 1 + random.random() * _JITTER
        self._max_jobs = options.max_jobs and round(options.max_jobs * spread)
        # Downwards: more than this may be what the system ends a process for.
        self._max_memory = options.max_memory and round(options.max_memory / spread)

    def done(self, jobs: int) -> None:
        """So many jobs are over."""
        self._jobs += jobs
        self._busy_at = time.monotonic()

    @property
    def next_at(self) -> float:
        """Monotonic time when a limit may be reached that no job brings about."""
        idle = self._options.max_idle
        return float("inf") if idle is None else self._busy_at + idle

    def reached(self, *, busy: bool, due: bool) -> str:
        """Why the process should end now: burst, idle or recycle; '' to go on.

        `busy`: a job is running, or nobody can say what there is to do. `due`: there may be a job to
        take, which a look will tell.
        """
        now = time.monotonic()
        if self._slots is not None:
            self._slots.rests(0.0 if busy or due else self._busy_at)
        if busy:
            self._busy_at = now
        elif due:
            pass
        elif self._options.burst:
            return "burst"
        elif self._options.max_idle is not None and now >= self._busy_at + self._options.max_idle:
            return "idle"
        return "recycle" if self._is_worn(now) else ""

    def _is_worn(self, now: float) -> bool:
        if self._max_jobs is not None and self._jobs >= self._max_jobs:
            return True
        if self._max_memory is not None and now >= self._memory_at:
            self._memory_at = now + _MEMORY_SECONDS
            return memory_used() > self._max_memory
        return False


def memory_used() -> int:
    """Resident bytes of this process; on systems without /proc the most it ever had."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
