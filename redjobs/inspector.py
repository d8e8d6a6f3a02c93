"""The read side: what is in the queues, for the command line and a dashboard. Writes nothing.

    inspector = Inspector(client)
    inspector.queue("default")                          how much there is, and how late it is
    inspector.workers("default")                        who is at work
    inspector.jobs("default", State.SCHEDULED)          a page of jobs, and where the next one begins

Nothing here ever reads a whole queue: every call is bounded, whatever a queue holds, and no key is
searched for. The parts of one answer are read one after the other while the workers go on, so
two numbers in it may be some milliseconds apart. Times are those of the server's clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import redis

from redjobs.connect import near
from redjobs.errors import SettingsError
from redjobs.ids import check_name
from redjobs.jobs import Job, State, job_from_fields
from redjobs.keys import BELL, DEFAULT_PREFIX, Keys, queues_key
from redjobs.snapshots import Page, QueueStatus, WorkerStatus

#: A page holds at most this many jobs.
MAX_PAGE = 1_000
#: A page that is filtered by name looks at no more than so many ids, and reads so many at a time.
MAX_SCAN = 10_000
_CHUNK = 1_000
#: A bell lies near the right end of its list, behind jobs that were given back at most: it is looked
#: for among so many, so that a list of a million costs no more than one of ten thousand.
_BELL_DEPTH = 10_000

#: All of a job but its arguments and its result, which may be large and may be secrets.
_FIELDS = (
    "name",
    "key",
    "enqueued_at",
    "run_at",
    "attempt",
    "crashes",
    "options",
    "errors",
    "worker",
    "token",
    "started_at",
    "completed_at",
    "format",
)
#: These states are lists, the others sorted sets.
_LISTED = (State.READY, State.PROCESSING)
_FIELD_NAMES = tuple(field.encode() for field in _FIELDS)


@dataclass(frozen=True, slots=True)
class _Place:
    """A part of where the jobs of one state stand, read from its `first` to its last."""

    key: str
    #: How many positions it has, and how many of them are jobs: the others are bells.
    length: int
    jobs: int
    #: A list is read from its right end, where the oldest job stands.
    is_list: bool
    #: Of a sorted set: whether what was added last comes first.
    newest_first: bool = False

    def read(self, pipe: Any, first: int, last: int) -> None:
        """Ask for the ids at these positions."""
        if self.is_list:
            pipe.lrange(self.key, -last - 1, -first - 1)
        elif self.newest_first:
            pipe.zrevrange(self.key, first, last, withscores=True)
        else:
            pipe.zrange(self.key, first, last, withscores=True)

    def entries(self, reply: list[Any]) -> list[tuple[str, int]]:
        """What came back: ids with their scores."""
        if self.is_list:
            return [(_text(member), 0) for member in reversed(reply)]
        return [(_text(member), int(score)) for member, score in reply]


class Inspector:
    """Looks at queues through a redis-py client (without `decode_responses`). For any thread."""

    def __init__(self, client: redis.Redis, prefix: str = DEFAULT_PREFIX) -> None:
        self._client = client
        self._prefix = prefix

    def queues(self) -> list[str]:
        """The names of all queues that were ever used, sorted. What can be no queue's name is left out."""
        key = queues_key(self._prefix)
        names: Any = near(self._client, key).smembers(key)
        return sorted(filter(_is_name, map(_text, names)))

    def now_ms(self) -> int:
        """The server's clock."""
        time: Any = self._client.time()
        return _now_ms(time)

    # One queue -----------------------------------------------------------------------------

    def queue(self, name: str) -> QueueStatus:
        """How much a queue holds, and how late it is. Three round trips; O(workers + log N)."""
        keys = Keys(name, self._prefix)
        pipe = self._pipeline(keys)
        pipe.time()
        for place in (keys.scheduled, keys.dead, keys.completed):
            pipe.zcard(place)
        pipe.zrange(keys.scheduled, 0, 0, withscores=True)
        pipe.hgetall(keys.stats)
        for names in (keys.levels, keys.workers, keys.retired):
            pipe.zrange(names, 0, -1)
        time, scheduled, dead, completed, head, stats, levels, workers, retired = pipe.execute()
        now_ms = _now_ms(time)

        pipe.zcount(keys.scheduled, "-inf", now_ms)
        pipe.zcount(keys.workers, f"({now_ms}", "+inf")
        lists = [keys.list_of(priority) for priority in _priorities(levels)]
        _ask_lengths(pipe, lists, _BELL_DEPTH)
        for key in lists:
            pipe.lrange(key, -2, -1)  # two, as one of them may be a bell
        theirs = [keys.processing(_text(worker)) for worker in (*workers, *retired)]
        _ask_lengths(pipe, theirs, 0)
        due, alive, *replies = pipe.execute()
        ready = _lengths(replies, len(lists))
        oldest = [id_ for _ in lists if (id_ := _oldest(replies.pop(0))) is not None]
        return QueueStatus(
            name=name,
            at_ms=now_ms,
            scheduled=scheduled,
            ready=sum(ready),
            processing=sum(_lengths(replies, len(theirs))),
            dead=dead,
            completed=completed,
            due=due,
            latency_ms=self._latency_ms(keys, oldest, now_ms),
            lateness_ms=max(0, now_ms - int(head[0][1])) if head else 0,
            next_ms=max(0, int(head[0][1]) - now_ms) if head else None,
            workers=alive,
            counters={_text(field): _int(value) for field, value in sorted(stats.items())},
        )

    def _latency_ms(self, keys: Keys, oldest: Sequence[str], now_ms: int) -> int:
        if not oldest:
            return 0
        pipe = self._pipeline(keys)
        for job_id in oldest:
            pipe.hmget(keys.job(job_id), "run_at", "enqueued_at")
        since = [_int(run_at or enqueued_at) for run_at, enqueued_at in pipe.execute()]
        return max([0, *(now_ms - at_ms for at_ms in since if at_ms)])

    def workers(self, queue: str) -> list[WorkerStatus]:
        """Who works on a queue, and who is retired and still holds jobs. Two round trips; O(workers)."""
        keys = Keys(queue, self._prefix)
        pipe = self._pipeline(keys)
        pipe.time()
        pipe.zrange(keys.workers, 0, -1, withscores=True)
        pipe.zrange(keys.retired, 0, -1)
        time, leases, retired = pipe.execute()
        left: dict[str, int | None] = {_text(worker): None for worker in retired}
        left |= {_text(worker): int(expiry_ms) - _now_ms(time) for worker, expiry_ms in leases}
        if not left:
            return []
        _ask_lengths(pipe, [keys.processing(worker) for worker in left], 0)
        jobs = _lengths(pipe.execute(), len(left))
        found = [
            WorkerStatus(queue, worker, left_ms, count)
            for (worker, left_ms), count in zip(left.items(), jobs, strict=True)
            if count or left_ms is not None
        ]
        return sorted(found, key=lambda one: one.worker)

    # Jobs ----------------------------------------------------------------------------------

    def jobs(
        self, queue: str, state: State, *, cursor: int = 0, limit: int = 50, name: str | None = None
    ) -> Page:
        """A page of jobs: those that are next first, of the dead and the completed the newest first.

        `cursor` is a position, as the page before said. `name` is a handler's name, or a pattern
        with `*`; then a page looks at `MAX_SCAN` ids at most, and may hold less than `limit` jobs,
        even none, and have a next one. Costs two or three round trips without a name.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise SettingsError(f"limit={limit} is out of range: a page has 1 to {MAX_PAGE} jobs")
        if cursor < 0:
            raise SettingsError(f"cursor={cursor} is no position")
        keys = Keys(queue, self._prefix)
        at_ms, places = self._places(keys, state)
        length = sum(place.length for place in places)
        end = min(length, cursor + (limit if name is None else MAX_SCAN))
        found: list[tuple[str, int]] = []
        position = cursor
        while position < end and len(found) < limit:
            chunk = self._entries(keys, places, position, min(end, position + _CHUNK))
            if not chunk:
                break
            fits = self._fitting(keys, chunk, name)
            for entry, fit in zip(chunk, fits, strict=True):
                position += 1
                if fit:
                    found.append(entry)
                if len(found) == limit:
                    break
        return Page(
            queue,
            state,
            at_ms,
            jobs=self._load(keys, state, found),
            cursor=position if cursor < position < length else None,
            total=sum(place.jobs for place in places),
            scanned=max(0, position - cursor),
        )

    def newest_ids(self, queue: str, state: State, *, skip: int = 0, limit: int = 500) -> list[str]:
        """Ids of one state, where they are removed at the least cost: at the left end of a list.

        For those who clear a queue. One round trip, or two.
        """
        keys = Keys(queue, self._prefix)
        found: list[str] = []
        for place in self._places(keys, state)[1]:
            if len(found) < limit:
                last = skip + limit - len(found) - 1
                pipe = self._pipeline(keys)
                pipe.lrange(place.key, skip, last) if place.is_list else pipe.zrange(place.key, skip, last)
                found += [_text(member) for member in pipe.execute()[0] if _text(member) != BELL]
                skip = max(0, skip - place.length)
        return found

    def _places(self, keys: Keys, state: State) -> tuple[int, list[_Place]]:
        """The server's time, and where the jobs of a state stand."""
        pipe = self._pipeline(keys)
        pipe.time()
        if state not in _LISTED:
            key = {State.SCHEDULED: keys.scheduled, State.DEAD: keys.dead}.get(state, keys.completed)
            pipe.zcard(key)
            time, length = pipe.execute()
            newest_first = state is not State.SCHEDULED
            return _now_ms(time), [_Place(key, length, length, is_list=False, newest_first=newest_first)]
        for names in (keys.levels, keys.workers, keys.retired):
            pipe.zrange(names, 0, -1)
        time, levels, *workers = pipe.execute()
        if state is State.READY:
            lists = [keys.list_of(priority) for priority in _priorities(levels)]
        else:
            lists = [
                keys.processing(worker) for worker in sorted(_text(one) for some in workers for one in some)
            ]
        _ask_lengths(pipe, lists, _BELL_DEPTH)
        replies = pipe.execute() if lists else []
        jobs = _lengths(list(replies), len(lists))
        places = [
            _Place(key, length, count, is_list=True)
            for key, length, count in zip(lists, replies[::2], jobs, strict=True)
        ]
        return _now_ms(time), places

    def _entries(self, keys: Keys, places: Sequence[_Place], first: int, end: int) -> list[tuple[str, int]]:
        """What stands at the positions from `first` up to `end`, counted through all places."""
        pipe = self._pipeline(keys)
        asked = []
        for place in places:
            if first < place.length and end > 0:
                place.read(pipe, max(0, first), min(end, place.length) - 1)
                asked.append(place)
            first, end = first - place.length, end - place.length
        replies = pipe.execute() if asked else []
        return [entry for place, reply in zip(asked, replies, strict=True) for entry in place.entries(reply)]

    def _fitting(self, keys: Keys, chunk: Sequence[tuple[str, int]], name: str | None) -> list[bool]:
        """Which of these are jobs of this name. Only the names are read: the hashes may be large."""
        if name is None:
            return [job_id != BELL for job_id, _ in chunk]
        pipe = self._pipeline(keys)
        for job_id, _ in chunk:
            pipe.hget(keys.job(job_id), "name")
        return [found is not None and fnmatchcase(_text(found), name) for found in pipe.execute()]

    def _load(self, keys: Keys, state: State, found: Sequence[tuple[str, int]]) -> tuple[Job, ...]:
        if not found:
            return ()
        pipe = self._pipeline(keys)
        for job_id, _ in found:
            pipe.hmget(keys.job(job_id), *_FIELDS)
        jobs = []
        for (job_id, score), values in zip(found, pipe.execute(), strict=True):
            raw = {n: value for n, value in zip(_FIELD_NAMES, values, strict=True) if value is not None}
            if raw:  # else it is over by now
                jobs.append(job_from_fields(job_id, keys.queue, state, score, raw))
        return tuple(jobs)

    def _pipeline(self, keys: Keys) -> Any:
        return near(self._client, keys.ready).pipeline(transaction=False)


