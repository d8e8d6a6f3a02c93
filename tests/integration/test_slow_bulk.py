"""`enqueue_many` with a source that pauses: what was answered before the pause is not sent again after it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis as redis_py
import redis.asyncio as async_redis_py
from redis import Redis

from redjobs import AsyncQueue, Call, Queue, ahead, call
from redjobs.commands import BATCH
from redjobs.keys import Keys
from redjobs.wire import AsyncStream, Stream
from tests.servers import Server
from tests.waiting import wait_until

#: So many calls are under way when the source pauses.
CALLS = 3
ALL = (CALLS + 2) * BATCH

both = pytest.mark.parametrize("queues", ["sync", "async"])


def send(user_id: int) -> None:
    """A job."""


class Pausing:
    """Makes calls, and pauses once; workers run and forget meanwhile what was enqueued before."""

    def __init__(self, server: Server, keys: Keys, *, cut: bool) -> None:
        self._redis = server.client()
        self._queue = Queue(keys.queue, url=server.url, prefix=keys.prefix)
        self._cut = cut
        self.forgotten: list[str] = []
        self._called = 0

    def calls(self) -> Iterator[Call]:
        for number in range(ALL):
            if number == CALLS * BATCH:
                self._pause()
            yield call(send, number)

    @property
    def waiting(self) -> list[str]:
        """The ids of all jobs that are there."""
        found: Any = self._redis.lrange(self._queue.keys.ready, 0, -1)
        return [job_id.decode() for job_id in found]

    @property
    def called(self) -> int:
        """How many calls of scripts the server has had since the pause."""
        stats: Any = self._redis.info("commandstats")
        return int(stats["cmdstat_evalsha"]["calls"]) - self._called

    def _pause(self) -> None:
        wait_until(lambda: len(self.waiting) == CALLS * BATCH)
        self.forgotten = self.waiting
        assert all(self._queue.cancel(job_id) for job_id in self.forgotten)
        self._queue.close()
        self._called = self.called
        if self._cut:
            self._redis.client_kill_filter(_type="normal", skipme=True)
        time.sleep(2 * ahead._PAUSE_S)


def enqueue_all(kind: str, source: Pausing, keys: Keys, **options: Any) -> list[str]:
    """The ids, by either kind of queue, which has been used before."""

    def use_sync() -> list[str]:
        queue = Queue(keys.queue, prefix=keys.prefix, **options)
        queue.cancel(queue.enqueue(send, 0).id)
        jobs = queue.enqueue_many(source.calls())
        queue.close()
        return [job.id for job in jobs]

    async def use() -> list[str]:
        queue = AsyncQueue(keys.queue, prefix=keys.prefix, **options)
        await queue.cancel((await queue.enqueue(send, 0)).id)
        jobs = await queue.enqueue_many(source.calls())
        await queue.close()
        return [job.id for job in jobs]

    return use_sync() if kind == "sync" else asyncio.run(use())


def check(source: Pausing, ids: list[str]) -> None:
    before = CALLS * BATCH
    assert len(set(ids)) == ALL
    assert sorted(source.forgotten) == sorted(ids[:before])
    assert sorted(source.waiting) == sorted(ids[before:]), "a job that was run is there again"
    assert source.called == ALL // BATCH - CALLS, "something was sent twice"


@both
def test_a_connection_that_ends_in_a_pause_brings_no_job_back(
    server: Server, keys: Keys, queues: str
) -> None:
    source = Pausing(server, keys, cut=True)
    check(source, enqueue_all(queues, source, keys, url=server.url))


@both
def test_a_health_check_after_a_pause_brings_no_job_back(server: Server, keys: Keys, queues: str) -> None:
    source = Pausing(server, keys, cut=False)
    kind: Any = redis_py.Redis if queues == "sync" else async_redis_py.Redis
    client = kind(unix_socket_path=str(server.socket), health_check_interval=ahead._PAUSE_S)
    check(source, enqueue_all(queues, source, keys, client=client))


@both
def test_no_health_check_comes_between_a_call_and_its_reply(
    server: Server, redis: Redis, keys: Keys, queues: str
) -> None:
    where = {"unix_socket_path": str(server.socket), "health_check_interval": 60}

    def use_sync() -> list[Any]:
        client = redis_py.Redis(**where)  # type: ignore[arg-type]
        with Stream(client.connection_pool) as stream:
            for _ in range(3):
                stream.send(("INCR", keys.base))
                stream._connection.next_health_check = 0  # it is due
            found = [stream.read() for _ in range(3)]
        client.close()
        return found

    async def use() -> list[Any]:
        client = async_redis_py.Redis(**where)  # type: ignore[arg-type]
        async with AsyncStream(client.connection_pool) as stream:
            for _ in range(3):
                await stream.send(("INCR", keys.base))
                stream._connection.next_health_check = 0
            found = [await stream.read() for _ in range(3)]
        await client.aclose()
        return found

    assert (use_sync() if queues == "sync" else asyncio.run(use())) == [1, 2, 3]
    redis.delete(keys.base)
