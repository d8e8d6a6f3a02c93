"""A primary that fails, with Sentinels who name another: nobody has to be told."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError

from redjobs import AsyncQueue, Job, Queue, connect
from redjobs.errors import EnqueueUnknown, NotReplicated, ServerUnavailable
from redjobs.settings import resolve_url
from redjobs.wire import _TOLD, borrow, exchange_on
from tests import invariants
from tests.groups import SERVICE, Node, Trio, is_replica, trio
from tests.waiting import wait_until
from tests.worker.conftest import Start, is_gone
from tests.worker.handlers import record, wait
from tests.worker.runs import Runs


@pytest.fixture
def server() -> Iterator[Trio]:
    with trio() as three:
        yield three


def fail_over(server: Trio) -> None:
    """As an operator does it: the former primary goes on as a replica."""
    before = server.primary
    sentinel: Any = server.sentinels[0].client()
    sentinel.execute_command("SENTINEL FAILOVER", SERVICE)
    wait_until(lambda: server.primary is not before, 20, "another primary")


def enqueue_async(url: str, text: str) -> Job:
    async def enqueue() -> Job:
        async_queue = AsyncQueue(url=url)
        job = await async_queue.enqueue(record, text)
        await async_queue.close()
        return job

    return asyncio.run(enqueue())


def named(server: Trio, node: Node) -> bool:
    """Whether any Sentinel says that this is the primary."""
    clients: list[Any] = [each.client() for each in server.sentinels]
    told = [client.sentinel_get_master_addr_by_name(SERVICE) for client in clients]
    return any(int(port) == node.port for _, port in told)


class Load:
    """A thread that enqueues one job after the other; what it is told is not there it forgets."""

    def __init__(self, url: str, name: str, replicas: int = 0) -> None:
        self.accepted: list[str] = []
        self.told = 0
        self._queue = Queue(url=url, wait_replicas=replicas)
        self._name = name
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._ends.is_set():
            number += 1
            try:
                self._queue.enqueue(record, f"{self._name}-{number}")
            except (NotReplicated, EnqueueUnknown, ServerUnavailable):
                self.told += 1
            else:
                self.accepted.append(f"{self._name}-{number}")

    def goes_on(self, more: int = 100) -> None:
        """Wait until more jobs are accepted."""
        enough = len(self.accepted) + more
        wait_until(lambda: len(self.accepted) >= enough, 60, "jobs are accepted")

    def stop(self) -> list[str]:
        """What was accepted."""
        self._ends.set()
        self._thread.join(30)
        self._queue.close()
        return self.accepted


@pytest.mark.row(19)
@pytest.mark.parametrize("round_", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 4))])
def test_a_primary_is_killed_under_load_and_what_a_replica_had_confirmed_runs(
    server: Trio, queue: Queue, worker: Start, runs: Runs, round_: int
) -> None:
    """At any moment: calls are under way. Of what nobody waited for the losses are counted."""
    process = worker(threads=2)
    loads = [Load(server.url, "confirmed", replicas=1), Load(server.url, "unconfirmed")]
    for load in loads:
        load.goes_on()
    server.primary.kill()
    already = {load: len(load.accepted) for load in loads}
    loads[1].goes_on()
    enqueue_async(server.url, "async")
    confirmed, unconfirmed = [load.stop() for load in loads]

    wait_until(lambda: set(runs.texts()) >= {*confirmed, "async"}, 30, "all have run that were confirmed")
    wait_until(lambda: set(runs.texts()) >= set(unconfirmed[-90:]), 30, "what the new primary accepted")
    lost = set(unconfirmed) - set(runs.texts())
    print(f"{len(lost)} of {already[loads[1]]} lost; of {len(confirmed)} confirmed none")
    assert len(lost) < 50, "what was under way"
    assert process.stop() == 0
    invariants.check(server.client())


@pytest.mark.slow
@pytest.mark.row(19)
def test_after_a_failover_all_go_on(server: Trio, queue: Queue, worker: Start, runs: Runs) -> None:
    process = worker()
    queue.enqueue(record, "before")
    runs.wait("end", "before")

    fail_over(server)
    queue.enqueue(record, "after")
    runs.wait("end", "after", timeout=20)

    enqueue_async(server.url, "async")
    runs.wait("end", "async")
    assert process.stop() == 0
    invariants.check(server.client())


@pytest.mark.slow
@pytest.mark.row(19, 21)
@pytest.mark.parametrize("round_", range(3))
def test_what_was_acknowledged_and_replicated_runs(
    server: Trio, queue: Queue, worker: Start, runs: Runs, round_: int
) -> None:
    process = worker(threads=2)
    acknowledged: list[str] = []
    between, ends = threading.Lock(), threading.Event()

    def load() -> None:
        while not ends.is_set():
            with between:
                text = f"{round_}-{len(acknowledged)}"
                queue.enqueue(record, text)
                acknowledged.append(text)

    producer = threading.Thread(target=load)
    producer.start()
    try:
        wait_until(lambda: len(acknowledged) > 300)
        with between:  # on the connection of the last write: all before it is replicated, too
            assert queue.redis.wait(1, 5000) == 1
            former = server.primary
            former.kill()
        already = len(acknowledged)
        wait_until(lambda: len(acknowledged) > already + 300, 30, "enqueues after the failover")
        former.start()
        # Sentinels in their "tilt" mode, after a time when they were starved, look on for half a minute.
        wait_until(lambda: is_replica(former), 90, "the former primary is a replica")
        already = len(acknowledged)
        wait_until(lambda: len(acknowledged) > already + 300, 30, "enqueues when it is back")
    finally:
        ends.set()
        producer.join(30)

    wait_until(lambda: set(runs.texts()) >= set(acknowledged), 30, "all have run")
    assert process.stop() == 0
    invariants.check(server.client())


@pytest.mark.slow
@pytest.mark.row(19)
def test_a_primary_that_comes_back_empty_before_anybody_takes_over_empties_its_replica(
    server: Trio, queue: Queue
) -> None:
    """Known, and not to be mended by a client: this is what a log (AOF) is for, with replicas, too."""
    for number in range(50):
        queue.enqueue(record, str(number))
    assert queue.redis.wait(1, 5000) == 1
    primary, replica = server.primary, server.replica
    primary.kill()
    primary.start()
    wait_until(primary.answers)
    wait_until(lambda: is_replica(replica) and replica.client().dbsize() == 0, 20, "the replica is empty")
    assert server.primary is primary, "nobody had noticed"
    assert queue.redis.llen(queue.keys.ready) == 0


@pytest.mark.slow
@pytest.mark.row(20)
def test_what_the_replica_did_not_receive_is_told_and_refused_later(
    server: Trio, queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    job = queue.enqueue(wait, str(gate))
    assert queue.redis.wait(1, 5000) == 1
    server.replica.client().replicaof(
        "127.0.0.1", "1"
    )  # cut off: of what happens from here on it never hears
    process = worker(threads=2)
    runs.wait("start", job_id=job.id)
    waits = Queue(url=server.url, wait_replicas=1)
    with pytest.raises(NotReplicated):
        waits.enqueue(record, "unconfirmed")
    waits.close()

    server.primary.kill()
    runs.wait("start", job_id=job.id, times=2, timeout=40)
    gate.touch()
    runs.wait("end", job_id=job.id, times=2)
    process.says("lost", job.id)
    wait_until(lambda: queue.redis.hget(queue.keys.stats, "completed") == b"1")
    assert process.stop() == 0
    invariants.check(server.client())


@pytest.mark.slow
@pytest.mark.row(21)
def test_a_primary_that_hangs_is_left(server: Trio, queue: Queue, worker: Start, runs: Runs) -> None:
    worker()
    queue.enqueue(record, "before")
    runs.wait("end", "before")
    assert queue.redis.wait(1, 5000) == 1

    server.primary.process.send_signal(signal.SIGSTOP)  # no connection is closed
    try:
        queue.enqueue(record, "after")
    except EnqueueUnknown:  # the reply may have been lost; it is told so
        queue.enqueue(record, "after")
    runs.wait("end", "after", timeout=30)


@pytest.mark.slow
@pytest.mark.row(21)
def test_a_primary_that_hung_wakes_up_with_everybody_attached(
    server: Trio, queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    """It takes writes then, until Sentinels have told it that it is none any more; all of them are void."""
    process = worker(threads=2)
    long = queue.enqueue(wait, str(gate))
    runs.wait("start", job_id=long.id)
    assert queue.redis.wait(1, 5000) == 1
    former = server.primary
    with ThreadPoolExecutor(4) as producers:
        former.process.send_signal(signal.SIGSTOP)
        try:
            # Their calls are on their way to one that does not answer, and are carried out when it wakes.
            calls = [producers.submit(queue.enqueue, record, f"meanwhile {n}") for n in range(3)]
            calls.append(producers.submit(enqueue_async, server.url, "meanwhile, async"))
            wait_until(lambda: not named(server, former), 40, "all Sentinels name another")
        finally:
            former.process.send_signal(signal.SIGCONT)
        jobs = [call.result(30) for call in calls]
    assert former.client().info("replication")["role"] == "master"
    jobs += [queue.enqueue(record, f"after {n}") for n in range(20)]
    for job in jobs:
        runs.wait("end", job_id=job.id, timeout=30)

    gate.touch()
    runs.wait("end", job_id=long.id, timeout=30)
    wait_until(lambda: is_gone(queue, long.id), 30, "the long job is over, on the winner")
    wait_until(lambda: is_replica(former), 120, "the former primary is a replica")
    assert process.stop() == 0
    invariants.check(server.client())


def test_a_demoted_primary_is_a_lost_connection(server: Trio) -> None:
    client = connect.connect_worker(resolve_url(server.url))
    client.set("key", "value")

    server.primary.client().replicaof("127.0.0.1", str(server.replica.port))
    with pytest.raises(redis.ConnectionError, match="read only"):  # nobody takes it for a refusal
        client.set("key", "other")
    client.close()


@pytest.mark.slow
@pytest.mark.row(21)
def test_the_former_primary_is_left_while_it_still_takes_writes(server: Trio, queue: Queue) -> None:
    queue.enqueue(record, "before")
    former = server.primary
    fail_over(server)
    jobs = [queue.enqueue(record, "after")]
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        jobs.append(queue.enqueue(record, "after"))

    assert former.client().info("replication")["role"] == "master"
    there: Any = server.client().pipeline(transaction=False)
    for job in jobs:
        there.exists(queue.keys.job(job.id))
    assert sum(there.execute()) > len(jobs) / 2  # all but those of the first second


@pytest.mark.slow
def test_a_connection_that_was_lost_once_leaves_a_former_primary(server: Trio) -> None:
    """As one that a worker holds for ever does: it is not borrowed from the pool again."""
    client = connect.connect_worker(resolve_url(server.url))
    held = borrow(client.connection_pool)
    exchange_on(held, [("PING",)])
    held.disconnect()
    exchange_on(held, [("PING",)])

    former = server.primary
    fail_over(server)

    def is_left() -> bool:
        with contextlib.suppress(redis.ConnectionError):
            exchange_on(held, [("SET", "key", "value")])
        return bool(held.port != former.port)

    wait_until(is_left, 5)
    assert former.client().info("replication")["role"] == "master", "it would still take writes"
    client.connection_pool.release(held)
    client.close()


@pytest.mark.slow
def test_a_coroutines_connection_that_was_lost_once_leaves_a_former_primary(server: Trio) -> None:
    async def use() -> None:
        client = connect.connect_async(resolve_url(server.url))
        pool: Any = client.connection_pool
        held = await pool.get_connection(*_TOLD)
        await held.disconnect()
        await say(held, "PING")

        former = server.primary
        fail_over(server)
        deadline = time.monotonic() + 5
        while held.port == former.port:
            assert time.monotonic() < deadline
            with contextlib.suppress(redis.ConnectionError):
                await say(held, "SET", "key", "value")
        assert former.client().info("replication")["role"] == "master", "it would still take writes"
        await pool.release(held)
        await client.aclose()

    asyncio.run(use())


async def say(connection: Any, *words: str) -> Any:
    await connection.send_command(*words)
    return await connection.read_response()


class Interrupted(Exception):
    """What a signal handler may raise."""


@pytest.mark.slow
@pytest.mark.row(37)
@pytest.mark.parametrize("form", ["plain", "pipeline"])
def test_an_interrupted_read_gives_nobody_a_wrong_reply(server: Trio, form: str) -> None:
    client = connect.connect_worker(resolve_url(server.url))
    client.set("key", "value")

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(Interrupted):
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            if form == "plain":
                client.brpoplpush("from", "to", 3)
            else:
                pipe: Any = client.pipeline(transaction=False)
                pipe.brpoplpush("from", "to", 3)
                pipe.execute()
    finally:
        signal.signal(signal.SIGALRM, before)
    client.lpush("from", "job")
    assert client.get("key") == b"value"
    assert client.ping() is True
    client.close()


@pytest.mark.slow
def test_who_is_unknown_to_all_sentinels(server: Trio) -> None:
    queue = Queue(url=server.url.replace(f"/{SERVICE}", "/others"))
    started = time.monotonic()
    with pytest.raises(ServerUnavailable, match="watch no primary named 'others'"):
        queue.enqueue(record, "x")
    assert time.monotonic() - started < 5
    queue.close()


@pytest.mark.slow
def test_passwords_of_both_kinds(server: Trio) -> None:
    for node in server.nodes:
        node.client().config_set("masterauth", "canary-one")
        node.client().config_set("requirepass", "canary-one")
    for sentinel in server.sentinels:
        client: Any = sentinel.client()
        client.execute_command("ACL SETUSER default >canary-two")
    hosts = server.url.partition("://")[2]

    right = Queue(url=f"redis+sentinel://:canary-one@{hosts}?sentinel_password=canary-two")
    assert right.enqueue(record, "x").created
    right.close()

    for url in (f"redis+sentinel://:canary-one@{hosts}?sentinel_password=canary-3",):
        wrong = Queue(url=url)
        with pytest.raises(ServerUnavailable) as caught:
            wrong.enqueue(record, "x")
        assert "canary" not in f"{caught.value}{wrong!r}{wrong.redis!r}"
        assert isinstance(caught.value.__cause__, redis.AuthenticationError | ResponseError)
        wrong.close()
