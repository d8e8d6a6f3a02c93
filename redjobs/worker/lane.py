"""One queue as one worker sees it: its list, its incarnation, what it holds and what comes next."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from redjobs.commands import Taken
from redjobs.ids import new_worker
from redjobs.keys import Keys

#: An id that was taken and could not be begun for so long is given to others.
WAIT_SECONDS = 0.1


class Lane:
    """State only; the loop sends the commands."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.worker = new_worker()
        #: Priorities other than 0 whose lists `take` looks at.
        self.priorities: list[int] = []
        #: Taken and not begun, with the monotonic time when they were taken.
        self.taken: deque[tuple[str, float]] = deque()
        #: Were there when a worker crashed: each is begun when nothing else runs here.
        self.suspects: deque[str] = deque()
        #: Tokens of `begin` calls whose replies were not read.
        self.tokens: deque[str] = deque(maxlen=32)
        #: Begun and not settled: what is in the list with our knowledge.
        self.begun: set[str] = set()
        #: Unknown ids that the last comparison found; twice unknown is stranded.
        self.strangers: set[str] = set()
        #: Monotonic time when the next scheduled job is due; None: nothing is known to come.
        self.due_at: float | None = None
        #: Whether there may be something to take right now.
        self.open = True

    def took(self, taken: Taken) -> None:
        """Learn from a reply of `take`."""
        now = time.monotonic()
        self.taken.extend((job_id, now) for job_id in taken.ids)
        new = [priority for priority in taken.missing if priority not in self.priorities]
        self.priorities = sorted([*self.priorities, *new])
        self.due_at = None if taken.next_ms is None else now + taken.next_ms / 1000
        self.open = bool(taken.ids) or taken.more > 0 or bool(new) or taken.next_ms == 0

    def renew(self) -> None:
        """Begin anew under another name; what stands in the old list, a sweep recovers."""
        self.worker = new_worker()
        self.taken.clear()
        self.suspects.clear()
        self.tokens.clear()
        self.open = True

    def overdue(self, now: float) -> list[str]:
        """Ids that were taken and have waited too long; they are forgotten here."""
        late = []
        while self.taken and now - self.taken[0][1] > WAIT_SECONDS:
            late.append(self.taken.popleft()[0])
        return late

    def give_up(self) -> list[str]:
        """Ids that were taken or suspected and not begun, oldest first; they are forgotten here."""
        ids = [job_id for job_id, _ in self.taken] + list(self.suspects)
        self.taken.clear()
        self.suspects.clear()
        return ids

    def known(self) -> set[str]:
        """Ids that stand in our list with our knowledge."""
        return self.begun | {job_id for job_id, _ in self.taken} | set(self.suspects)

    def compare(self, listed: Sequence[str]) -> list[str]:
        """Which ids of our list were strangers now and at the comparison before, oldest first.

        A reply that was lost, or a blocked call of a connection that is gone, leaves them there.
        """
        known = self.known()
        strange = [job_id for job_id in reversed(listed) if job_id not in known]
        stranded = [job_id for job_id in strange if job_id in self.strangers]
        self.strangers = set(strange)
        return stranded
