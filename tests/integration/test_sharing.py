"""Calls of one queue that wait for the server share their round trips, and nothing else.

Threads that do: `test_sharing_threads`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis as redis_py
from redis import Redis

from redjobs import AsyncQueue, Call, PayloadError, Queue, SettingsError, call
from redjobs.commands import BATCH, SCRIPTS
from redjobs.errors import NotReplicated
from redjobs.keys import Keys
from tests.ports import free_port
from tests.proxy import Proxy, script
from tests.servers import Kind, Server, running
from tests.waiting import wait_until


def send(user_id: int) -> None:
    """A job."""


@pytest.fixture
def proxy(server: Server, redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The server knows the script already: so the first call is the first that a rule sees."""
    redis.script_load(SCRIPTS["enqueue"].text)
    with Proxy(server, tmp_path_factory.mktemp("p") / "s") as proxy:
        yield proxy


def reads(redis: Redis) -> int:
    """How often the server has read something from a client."""
    stats: Any = redis.info("stats")
    return int(stats["total_reads_processed"])


def test_coroutines_that_enqueue_at_once_share_round_trips(server: Server, redis: Redis, keys: Keys) -> None:
    async def use() -> list[str]:
        queue = AsyncQueue(keys.queue, url=server.url, prefix=keys.prefix)
        await queue.enqueue(send, 0)
        before = reads(redis)
        jobs = await asyncio.gather(*(queue.enqueue(send, number) for number in range(100)))
        assert reads(redis) - before < 20
        await queue.close()
        return [job.id for job in jobs]

    ids = asyncio.run(use())
    assert len(set(ids)) == 100
    assert redis.llen(keys.ready) == 101


@pytest.mark.unchecked("a unique key of a wrong type")
def test_one_that_fails_fails_alone(server: Server, redis: Redis, keys: Keys) -> None:
    redis.lpush(keys.unique("broken"), "not an id")

    async def use() -> list[Any]:
        queue = AsyncQueue(keys.queue, url=server.url, prefix=keys.prefix)
        await queue.enqueue(send, 0)
        calls = [queue.options(key=f"user:{number}").enqueue(send, number) for number in range(10)]
        calls.insert(5, queue.options(key="broken").enqueue(send, 5))
        found = await asyncio.gather(*calls, return_exceptions=True)
        await queue.close()
        return found

    found = asyncio.run(use())
    assert isinstance(found.pop(5), redis_py.ResponseError)
    assert [job.key for job in found] == [f"user:{number}" for number in range(10)]


async def cancelled_in_mid_call(server: Server, keys: Keys, number: int) -> list[Any]:
    """What became of ten calls, of which one was cancelled while the first was sent and the others waited."""
    queue = AsyncQueue(keys.queue, url=server.url, prefix=keys.prefix)
    await queue.enqueue(send, 0)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        tasks = [asyncio.create_task(queue.enqueue(send, number)) for number in range(10)]
        for _ in range(50):  # turns of the loop: far more than it takes to send
            await asyncio.sleep(0)
        tasks[number].cancel()
        await asyncio.sleep(0)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    found = await asyncio.gather(*tasks, return_exceptions=True)
    await queue.close()
    return found


def test_one_that_is_cancelled_while_it_waits_is_not_sent_and_disturbs_nobody(
    server: Server, redis: Redis, keys: Keys
) -> None:
    found = asyncio.run(cancelled_in_mid_call(server, keys, 5))
    assert isinstance(found.pop(5), asyncio.CancelledError)
    assert len({job.id for job in found}) == 9
    assert redis.llen(keys.ready) == 10


def test_one_that_is_cancelled_while_it_is_sent_leaves_the_others_to_themselves(
    server: Server, redis: Redis, keys: Keys
) -> None:
    found = asyncio.run(cancelled_in_mid_call(server, keys, 0))
    assert isinstance(found.pop(0), asyncio.CancelledError)
    assert len({job.id for job in found}) == 9
    assert redis.llen(keys.ready) in (10, 11), "nobody knows what became of the one that was on its way"


