"""One queue as one worker sees it: its list, its incarnation, what it holds and what comes next."""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from redjobs import commands
from redjobs.commands import BATCH, Command, Taken
from redjobs.ids import new_worker, whole_of
from redjobs.keys import Keys

#: How often a lane is looked at where nobody can block on its jobs.
_POLL_SECONDS = 0.25
#: How often a lane is looked at on which nobody waits, while another one keeps the worker busy.
_LOOK_SECONDS = 0.05
#: So many can be looked at that often beside the work; where there are more, it is done less often.
_FEW_LANES = 20
#: An id that was taken and could not be begun for so long is given to others.
WAIT_SECONDS = 0.1
#: One that the server refused to begin comes back to the front, and would be taken again at once: it is kept
#: for so long, in which the others have their turn.
_ASIDE_SECONDS = 1.0
#: So many may be kept so: some jobs are broken. Where there are more, it is not they who are to blame.
_MOST_ASIDE = 3


class Lane:
    """State only; the loop sends the commands."""

    def __init__(
        self,
        keys: Keys,
        name: str | None = None,
        lowest: int | None = None,
        highest: int | None = None,
    ) -> None:
        self.keys = keys
        self._lowest = lowest
        self._highest = highest
        # A blocking pop takes priority 0, which must be within the limits.
        self._may_block = (lowest is None or lowest <= 0) and (highest is None or highest >= 0)
        #: Monotonic times until which the server is not asked again for what it has refused.
        self.rests_until = 0.0
        self.pops_again_at = 0.0
        self._polled_at = 0.0
        self._name = name
        self.worker = new_worker(name)
        #: Priorities other than 0 whose lists `take` looks at.
        self.priorities: list[int] = []
        #: Taken and not begun, with the monotonic time when they were taken.
        self.taken: deque[tuple[str, float]] = deque()
        #: As `taken`. One crash more and they are quarantined: each is begun when nothing else runs here.
        self.suspects: deque[tuple[str, float]] = deque()
        #: As `taken`. The server refused to begin them, each by itself.
        self.aside: deque[tuple[str, float]] = deque()
        #: A batch was refused, and one of it may be to blame: what is taken is begun one by one.
        self._one_by_one = False
        #: Begun and not settled, with the token: what is in the list with our knowledge.
        self.begun: set[tuple[str, str]] = set()
        #: Unknown ids that the last comparison found; twice unknown is stranded.
        self.strangers: set[str] = set()
        #: Monotonic time when the next scheduled job is due; None: nothing is known to come.
        self.due_at: float | None = None
        #: Whether there may be something to take right now.
        self.open = True

    @property
    def blocks(self) -> bool:
        """Whether a blocking pop may be used."""
        return self._may_block and time.monotonic() >= self.pops_again_at

    @property
    def is_resting(self) -> bool:
        """Whether it is left alone, as the server has refused something of it."""
        return time.monotonic() < self.rests_until

    @property
    def holds(self) -> bool:
        """Whether anything was taken and not begun."""
        return bool(self.taken or self.suspects or self.aside)

    @property
    def is_refused_much(self) -> bool:
        """Whether the server seems to refuse to begin whatever it may be."""
        return len(self.aside) > _MOST_ASIDE

    @property
    def returns_at(self) -> float:
        """Monotonic time when something that it holds is to be begun or given back."""
        moments = [self.aside[0][1] + _ASIDE_SECONDS] if self.aside else []
        if self.is_resting:
            moments += [waiting[0][1] + WAIT_SECONDS for waiting in (self.taken, self.suspects) if waiting]
            moments.append(self.rests_until)
        return min(moments, default=float("inf"))

    def is_open(self, now: float) -> bool:
        """Whether there may be something to take."""
        if now < self.rests_until:
            return False
        due = self.due_at is not None and self.due_at <= now
        return self.open or due or (not self.blocks and now >= self._polled_at + _POLL_SECONDS)

    def is_unknown(self, since: float) -> bool:
        """Whether nothing was heard of it since then, and it is neither open nor left alone."""
        now = time.monotonic()
        return self._polled_at < since and now >= self.rests_until and not self.is_open(now)

    @property
    def is_due(self) -> bool:
        """Whether there is, or may be, something to begin right now."""
        due = self.due_at is not None and self.due_at <= time.monotonic()
        return bool(self.taken or self.suspects) or self.open or due

    @property
    def wake_at(self) -> float:
        """Monotonic time when there will be something to do here, as far as is known."""
        if self.is_resting:
            return self.rests_until
        due_at = float("inf") if self.due_at is None else self.due_at
        return due_at if self.blocks else min(due_at, self._polled_at + _POLL_SECONDS)

    def rest(self, seconds: float) -> None:
        """The server refused something of this queue: leave it alone for so long."""
        self.rests_until = time.monotonic() + seconds
        self.open = True

    def take(self, count: int, promote: int = BATCH) -> Command[Taken]:
        """The command that takes up to `count` ids; with 0 it only tells whether there are any.

        Before that it makes up to `promote` ready that are due.
        """
        self._polled_at = time.monotonic()
        limits = (self._lowest, self._highest)
        return commands.take(self.keys, self.worker, count, self.priorities, limits, promote)

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
        self.worker = new_worker(self._name)
        self.taken.clear()
        self.suspects.clear()
        self.aside.clear()
        self.open = True

    def overdue(self, now: float, *, solo: bool) -> list[str]:
        """Ids that were taken and have waited too long; they are forgotten here.

        Suspects wait for those that run, unless `solo`: unless that is another one.
        """
        late = []
        for waiting in (self.taken, self.suspects) if solo or self.is_resting else (self.taken,):
            while waiting and now - waiting[0][1] > WAIT_SECONDS:
                late.append(waiting.popleft()[0])
        return late

    def drop_taken(self) -> list[list[str]]:
        """Ids that were taken, oldest first; they are on their way to be begun, each list in one call."""
        ids = [job_id for job_id, _ in self.taken]
        self.taken.clear()
        one_by_one, self._one_by_one = self._one_by_one, False
        return [[job_id] for job_id in ids] if one_by_one else [ids]

    def refused(self, ids: Sequence[str]) -> None:
        """The server has not begun these, which were in one call."""
        now = time.monotonic()
        if len(ids) == 1:
            self.aside.append((ids[0], now))
        else:
            self.taken.extendleft((job_id, now) for job_id in reversed(ids))
            self._one_by_one = True

    def drop_aside(self, now: float) -> list[str]:
        """Ids that were refused a while ago, the newest first; they are forgotten here."""
        late = 0
        while late < len(self.aside) and now - self.aside[late][1] > _ASIDE_SECONDS:
            late += 1
        return [self.aside.popleft()[0] for _ in range(late)][::-1]

    def give_up(self) -> list[str]:
        """Ids that were taken or suspected and not begun, oldest first; they are forgotten here."""
        ids = [job_id for job_id, _ in (*self.taken, *self.suspects)]
        self.taken.clear()
        self.suspects.clear()
        return ids

    def known(self) -> set[str]:
        """Ids that stand in our list with our knowledge."""
        return {job_id for job_id, _ in (*self.begun, *self.taken, *self.suspects, *self.aside)}

    def compare(self, listed: Sequence[str]) -> list[str]:
        """Which ids of our list were strangers now and at the comparison before, oldest first.

        A reply that was lost, or a blocked call of a connection that is gone, leaves them there.
        """
        known = self.known()
        strange = [job_id for job_id in reversed(listed) if job_id not in known]
        stranded = [job_id for job_id in strange if job_id in self.strangers]
        self.strangers = set(strange)
        return stranded


