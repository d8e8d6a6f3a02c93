"""A queue of eight shards, used like any other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest

import redjobs
from redjobs import AsyncQueue, Job, JobNotFound, Queue, State, Verdict, call
from redjobs.inspector import Inspector
from redjobs.keys import Keys
from tests.cli import Cli
from tests.servers import Server

HOUR = timedelta(hours=1)


@redjobs.job
def send(user_id: int) -> int:
    return user_id


@pytest.fixture
def queue(server: Server, keys: Keys) -> Iterator[Queue]:
    queue = Queue("mail", url=server.url, prefix=keys.prefix, shards=8)
    yield queue
    queue.close()


@pytest.fixture
def cli(server: Server, keys: Keys) -> Cli:
    return Cli(server, keys)


def where(queue: Queue) -> Counter[str]:
    """How many jobs each shard has."""
    inspector = Inspector(queue.redis, queue.keys.prefix)
    found = {name: inspector.queue(name) for name in inspector.queues()}
    return Counter({name: one.ready + one.scheduled for name, one in found.items()})


def test_jobs_spread_over_the_shards_and_come_back_in_the_order_given(queue: Queue) -> None:
    jobs = queue.enqueue_many(call(send, number) for number in range(2_000))
    assert [queue.arguments(queue.get(job.id))[0] for job in jobs[:50]] == [((n,)) for n in range(50)]
    found = where(queue)
    assert sorted(found) == [f"mail/{number}" for number in range(8)]
    assert found.total() == 2_000 and min(found.values()) > 150


def test_by_id_and_by_key_a_job_is_found_where_it_is(queue: Queue) -> None:
    for number in range(40):
        key = f"user:{number}"
        job = queue.options(key=key, priority=number % 3).enqueue_in(HOUR, send, number)
        assert queue.get(job.id).id == queue.get(key).id == job.id
        again = queue.options(key=key).enqueue(send, number)
        assert (again.id, again.created) == (job.id, False)
        assert queue.reschedule(key, 7200) is Verdict.RESCHEDULED
        assert queue.reschedule(job.id, timedelta(hours=3)) is Verdict.RESCHEDULED
        assert queue.cancel(key if number % 2 else job.id) is Verdict.CANCELLED
        assert queue.cancel(job.id) is Verdict.NOT_FOUND
        with pytest.raises(JobNotFound, match="queue 'mail'"):
            queue.get(key)
    assert where(queue).total() == 0


def test_jobs_of_an_earlier_count_are_found(queue: Queue, server: Server, keys: Keys) -> None:
    before = [Queue("mail", url=server.url, prefix=keys.prefix, shards=count) for count in (1, 3)]
    jobs = [
        old.options(key=f"{index}:{n}").enqueue_in(HOUR, send, n)
        for index, old in enumerate(before)
        for n in range(10)
    ]
    for job in jobs:
        assert queue.get(job.id).id == job.id
        assert job.key is not None and queue.get(job.key).id == job.id
        assert queue.cancel(job.id) is Verdict.CANCELLED
    for old in before:
        old.close()


def test_a_sweep_promotes_in_all_shards(queue: Queue) -> None:
    jobs = [queue.enqueue_in(timedelta(milliseconds=1), send, number) for number in range(30)]
    promoted = 0
    while promoted < len(jobs):
        promoted += queue.sweep().promoted
    assert {queue.get(job.id).state for job in jobs} == {State.READY}


def test_coroutines(server: Server, keys: Keys) -> None:
    async def use() -> list[Verdict]:
        queue = AsyncQueue("mail", url=server.url, prefix=keys.prefix, shards=8)
        jobs: list[Job] = await queue.enqueue_many(call(send, number) for number in range(50))
        jobs += [await queue.options(key="user:7").enqueue(send, 7)]
        assert (await queue.get("user:7")).id == jobs[-1].id
        found = [await queue.cancel(job.id) for job in jobs]
        await queue.close()
        return found

    assert set(asyncio.run(use())) == {Verdict.CANCELLED}


def test_the_command_line_takes_the_name_of_the_whole(queue: Queue, cli: Cli) -> None:
    jobs = [queue.options(key=f"user:{number}").enqueue(send, number) for number in range(20)]
    status = cli.json("status", "mail")
    assert sum(one["ready"] for one in status["queues"]) == 20
    assert cli.json("jobs", "show", "user:7")["id"] == jobs[7].id
    pages = cli.json("jobs", "list", "--queue", "mail", "--state", "ready")["pages"]
    assert {job["id"] for page in pages for job in page["jobs"]} == {job.id for job in jobs}
    cancelled = cli.json("jobs", "cancel", "--queue", "mail", jobs[0].id, "user:1")["jobs"]
    assert {one["verdict"] for one in cancelled} == {"cancelled"}
    assert set(cli.json("sweep", "mail")["queues"]) == {"mail"}
    assert cli.json("clear", "mail", "--yes")["removed"]["ready"] == 18
    assert where(queue).total() == 0
