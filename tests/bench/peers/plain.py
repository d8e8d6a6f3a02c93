"""redjobs' enqueue script called through redis-py: what one call costs at least.

It makes the id, packs the arguments and calls EVALSHA, as redjobs must; the reply is not looked at.
"""

from __future__ import annotations

import msgpack
import redis

from redjobs.commands import SCRIPTS
from redjobs.ids import new_id
from redjobs.keys import BELL, Keys
from tests.bench.peers.adapter import TEXT, Adapter, address


class Producer(Adapter):
    """One EVALSHA per job."""

    async def open(self) -> None:
        host, port = address(self.url)
        self._client = redis.Redis(host, port, protocol=2)  # as redjobs does
        self._client.script_load(SCRIPTS["enqueue"].text)
        self._sha = SCRIPTS["enqueue"].sha
        keys = Keys("bench")
        self._keys = (keys.scheduled, keys.ready, keys.levels, keys.stats)
        self._job = keys.job

    async def close(self) -> None:
        self._client.close()

    def enqueue(self, job: str, number: int) -> None:
        job_id = new_id()
        payload = msgpack.packb(((number, TEXT), {}))
        args = (BELL, "", job_id, "", 0, "", job, payload, b"")
        self._client.evalsha(self._sha, 5, *self._keys, self._job(job_id), *args)
