"""A queue of eight shards, used like any other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest

import redjobs
from redjobs import AsyncQueue, Job, JobNotFound, Queue, State, Verdict, call
from redjobs import queue as queue_module
from redjobs.inspector import Inspector
from redjobs.keys import Keys
from redjobs.registry import Registry
from tests.cli import Cli
from tests.observed import observed
from tests.servers import Server

HOUR = timedelta(hours=1)


def remind(user_id: int) -> int:
    return user_id


@redjobs.job
def send(user_id: int) -> int:
    return user_id


@pytest.fixture
def queue(server: Server, keys: Keys) -> Iterator[Queue]:
    queue = observed(server, "mail", prefix=keys.prefix, shards=8)
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


# Only named -----------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", ["mail", "post"])
def test_a_queue_that_is_only_named_has_its_shards(
    queue: Queue, server: Server, keys: Keys, owner: str
) -> None:
    other = queue if owner == "mail" else Queue("post", url=server.url, prefix=keys.prefix)
    named = other.options(queue="mail", key="user:7")
    job, again = queue.options(key="user:7").enqueue(send, 7), named.enqueue(send, 7)
    assert (again.id, again.created) == (job.id, False)
    assert named.cancel("user:7") is Verdict.CANCELLED
    assert where(queue).total() == 0
    other.close()


@pytest.mark.parametrize("owner", ["mail", "post"])
def test_so_it_has_for_coroutines(queue: Queue, server: Server, keys: Keys, owner: str) -> None:
    async def use() -> tuple[Job, Verdict]:
        shards = 8 if owner == "mail" else None
        other = AsyncQueue(owner, url=server.url, prefix=keys.prefix, shards=shards)
        named = other.options(queue="mail", key="user:7")
        found = await named.enqueue(send, 7), await named.cancel("user:7")
        await other.close()
        return found

    job = queue.options(key="user:7").enqueue(send, 7)
    again, verdict = asyncio.run(use())
    assert (again.id, again.created) == (job.id, False)
    assert verdict is Verdict.CANCELLED
    assert where(queue).total() == 0


def test_a_queue_keeps_the_count_that_it_was_made_with(queue: Queue, server: Server, keys: Keys) -> None:
    Queue("mail", url=server.url, prefix=keys.prefix, shards=3).close()
    assert queue.options(queue="mail", priority=3)._shards is queue._shards
    post = queue.options(queue="post")
    assert len(post.options(queue="mail")._shards.parts) == 3
    assert len(post.options(key="user:7")._shards.parts) == 1


@pytest.mark.parametrize("first", ["handler", "queue"])
def test_handlers_that_name_a_queue_enqueue_to_its_shards(
    server: Server, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    monkeypatch.setenv("REDJOBS_URL", server.url)
    monkeypatch.setattr(queue_module, "_default_queues", {})
    monkeypatch.setattr(queue_module, "shared_registry", Registry())
    if first == "handler":
        handler = redjobs.job(queue="mail")(remind)
        assert handler.queue.cancel("nothing") is Verdict.NOT_FOUND
    queue = observed(server, "mail", shards=8)
    if first == "queue":
        handler = redjobs.job(queue="mail")(remind)
    job = queue.options(key="user:7").enqueue(handler, 7)
    assert handler.options(key="user:7").enqueue(7).id == job.id
    assert handler.queue.cancel("user:7") is Verdict.CANCELLED
    assert where(queue).total() == 0
    handler.queue.close()
    queue.close()


def test_so_do_handlers_of_coroutines(server: Server, keys: Keys) -> None:
    async def use() -> tuple[Job, Job, Verdict]:
        post = AsyncQueue("post", url=server.url, prefix=keys.prefix, registry=Registry())
        handler = post.job(queue="mail")(remind)
        mail = AsyncQueue("mail", url=server.url, prefix=keys.prefix, shards=8, registry=post.registry)
        job = await mail.options(key="user:7").enqueue(handler, 7)
        again = await handler.options(key="user:7").enqueue(7)
        verdict = await handler.queue.cancel("user:7")
        await post.close()
        await mail.close()
        return job, again, verdict

    job, again, verdict = asyncio.run(use())
    assert (again.id, again.created) == (job.id, False)
    assert verdict is Verdict.CANCELLED
