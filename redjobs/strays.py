"""What no transition leaves behind, and no worker comes across: `redjobs sweep --deep`.

Somebody deleted keys by hand, the server evicted some, a backup was loaded in parts. All keys of the server
are looked at (SCAN), so it takes its time; what is found is asked for again, all at one moment (MULTI).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import redis

from redjobs import bulk, commands
from redjobs.flows import Flow
from redjobs.ids import priority_of
from redjobs.keys import BELL, Keys
from redjobs.queue import Queue
from redjobs.sweeper import SweepPolicy

#: So many keys are looked at in one round trip.
_TOGETHER = 500
_FAMILIES = ("job", "processing", "ready", "unique")
#: Told how many keys were looked at.
Tell = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Strays:
    """What stands where it should not, in one queue."""

    #: Workers nobody knows that have jobs in their lists: these jobs went back to the front.
    workers: tuple[str, ...]
    #: Jobs that stand in no place: nobody will run them.
    jobs: tuple[str, ...]
    #: Ids in some place whose jobs are gone.
    ids: tuple[str, ...]
    #: Priorities whose jobs nobody is told of.
    levels: tuple[int, ...]
    #: Unique keys whose jobs are gone.
    keys: tuple[str, ...]

    @property
    def left(self) -> int:
        """How many of them are as they were."""
        return len(self.jobs) + len(self.ids) + len(self.levels) + len(self.keys)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def look(queue: Queue, policy: SweepPolicy, tell: Tell) -> Strays:
    """Look at all keys of a queue's server; give back what unknown workers have. O(keys of the server)."""
    return _Search(queue.redis, queue.keys, policy, tell).run(queue)