def test_an_event_loop_that_ends_in_mid_call_leaves_a_queue_that_works(server: Server, keys: Keys) -> None:
    queue = AsyncQueue(keys.queue, url=server.url, prefix=keys.prefix)

    async def leave() -> None:
        await queue.enqueue(send, 0)
        for number in range(10):
            asyncio.ensure_future(queue.enqueue(send, number))  # noqa: RUF006 - nobody waits for it
        await asyncio.sleep(0)
        await queue.close()

    async def again() -> None:
        await queue.enqueue(send, 1)
        await queue.close()

    asyncio.run(leave())
    asyncio.run(again())


@pytest.mark.parametrize("times", [1, 3])
def test_all_that_share_a_round_trip_whose_reply_is_lost_are_there_once(
    proxy: Proxy, redis: Redis, keys: Keys, times: int
) -> None:
    async def use() -> list[str]:
        queue = AsyncQueue(keys.queue, url=proxy.url, prefix=keys.prefix)
        await queue.enqueue(send, 0)
        rule = proxy.lose_reply(script("enqueue"), times=times, skip=1)
        jobs = await asyncio.gather(*(queue.enqueue(send, number) for number in range(50)))
        assert rule.used == times
        await queue.close()
        return [job.id for job in jobs]

    ids = asyncio.run(use())
    waiting: Any = redis.lrange(keys.ready, 0, -2)
    assert sorted(waiting) == sorted(job_id.encode() for job_id in ids)


# Many at once ---------------------------------------------------------------------------------


def enqueue_all(kind: str, url: str, keys: Keys, calls: Any) -> list[str]:
    """The ids, by either kind of queue, which has been used before."""
    if kind == "sync":
        queue = Queue(keys.queue, url=url, prefix=keys.prefix)
        queue.enqueue_many([call(send, 0)])
        jobs = queue.enqueue_many(calls)
        queue.close()
        return [job.id for job in jobs]

    async def use() -> list[str]:
        queue = AsyncQueue(keys.queue, url=url, prefix=keys.prefix)
        try:
            await queue.enqueue_many([call(send, 0)])
            return [job.id for job in await queue.enqueue_many(calls)]
        finally:
            await queue.close()

    return asyncio.run(use())


both = pytest.mark.parametrize("queues", ["sync", "async"])


@both
def test_the_next_call_is_made_while_the_server_works_on_the_last_one(
    proxy: Proxy, redis: Redis, keys: Keys, queues: str
) -> None:
    rule = proxy.hold_reply(script("enqueue"), skip=1)
    before = 0

    def calls() -> Iterator[Call]:
        nonlocal before
        before = called(redis)
        yield from (call(send, number) for number in range(BATCH))
        proxy.wait_for(rule)  # the first call has been sent, and its reply is held back
        proxy.release(rule)
        yield from (call(send, number) for number in range(BATCH))

    assert len(set(enqueue_all(queues, proxy.url, keys, calls()))) == 2 * BATCH
    assert called(redis) - before == 2, "it waited for the reply until it gave up, and sent again"


def called(redis: Redis) -> int:
    """How many calls of scripts the server has had."""
    stats: Any = redis.info("commandstats")
    return int(stats["cmdstat_evalsha"]["calls"])


@both
def test_what_was_sent_before_a_mistake_stays_enqueued(
    server: Server, redis: Redis, keys: Keys, queues: str
) -> None:
    def calls() -> Iterator[Call]:
        yield from (call(send, number) for number in range(2 * BATCH + 10))
        yield Call(send, (1, 2, 3))

    with pytest.raises(PayloadError):
        enqueue_all(queues, server.url, keys, calls())
    assert redis.llen(keys.ready) == 1 + 2 * BATCH


@both
def test_a_server_that_forgets_the_script_in_the_middle_is_told_it_again(
    server: Server, redis: Redis, keys: Keys, queues: str
) -> None:
    def calls() -> Iterator[Call]:
        for number in range(5 * BATCH):
            if number == 2 * BATCH:
                redis.script_flush()
            yield call(send, number)

    ids = enqueue_all(queues, server.url, keys, calls())
    assert redis.llen(keys.ready) == 1 + len(set(ids)) == 1 + 5 * BATCH


