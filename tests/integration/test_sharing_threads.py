"""Threads that share a queue share their round trips; whoever is alone waits for nobody."""

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

from redjobs import AsyncQueue, Queue, drivers
from redjobs.keys import Keys
from tests.servers import Server
from tests.waiting import wait_until


def send(user_id: int) -> None:
    """A job."""


@pytest.fixture
def queue(server: Server, keys: Keys) -> Iterator[Queue]:
    queue = Queue(keys.queue, url=server.url, prefix=keys.prefix)
    yield queue
    queue.close()


def reads(redis: Redis) -> int:
    """How often the server has read something from a client; to ask is one of these times."""
    stats: Any = redis.info("stats")
    return int(stats["total_reads_processed"])


def called(redis: Redis) -> int:
    """How many calls of scripts the server has had."""
    stats: Any = redis.info("commandstats")
    return int(stats["cmdstat_evalsha"]["calls"])


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
def test_a_thread_that_fails_fails_alone(queue: Queue, server: Server, redis: Redis) -> None:
    """All wait while the first call is under way: so theirs go together, and the one that fails with them."""
    redis.lpush(queue.keys.unique("broken"), "not an id")
    queue.enqueue(send, 0)
    before = called(redis)
    failed: list[str] = []

    def work(key: str) -> None:
        try:
            queue.options(key=key).enqueue(send, 1)
        except redis_py.ResponseError:
            failed.append(key)

    os.kill(server.pid, signal.SIGSTOP)
    try:
        first = threading.Thread(target=work, args=("first",))
        first.start()
        wait_until(lambda: queue._driver._busy)
        others = [threading.Thread(target=work, args=(key,)) for key in ("a", "b", "broken", "c")]
        for thread in others:
            thread.start()
        wait_until(lambda: len(queue._driver._waiting) == len(others))
    finally:
        os.kill(server.pid, signal.SIGCONT)
    for thread in (first, *others):
        thread.join()
    assert failed == ["broken"]
    assert redis.llen(queue.keys.ready) == 5
    assert called(redis) - before == 1 + 1 + len(others), "the first, all others at once, each of them again"


@pytest.mark.unchecked("a unique key of a wrong type")
def test_a_thread_that_fails_again_and_again_disturbs_nobody(queue: Queue, redis: Redis) -> None:
    redis.lpush(queue.keys.unique("broken"), "not an id")
    failed: list[str] = []
    barrier = threading.Barrier(4)

    def work(key: str) -> None:
        barrier.wait()
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


# Alone ----------------------------------------------------------------------------------------


def test_a_thread_that_is_alone_makes_one_round_trip_and_waits_for_nobody(
    queue: Queue, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.enqueue(send, 0)

    def waits(_calls: object) -> None:
        raise AssertionError("it stands in line")

    monkeypatch.setattr(drivers, "_Asked", waits)
    before = reads(redis)
    for number in range(10):
        queue.enqueue(send, number)
    assert reads(redis) - before == 10 + 1


def test_a_coroutine_that_is_alone_makes_one_round_trip_and_no_task(
    server: Server, redis: Redis, keys: Keys
) -> None:
    async def use() -> None:
        queue = AsyncQueue(keys.queue, url=server.url, prefix=keys.prefix)
        await queue.enqueue(send, 0)
        before = reads(redis)
        for number in range(10):
            await queue.enqueue(send, number)
        assert reads(redis) - before == 10 + 1
        assert queue._driver._sender is None, "redjobs made a task; redis-py makes its own on some Pythons"
        await queue.close()

    asyncio.run(use())
