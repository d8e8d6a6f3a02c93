"""Which queues a worker serves: names as they were given, patterns as the queues in use match them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection
from fnmatch import fnmatchcase

from redis.exceptions import ResponseError

from redjobs.errors import SettingsError
from redjobs.ids import check_name, shards_of, whole_of
from redjobs.keys import Keys, queues_key
from redjobs.worker.link import Link
from redjobs.worker.options import WorkerOptions

#: How often new queues are looked for where patterns were given, and new shards where names were.
_REFRESH_SECONDS = 2.0
_SHARDS_SECONDS = 30.0


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

    def __init__(self, options: WorkerOptions, link: Link) -> None:
        self._options = options
        self._link = link
        self._refresh_at = 0.0
        #: Whether all of the queues that match are served, as far as anybody could say lately.
        self.are_served = False

    @property
    def refresh_at(self) -> float:
        """Monotonic time when `resolve` should be called again."""
        return self._refresh_at

    def served(self, *, all_of_them: bool) -> None:
        """What `resolve` named last is served now; where not all of it is, it is asked again soon."""
        self.are_served = all_of_them
        settled = all_of_them and not any(map(is_pattern, self._options.queues))
        self._refresh_at = time.monotonic() + (_SHARDS_SECONDS if settled else _REFRESH_SECONDS)

    def plain(self) -> list[Keys]:
        """The queues that were named, where nobody can say which there are: they may be on other nodes."""
        prefix, queues = self._options.prefix, self._options.queues
        return [Keys(name, prefix) for name in queues if not is_pattern(name) and not self._excludes(name)]

    def resolve(self, served: Collection[str]) -> list[Keys]:
        """The queues now, in one round trip; those that are sharded with their shards.

        A queue that is `served`, or was named, is in use: the server hears of it where it does not know it.
        """
        self.are_served = False
        wanted, prefix = self._options.queues, self._options.prefix
        members: list[bytes] = self._link.ask(queues_key(prefix), "SMEMBERS", queues_key(prefix))
        known = {raw.decode() for raw in members if _is_name(raw)}
        plain = [name for name in wanted if not is_pattern(name)]
        names = {name: None for whole in plain for name in (*shards_of(whole, known), whole)}
        new = {*plain, *served} - known
        if new:
            # Nothing may have been enqueued yet, or the server may have been started anew, with less.
            with contextlib.suppress(ResponseError):  # a server that is full can be drained all the same
                self._link.ask(queues_key(prefix), "SADD", queues_key(prefix), *sorted(new))
        for pattern in filter(is_pattern, wanted):
            names |= {name: None for name in sorted(known) if fnmatchcase(whole_of(name), pattern)}
        return [Keys(name, prefix) for name in names if not self._excludes(name)]

    def _excludes(self, name: str) -> bool:
        return any(
            fnmatchcase(one, pattern) for pattern in self._options.exclude for one in (name, whole_of(name))
        )
