"""Which queues a worker serves: names as they were given, patterns as the queues in use match them."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase
from typing import Any

import redis

from redjobs.keys import Keys, queues_key
from redjobs.worker.options import WorkerOptions

#: How often new queues are looked for, where patterns were given.
_REFRESH_SECONDS = 2.0


def is_pattern(name: str) -> bool:
    """Whether this stands for several queues."""
    return "*" in name or "?" in name


class QueueNames:
    """The queues that match, in the order in which they are to be served."""

    def __init__(self, options: WorkerOptions, client: redis.Redis) -> None:
        self._options = options
        self._client = client
        self._refresh_at = 0.0
        self._announced: set[str] = set()

    @property
    def refresh_at(self) -> float:
        """Monotonic time when `changed` should be asked again."""
        return self._refresh_at

    def resolve(self) -> list[Keys]:
        """The queues now, one round trip where patterns were given."""
        wanted, prefix = self._options.queues, self._options.prefix
        has_patterns = any(map(is_pattern, wanted))
        self._refresh_at = time.monotonic() + _REFRESH_SECONDS if has_patterns else float("inf")
        names = {name: None for name in wanted if not is_pattern(name)}
        known: set[str] = set()
        if has_patterns:
            members: Any = self._client.smembers(queues_key(prefix))
            known = {raw.decode() for raw in members}
        new = set(names) - known - self._announced
        if new:
            # A queue that nothing was enqueued to yet is in use all the same: somebody serves it.
            self._client.sadd(queues_key(prefix), *sorted(new))
            self._announced |= new
        for pattern in filter(is_pattern, wanted):
            names |= {name: None for name in sorted(known) if fnmatchcase(name, pattern)}
        return [Keys(name, prefix) for name in names if not self._excludes(name)]

    def _excludes(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self._options.exclude)
