"""One queue in several parts, so that it may outgrow one core of a server, or one node of a cluster.

Each shard is a queue like any other, of the name `mail/3`, in a slot of its own. Where a job is,
its id says, and for a job with a unique key, the key: so that no two shards hold the same key.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from zlib import crc32

from redjobs.errors import SettingsError
from redjobs.ids import new_id, priority_of, whole_of
from redjobs.jobs import NewJob
from redjobs.keys import DEFAULT_PREFIX, Keys

MAX_SHARDS = 256

#: What was last said of a queue's shards in this process, by prefix and name.
_said: dict[tuple[str, str], Shards] = {}


class Shards:
    """The parts of a queue; a queue that is not sharded is its only part."""

    def __init__(self, queue: str, prefix: str = DEFAULT_PREFIX, count: int = 1) -> None:
        if not 1 <= count <= MAX_SHARDS:
            raise SettingsError(f"shards must be from 1 to {MAX_SHARDS}, not {count!r}")
        if count > 1 and whole_of(queue) != queue:
            raise SettingsError(f"{queue!r} is a shard itself, and has none")
        self.whole = Keys(queue, prefix)
        self.parts: tuple[Keys, ...] = (self.whole,)
        if count > 1:
            self.parts = tuple(Keys(f"{queue}/{number}", prefix) for number in range(count))
        #: Of all parts.
        self.names = [part.queue for part in self.parts]

    @classmethod
    def said(cls, queue: str, prefix: str, count: int | None) -> Shards:
        """Of a queue that is made. A count that is said holds for whoever only names the queue, too."""
        if count is None:
            return cls(queue, prefix)
        shards = _said[prefix, queue] = cls(queue, prefix, count)
        return shards

    @classmethod
    def named(cls, queue: str, prefix: str) -> Shards:
        """Of a queue that is only named: as many as were last said of it in this process."""
        return _said.get((prefix, queue)) or cls(queue, prefix)

    @property
    def everywhere(self) -> list[Keys]:
        """All parts, and the queue as it was before it was sharded: jobs may be left there."""
        return list(dict.fromkeys((*self.parts, self.whole)))

    def of(self, text: str) -> Keys:
        """The part of an id or of a unique key."""
        if len(self.parts) == 1:
            return self.whole
        return self.parts[crc32(text.encode()) % len(self.parts)]

    def placed(self, job: NewJob) -> NewJob:
        """The new job, with an id that leads to the part of its unique key, if it has one."""
        if len(self.parts) == 1 or not job.options.key:
            return job
        home, job_id = self.of(job.options.key), job.id
        while self.of(job_id) is not home:
            job_id = new_id(priority_of(job_id))
        return replace(job, id=job_id)

    def places(self, id_or_key: str) -> Iterator[Keys]:
        """Where to look, the likeliest first: after the count of shards has changed, anywhere."""
        first = self.of(id_or_key)
        yield first
        # A unique key may have the form of an id, and is looked for in the same part then.
        yield from (part for part in self.everywhere if part is not first)