class Order:
    """In which order lanes are looked at: as they stand, or by weight; shards of one queue at random."""

    def __init__(self, weights: Sequence[tuple[str, int]]) -> None:
        self._weights = weights

    def next(self, lanes: Sequence[Lane], pops: Callable[[str], bool]) -> list[Lane]:
        """The lane to take from next, and behind it those to look at. `pops`: whether a pop waits on a queue.

        While there is always something to take somewhere, nobody waits on the others: so they are asked
        now and then, and one that stands first is asked first.
        """
        now = time.monotonic()
        if not any(lane.is_open(now) for lane in lanes):
            return []
        lanes = self.lanes(lanes)
        since = now - _LOOK_SECONDS * max(1.0, len(lanes) / _FEW_LANES)
        unknown = [lane for lane in lanes if lane.is_unknown(since) and not pops(lane.keys.queue)]
        first = next((lane for lane in lanes if lane in unknown or lane.is_open(now)), None)
        return [] if first is None else [first, *(lane for lane in unknown if lane is not first)]

    def lanes(self, lanes: Sequence[Lane]) -> Sequence[Lane]:
        """Strict: as they stand. Weighted: at random, a heavier one more often before a lighter one."""
        if len(lanes) < 2:
            return lanes
        wholes = [whole_of(lane.keys.queue) for lane in lanes]
        shards = Counter(wholes)
        if not self._weights and len(shards) == len(lanes):
            return lanes
        if not self._weights:
            places = {whole: place for place, whole in reversed([*enumerate(wholes)])}
            ranked = [(places[whole], random.random()) for whole in wholes]
        else:
            # Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006): u ** (1 / w).
            ranked = [(-(random.random() ** (shards[whole] / self._weight(whole))), 0.0) for whole in wholes]
        return [lane for _, lane in sorted(zip(ranked, lanes, strict=True), key=lambda pair: pair[0])]

    def _weight(self, queue: str) -> int:
        return next((weight for name, weight in self._weights if fnmatchcase(queue, name)), 1)
