"""Calls of one queue that wait for the server share their round trips, and nothing else."""

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

from redjobs import AsyncQueue, Job, Queue, SettingsError
from redjobs.errors import NotReplicated
from redjobs.keys import Keys
from tests.ports import free_port
from tests.servers import Kind, Server, running
from tests.waiting import wait_until


def send(user_id: int) -> None:
    """A job."""


@pytest.fixture
def queue(server: Server, keys: Keys) -> Iterator[Queue]:
    queue = Queue(keys.queue, url=server.url, prefix=keys.prefix)
    yield queue
    queue.close()


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


def test_one_that_is_cancelled_while_it_waits_is_not_sent_and_disturbs_nobody(
    server: Server, redis: Redis, keys: Keys
) -> None:
    async def use() -> list[Any]:
        queue = AsyncQueue(keys.queue, url=server.url, prefix=keys.prefix)
        await queue.enqueue(send, 0)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            tasks = [asyncio.create_task(queue.enqueue(send, number)) for number in range(10)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            tasks[5].cancel()
            await asyncio.sleep(0)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        await queue.close()
        return found

    found = asyncio.run(use())
    assert isinstance(found.pop(5), asyncio.CancelledError)
    assert len({job.id for job in found}) == 9
    assert redis.llen(keys.ready) == 10


def test_one_that_is_cancelled_while_it_is_sent_leaves_the_others_to_themselves(
    server: Server, redis: Redis, keys: Keys
) -> None:
    async def use() -> list[Any]:
        queue = AsyncQueue(keys.queue, url=server.url, prefix=keys.prefix)
        await queue.enqueue(send, 0)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            tasks = [asyncio.create_task(queue.enqueue(send, number)) for number in range(10)]
            await asyncio.sleep(0.01)
            tasks[0].cancel()
            await asyncio.sleep(0)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        await queue.close()
        return found

    found = asyncio.run(use())
    # asyncio itself forgets a cancellation that comes in the moment in which what was sent is sent.
    assert isinstance(found[0], asyncio.CancelledError | Job)
    assert len({job.id for job in found[1:]}) == 9
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


def test_threads_that_share_a_queue(queue: Queue, redis: Redis) -> None:
    queue.enqueue(send, 0)
    ids: list[str] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        ids.extend(queue.enqueue(send, number).id for number in range(50))

    before = reads(redis)
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 400
    assert redis.llen(queue.keys.ready) == 401
    assert reads(redis) - before < 300


@pytest.mark.unchecked("a unique key of a wrong type")
def test_a_thread_that_fails_fails_alone(queue: Queue, redis: Redis) -> None:
    redis.lpush(queue.keys.unique("broken"), "not an id")
    failed: list[str] = []

    def work(key: str) -> None:
        for number in range(30):
            try:
                queue.options(key=key if key == "broken" else f"{key}:{number}").enqueue(send, number)
            except redis_py.ResponseError:
                failed.append(key)

    threads = [threading.Thread(target=work, args=(key,)) for key in ("a", "b", "broken", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == ["broken"] * 30
    assert redis.llen(queue.keys.ready) == 90


def test_a_child_that_was_forked_in_mid_call_waits_for_nobody(queue: Queue, server: Server) -> None:
    queue.enqueue(send, 0)
    os.kill(server.pid, signal.SIGSTOP)
    thread = threading.Thread(target=queue.enqueue, args=(send, 1))
    thread.start()
    wait_until(lambda: queue._driver._busy)
    child = os.fork()
    if child == 0:
        try:
            os.kill(server.pid, signal.SIGCONT)
            queue.enqueue(send, 2)
            os._exit(0)
        finally:
            os._exit(1)
    ended: list[int] = []

    def has_ended() -> bool:
        pid, status = os.waitpid(child, os.WNOHANG)
        ended.extend([os.waitstatus_to_exitcode(status)] if pid else [])
        return bool(ended)

    wait_until(has_ended)
    thread.join()
    assert ended == [0]


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