class _Search:
    def __init__(self, client: redis.Redis, keys: Keys, policy: SweepPolicy, tell: Tell) -> None:
        self._client = client
        self._keys = keys
        self._policy = policy
        self._tell = tell
        self._seen = 0
        #: By family: what follows it in the names of the keys that there are.
        self._names: dict[str, set[str]] = {name: set() for name in _FAMILIES}

    def run(self, queue: Queue) -> Strays:
        self._scan()
        workers = tuple(sorted(self._unknown()))
        for worker in workers:
            bulk.drive_all(self._client, [_retire(self._keys, worker)])
        if workers:
            queue.sweep(self._policy)
        lost, gone = self._suspects()
        return Strays(
            workers=workers,
            jobs=tuple(filter(self._is_lost, sorted(lost))),
            ids=tuple(filter(self._has_no_job, sorted(gone))),
            levels=tuple(sorted(self._silent_levels())),
            keys=tuple(sorted(self._idle_keys())),
        )

    # What there is ---------------------------------------------------------------------------

    def _scan(self) -> None:
        """The names of all keys of the queue."""
        base = self._keys.base
        for name in self._client.scan_iter(match=f"{base}*", count=_TOGETHER):
            family, _, rest = _text(name).removeprefix(base).partition(":")
            if family in self._names:
                self._names[family].add(rest)
            self._seen += 1
            if self._seen % _TOGETHER == 0:
                self._tell(self._seen)

    def _placed(self) -> set[str]:
        """All ids that stand somewhere; of those that move meanwhile some are missed."""
        self._hear_of_lists()
        keys = self._keys
        found: set[str] = set()
        for place in (keys.scheduled, keys.dead, keys.completed):
            found.update(_text(member) for member, _ in self._client.zscan_iter(place, count=_TOGETHER))
        lists = [keys.list_of(level) for level in self._levels()]
        lists += [keys.processing(worker) for worker in self._names["processing"]]
        for name in lists:
            found.update(self._ids_in(name))
        return found - {BELL}

    def _hear_of_lists(self) -> None:
        """Lists that were made since the scan: all jobs in them would have to be asked for one by one."""
        keys = self._keys
        names = (
            ("zrange", keys.workers, 0, -1),
            ("zrange", keys.retired, 0, -1),
            ("zrange", keys.levels, 0, -1),
        )
        leased, retired, levels = self._at_once(*names)
        self._names["processing"].update(map(_text, (*leased, *retired)))
        self._names["ready"].update(("", *map(_text, levels)))

    def _ids_in(self, name: str) -> Iterator[str]:
        first = 0
        while chunk := self._at_once(("lrange", name, first, first + _TOGETHER - 1))[0]:
            yield from map(_text, chunk)
            first += _TOGETHER

    def _levels(self) -> Iterator[int]:
        """Priorities that have a list."""
        for rest in self._names["ready"]:
            if not rest or rest.removeprefix("-").isdecimal():
                yield int(rest or 0)

    # Whether it is so ------------------------------------------------------------------------

    def _suspects(self) -> tuple[set[str], set[str]]:
        """Jobs that seem to stand nowhere, and ids that seem to have no job.

        To be sure of one costs O(list), and in a busy queue thousands have but moved or ended since the
        scan. So who has ended is sorted out first, and then who stands somewhere else by now.
        """
        placed, jobs = self._placed(), self._names["job"]
        existing = self._existing(placed ^ jobs)
        lost, gone = (jobs - placed) & existing, (placed - jobs) - existing
        if lost or gone:
            again = self._placed()
            lost, gone = lost - again, gone & again
        return lost, gone

    def _existing(self, ids: Iterable[str]) -> set[str]:
        """Those of these ids that have a job."""
        found: set[str] = set()
        left = list(ids)
        for first in range(0, len(left), _TOGETHER):
            some = left[first : first + _TOGETHER]
            replies = self._at_once(*(("exists", self._keys.job(job)) for job in some))
            found.update(job for job, exists in zip(some, replies, strict=True) if exists)
        return found

    def _unknown(self) -> Iterator[str]:
        """Workers with jobs in their lists that have neither a lease nor are retired."""
        keys = self._keys
        for worker in self._names["processing"]:
            lease, retired, length = self._at_once(
                ("zscore", keys.workers, worker),
                ("zscore", keys.retired, worker),
                ("llen", keys.processing(worker)),
            )
            if lease is None and retired is None and length:
                yield worker

    def _is_lost(self, job: str) -> bool:
        """Whether a job stands nowhere."""
        keys = self._keys
        workers = self._names["processing"]
        while True:
            leased, retired, ttl, *places = self._at_once(
                ("zrange", keys.workers, 0, -1),
                ("zrange", keys.retired, 0, -1),
                ("pttl", keys.job(job)),
                *self._scores(job),
                *(("lpos", keys.processing(worker), job) for worker in workers),
            )
            known = {_text(worker) for worker in (*leased, *retired)}
            if known <= workers:
                return bool(ttl == -1) and all(place is None for place in places)
            workers = workers | known

    def _has_no_job(self, job: str) -> bool:
        """Whether an id that is no job's stands somewhere. In a worker's list it is that one's business."""
        exists, *places = self._at_once(("exists", self._keys.job(job)), *self._scores(job))
        return not exists and any(place is not None for place in places)

    def _scores(self, job: str) -> list[tuple[Any, ...]]:
        """Where a job may stand, but for the lists of workers."""
        keys = self._keys
        sets: list[tuple[Any, ...]] = [
            ("zscore", place, job) for place in (keys.scheduled, keys.dead, keys.completed)
        ]
        return [*sets, ("lpos", keys.list_of(priority_of(job)), job)]

    def _silent_levels(self) -> Iterator[int]:
        for level in filter(None, self._levels()):
            score, length = self._at_once(
                ("zscore", self._keys.levels, str(level)), ("llen", self._keys.list_of(level))
            )
            if score is None and length:
                yield level

    def _idle_keys(self) -> Iterator[str]:
        for key in self._names["unique"]:
            name = self._keys.unique(key)
            (holder,) = self._at_once(("get", name))
            if holder is not None:
                still, exists = self._at_once(("get", name), ("exists", self._keys.job(_text(holder))))
                if still == holder and not exists:
                    yield key

    def _at_once(self, *calls: tuple[Any, ...]) -> list[Any]:
        """The answers, all of one moment."""
        pipe: Any = self._client.pipeline(transaction=True)
        for verb, *words in calls:
            getattr(pipe, verb)(*words)
        replies: list[Any] = pipe.execute()
        return replies


def _retire(keys: Keys, worker: str) -> Flow[str]:
    told: str = yield commands.retire(keys, worker, clean=False)
    return told


def _text(raw: Any) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