# Replicas -------------------------------------------------------------------------------------


def test_whoever_waits_for_replicas_hears_whether_they_have_the_job(kind: Kind) -> None:
    port = free_port()
    with (
        running(kind, "--port", str(port), "--repl-diskless-sync-delay", "0") as primary,
        running(kind, "--replicaof", "127.0.0.1", str(port)) as replica,
    ):
        client = replica.client()
        info: Any = lambda: client.info("replication")  # noqa: E731
        wait_until(lambda: info()["master_link_status"] == "up")
        queue = Queue(url=primary.url, wait_replicas=1)
        job = queue.enqueue(send, 1)
        assert client.exists(queue.keys.job(job.id))

        os.kill(replica.pid, signal.SIGSTOP)
        with pytest.raises(NotReplicated, match="accepted, not replicated: 0 of 1 replicas") as caught:
            queue.enqueue(send, 2)
        os.kill(replica.pid, signal.SIGCONT)
        (accepted,) = caught.value.job_ids
        assert queue.get(accepted).id == accepted
        assert not queue.cancel("no such job"), "only who enqueues waits"
        queue.close()

        async def use() -> None:
            waits = AsyncQueue(url=primary.url, wait_replicas=2)
            with pytest.raises(NotReplicated, match="1 of 2 replicas"):
                await waits.enqueue(send, 3)
            await waits.close()

        asyncio.run(use())


def test_a_number_of_replicas_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(SettingsError, match="wait_replicas"):
        Queue(wait_replicas=-1)


@pytest.mark.slow
def test_a_job_that_was_sent_again_still_waits_for_replicas(kind: Kind) -> None:
    """The second call wrote nothing, and without a write of its own WAIT is content with any replica."""
    port = free_port()
    with (
        running(kind, "--port", str(port), "--repl-diskless-sync-delay", "0") as primary,
        running(kind, "--replicaof", "127.0.0.1", str(port)) as replica,
    ):
        assert primary.socket is not None
        client = replica.client()
        info: Any = lambda: client.info("replication")  # noqa: E731
        wait_until(lambda: info()["master_link_status"] == "up")
        with Proxy(primary, primary.socket.with_name("proxy")) as proxy:
            queue = Queue(url=proxy.url, wait_replicas=1)
            queue.enqueue(send, 1)
            os.kill(replica.pid, signal.SIGSTOP)
            try:
                rule = proxy.lose_reply(script("enqueue"))
                with pytest.raises(NotReplicated, match="0 of 1"):
                    queue.enqueue(send, 2)
                assert rule.used == 1
                assert waits_together(primary)
            finally:
                os.kill(replica.pid, signal.SIGCONT)
            queue.close()


def waits_together(primary: Server) -> bool:
    """Whether coroutines that wait for replicas in vain do so at the same time, each for its own job."""

    async def use() -> list[Any]:
        queue = AsyncQueue(url=primary.url, wait_replicas=1)
        found = await asyncio.gather(*(queue.enqueue(send, n) for n in range(20)), return_exceptions=True)
        await queue.close()
        return found

    found = asyncio.run(use())
    assert [type(each) for each in found] == [NotReplicated] * 20
    assert len({each.job_ids for each in found}) == 20
    stats: Any = primary.client().info("commandstats")
    return int(stats["cmdstat_wait"]["calls"]) < 10


@both
def test_a_server_that_is_read_only_for_a_moment_is_asked_again(
    private_server: Server, keys: Keys, queues: str
) -> None:
    """As after a failover: the name leads to the new primary soon."""
    client = private_server.client()
    client.replicaof("127.0.0.1", str(free_port()))

    def promote() -> None:
        wait_until(lambda: client.info("errorstats").get("errorstat_READONLY"))
        client.replicaof("NO", "ONE")

    promoting = threading.Thread(target=promote)
    promoting.start()
    assert len(enqueue_all(queues, private_server.url, keys, [call(send, 1)])) == 1
    promoting.join()
