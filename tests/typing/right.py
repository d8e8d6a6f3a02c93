"""Right calls: a type checker must accept every line. Read by test_typing.py, never run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from redis import Redis

import redjobs
from redjobs import AsyncQueue, Call, CurrentJob, Job, JobError, Queue, Verdict, call

queue = Queue("mail", url="redis://localhost")
own_client = Queue(client=Redis())
aqueue = AsyncQueue("mail")
SOON = timedelta(minutes=5)
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def nothing() -> None: ...


def remind(user_id: int, template: str = "gentle") -> None: ...


def export(table: str, *, limit: int, since: datetime | None = None) -> str:
    return table


def total(*amounts: float) -> float:
    return sum(amounts)


def many(names: list[str], ages: dict[str, int], flag: bool, a: int, b: int, c: int, d: int) -> None: ...


async def fetch(url: str, retries: int = 3) -> bytes:
    return b""


# A handler, bare and with options, bound and unbound, plain and coroutine.


@queue.job
def bare(user_id: int, template: str = "gentle") -> str:
    return template


@queue.job(max_attempts=5, timeout=timedelta(seconds=30), priority=-10, backoff=[1, 5, 30], result_ttl=60)
def configured(user_id: int) -> None: ...


@queue.job(backoff=lambda attempt, error: attempt * 2.0, queue="other")
def with_a_function(user_id: int) -> None: ...


@redjobs.job
def unbound(user_id: int) -> None: ...


@redjobs.job(timeout=3)
async def unbound_coroutine(url: str) -> bytes:
    return b""


@aqueue.job
def async_bare(user_id: int, template: str = "gentle") -> str:
    return template


@aqueue.job(max_attempts=5)
async def async_configured(url: str) -> bytes:
    return b""


def enqueue() -> None:
    assert_type(queue.enqueue(remind, 7), Job)
    queue.enqueue(remind, 7, "firm")
    queue.enqueue(remind, user_id=7, template="firm")
    queue.enqueue(nothing)
    queue.enqueue(export, "users", limit=10)
    queue.enqueue(total)
    queue.enqueue(total, 1, 2.5, 3)
    queue.enqueue(fetch, "https://example.com", retries=1)
    queue.enqueue(bare, 7, template="firm")
    queue.enqueue(unbound_coroutine, "https://example.com")


def enqueue_in(anything: Callable[..., object], numbers: list[int]) -> None:
    assert_type(queue.enqueue_in(SOON, remind, 7), Job)
    queue.enqueue_in(SOON, export, "users", limit=10, since=NOON)
    assert_type(queue.enqueue_in(days=3, fn=remind, args=(7,)), Job)
    queue.enqueue_in(days=3, fn=remind, args=(7, "firm"))
    queue.enqueue_in(weeks=1, days=0.5, hours=1, minutes=1, seconds=1, fn=nothing)
    queue.enqueue_in(hours=1, fn=nothing, args=())
    queue.enqueue_in(hours=1, fn=total)
    queue.enqueue_in(hours=1, fn=total, args=(1, 2.5, 3))
    queue.enqueue_in(hours=1, fn=many, args=(["a"], {"a": 1}, True, 1, 2, 3, 4))
    queue.enqueue_in(hours=1, fn=fetch, args=("https://example.com",))
    queue.enqueue_in(hours=1, fn=bare, args=(7,))
    queue.enqueue_in(hours=1, fn=configured, args=(7,))
    # Keyword arguments are checked when the call is enqueued, not by the type checker.
    queue.enqueue_in(hours=1, fn=export, args=("users",), kwargs={"limit": 10})
    queue.enqueue_in(hours=1, fn=export, kwargs={"table": "users", "limit": 10})
    queue.enqueue_in(hours=1, fn=total, args=numbers, kwargs={})
    queue.enqueue_in(hours=1, fn=anything, args=(1, "a"))


def enqueue_at() -> None:
    assert_type(queue.enqueue_at(NOON, remind, 7), Job)
    queue.enqueue_at(1_900_000_000, remind, 7, template="firm")
    assert_type(queue.enqueue_at(at=NOON, fn=remind, args=(7,)), Job)
    queue.enqueue_at(at=NOON, fn=remind, args=(7, "firm"))
    queue.enqueue_at(at=1_900_000_000.5, fn=nothing)
    queue.enqueue_at(at=NOON, fn=bare, args=(7, "firm"))
    queue.enqueue_at(at=NOON, fn=export, args=("users",), kwargs={"limit": 10})


def enqueue_many() -> None:
    assert_type(call(remind, 7), Call)
    assert_type(queue.enqueue_many(call(remind, n) for n in range(10)), list[Job])
    queue.enqueue_many([call(bare, 7), call(fetch, "https://example.com"), Call(total, (1, 2))])
    queue.enqueue_many([call(remind, 7).in_(SOON), call(remind, 8).in_(60).with_options(key="a", priority=3)])
    queue.enqueue_many([call(remind, 7).at(NOON)])


def options() -> None:
    assert_type(queue.options(priority=-10), Queue)
    queue.options(key="reminder:7", timeout=30, max_attempts=5, backoff=[1, 2.5]).enqueue(remind, 7)
    queue.options(queue="other", result_ttl=timedelta(days=1), backoff=10).enqueue_in(SOON, remind, 7)
    queue.options(priority=None, key=None)


def handlers() -> None:
    assert_type(bare(7), str)
    assert_type(bare.enqueue(7, template="firm"), Job)
    assert_type(bare.enqueue_in(SOON, 7), Job)
    assert_type(bare.enqueue_at(NOON, 7, "firm"), Job)
    bare.enqueue_at(1_900_000_000, 7)
    bare.options(priority=3, key="a").enqueue(7)
    configured.enqueue(7)
    with_a_function.enqueue(user_id=7)
    unbound.enqueue(7)
    unbound_coroutine.enqueue("https://example.com")
    assert_type(bare.queue, Queue)


@redjobs.on("dead")
def tell_the_team(job: CurrentJob, error: JobError) -> str:
    return f"{job.name} {job.attempt}: {error.error}"


@redjobs.on("run")
def traced(job: CurrentJob) -> Iterator[None]:
    yield


@redjobs.on("error")
def measured(job: CurrentJob, exception: BaseException) -> None: ...


class Plugin:
    def success(self, job: CurrentJob, seconds: float) -> None: ...


def hooks(job: CurrentJob, error: JobError) -> None:
    # The decorator leaves a hook what it is.
    assert_type(tell_the_team(job, error), str)
    assert_type(traced(job), Iterator[None])
    redjobs.on("worker_stop")(print)
    redjobs.add_plugin(Plugin())


def the_rest() -> None:
    assert_type(queue.get("id"), Job)
    assert_type(queue.cancel("id"), Verdict)
    assert_type(queue.reschedule("id", SOON), Verdict)
    queue.reschedule("id", 30)
    queue.reschedule("id", at=NOON)
    assert_type(queue.requeue("id"), Verdict)
    assert_type(queue.delete("id"), Verdict)
    value: Any = queue.result("id", timeout=5)
    print(value)
    assert_type(queue.redis, Redis)


async def coroutines(numbers: list[int]) -> None:
    assert_type(await aqueue.enqueue(remind, 7), Job)
    await aqueue.enqueue(fetch, "https://example.com", retries=1)
    assert_type(await aqueue.enqueue_in(SOON, remind, 7, template="firm"), Job)
    assert_type(await aqueue.enqueue_in(days=3, fn=remind, args=(7,)), Job)
    await aqueue.enqueue_in(days=3, hours=1, fn=nothing)
    await aqueue.enqueue_in(days=3, fn=fetch, args=("https://example.com", 1))
    await aqueue.enqueue_in(days=3, fn=export, args=("users",), kwargs={"limit": 10})
    assert_type(await aqueue.enqueue_at(NOON, remind, 7), Job)
    assert_type(await aqueue.enqueue_at(at=NOON, fn=remind, args=(7, "firm")), Job)
    await aqueue.enqueue_at(at=1_900_000_000, fn=nothing)
    await aqueue.enqueue_at(at=NOON, fn=total, args=numbers, kwargs={})
    assert_type(await aqueue.enqueue_many([call(remind, 7).in_(SOON)]), list[Job])
    assert_type(aqueue.options(priority=-10, timeout=3), AsyncQueue)


async def async_handlers() -> None:
    assert_type(async_bare(7), str)
    assert_type(await async_configured("https://example.com"), bytes)
    assert_type(await async_bare.enqueue(7), Job)
    assert_type(await async_bare.enqueue_in(SOON, 7, template="firm"), Job)
    assert_type(await async_configured.enqueue_at(NOON, "https://example.com"), Job)
    await async_bare.options(key="a").enqueue(7)
    assert_type(async_bare.queue, AsyncQueue)
    await aqueue.enqueue(async_bare, 7)
    await aqueue.enqueue_in(days=3, fn=async_configured, args=("https://example.com",))


async def async_rest() -> None:
    assert_type(await aqueue.get("id"), Job)
    assert_type(await aqueue.cancel("id"), Verdict)
    assert_type(await aqueue.reschedule("id", at=NOON), Verdict)
    assert_type(await aqueue.requeue("id"), Verdict)
    assert_type(await aqueue.delete("id"), Verdict)
    value: Any = await aqueue.result("id", timeout=5)
    print(value)