def _is_name(text: str) -> bool:
    try:
        check_name("queue", text)
    except SettingsError:
        return False
    return True


# Reading replies -------------------------------------------------------------------------------


def _ask_lengths(pipe: Any, lists: Sequence[str], bell_depth: int) -> None:
    """Ask how many jobs stand in these lists; `bell_depth` 0 looks for bells in all of each."""
    for key in lists:
        pipe.llen(key)
        pipe.lpos(key, BELL, rank=-1, count=0, maxlen=bell_depth)


def _lengths(replies: list[Any], count: int) -> list[int]:
    """The answers to `_ask_lengths`, taken off the front of the replies."""
    taken = [replies.pop(0) for _ in range(2 * count)]
    return [length - len(bells or ()) for length, bells in zip(taken[::2], taken[1::2], strict=True)]


def _oldest(tail: list[Any]) -> str | None:
    ids = [job_id for member in tail if (job_id := _text(member)) != BELL]
    return ids[-1] if ids else None


def _priorities(levels: Sequence[Any]) -> list[int]:
    """The priorities whose lists may hold jobs, in the order in which they are served."""
    return sorted({0, *(_int(level) for level in levels)})


def _now_ms(time: tuple[int, int]) -> int:
    seconds, micros = time
    return seconds * 1000 + micros // 1000


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _int(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0
