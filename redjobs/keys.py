"""The names of all keys, and nothing else knows them.

Every key of a queue holds the hash tag `{queue}`, so that they share one slot of a cluster.
"""

from __future__ import annotations

from collections.abc import Iterable

from redjobs.ids import check_name

DEFAULT_PREFIX = "redjobs"

#: Wakes one blocked worker; not an id, dropped wherever it is found.
BELL = "!"


def queues_key(prefix: str = DEFAULT_PREFIX) -> str:
    """set: the names of all queues. In a slot of its own, so never part of a script."""
    return f"{check_name('prefix', prefix)}:queues"


def key_patterns(prefix: str = DEFAULT_PREFIX, queues: Iterable[str] = ()) -> list[str]:
    """Globs for all keys of these queues and their shards and the set of names; or of all queues."""
    if not (named := list(dict.fromkeys(queues))):
        return [check_name("prefix", prefix) + ":*"]
    bases = [Keys(name, prefix).base for name in named]
    # No brace can stand in a name: only a shard of this queue fits.
    bases += [base.replace("}", "/*}") for base in bases if "/" not in base]
    return [queues_key(prefix), *(base + "*" for base in bases)]


class Keys:
    """The keys of one queue."""

    __slots__ = (
        "_job",
        "_levels_base",
        "_processing",
        "_unique",
        "base",
        "cancels",
        "completed",
        "dead",
        "levels",
        "prefix",
        "queue",
        "ready",
        "retired",
        "scheduled",
        "stats",
        "workers",
    )

    def __init__(self, queue: str, prefix: str = DEFAULT_PREFIX) -> None:
        self.queue = check_name("queue", queue)
        self.prefix = check_name("prefix", prefix)
        #: What all of them begin with.
        self.base = base = f"{prefix}:{{{queue}}}:"
        #: zset: id -> run_at ms
        self.scheduled = base + "scheduled"
        #: list: ids that are due, priority 0; taken at the right
        self.ready = base + "ready"
        #: zset: priorities other than 0 whose list holds jobs
        self.levels = base + "levels"
        #: zset: worker -> lease expiry ms
        self.workers = base + "workers"
        #: zset: worker whose jobs are given to others -> when it was retired, ms
        self.retired = base + "retired"
        #: zset: id -> when it died, ms
        self.dead = base + "dead"
        #: zset: id -> when its result expires, ms
        self.completed = base + "completed"
        #: zset: id of a running job that is to be stopped -> when that was asked, ms
        self.cancels = base + "cancels"
        #: hash: counters
        self.stats = base + "stats"
        self._job = base + "job:"
        self._processing = base + "processing:"
        self._unique = base + "unique:"
        self._levels_base = base + "ready:"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keys) and (self.queue, self.prefix) == (other.queue, other.prefix)

    def __hash__(self) -> int:
        return hash((self.queue, self.prefix))

    def job(self, job_id: str) -> str:
        """hash: one job."""
        return self._job + job_id

    def list_of(self, priority: int) -> str:
        """list: ids that are due, of this priority."""
        return f"{self._levels_base}{priority}" if priority else self.ready

    def processing(self, worker: str) -> str:
        """list: ids that this worker incarnation has taken."""
        return self._processing + worker

    def unique(self, key: str) -> str:
        """string: id of the live job that holds this key. Nobody ever holds ''."""
        return self._unique + key
