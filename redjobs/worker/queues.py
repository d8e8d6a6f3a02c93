"""Which queues a worker serves: names as they were given, patterns as the queues in use match them."""

from __future__ import annotations

import contextlib
import time
from fnmatch import fnmatchcase
from typing import Any

import redis
from redis.exceptions import ResponseError

from redjobs.errors import SettingsError
from redjobs.ids import check_name
from redjobs.keys import Keys, queues_key
from redjobs.worker.options import WorkerOptions

#: How often new queues are looked for, where patterns were given.
_REFRESH_SECONDS = 2.0


def is_pattern(name: str) -> bool:
    """Whether this stands for several queues."""
    return "*" in name or "?" in name


def _is_name(raw: bytes) -> bool:
    try:
        check_name("queue", raw.decode())
    except (SettingsError, UnicodeDecodeError):  # somebody else's, or a mistake
        return False
    return True


class QueueNames:
    """The queues that match, in the order in which they are to be served."""

    def __init__(self, options: WorkerOptions, client: redis.Redis) -> None:
        self._options = options
        self._client = client
        self._refresh_at = 0.0
        self._announced: set[str] = set()

    @property
    def refresh_at(self) -> float:
        """Monotonic time when `resolve` should be called again."""
        return self._refresh_at

    def served(self, *, all_of_them: bool) -> None:
        """What `resolve` named last is served now; where not all of it is, it is asked again soon."""
        settled = all_of_them and not any(map(is_pattern, self._options.queues))
        self._refresh_at = float("inf") if settled else time.monotonic() + _REFRESH_SECONDS

    def resolve(self) -> list[Keys]:
        """The queues now, one round trip where patterns were given."""
        wanted, prefix = self._options.queues, self._options.prefix
        has_patterns = any(map(is_pattern, wanted))
        names = {name: None for name in wanted if not is_pattern(name)}
        known: set[str] = set()
        if has_patterns:
            members: Any = self._client.smembers(queues_key(prefix))
            known = {raw.decode() for raw in members if _is_name(raw)}
        new = set(names) - known - self._announced
        if new:
            # A queue that nothing was enqueued to yet is in use all the same: somebody serves it.
            with contextlib.suppress(ResponseError):  # a server that is full can be drained all the same
                self._client.sadd(queues_key(prefix), *sorted(new))
                self._announced |= new
        for pattern in filter(is_pattern, wanted):
            names |= {name: None for name in sorted(known) if fnmatchcase(name, pattern)}
        return [Keys(name, prefix) for name in names if not self._excludes(name)]

    def _excludes(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self._options.exclude)
