# mypy: ignore-errors
"""Wrong calls: a type checker must refuse every line that is marked, and no other.

Read by test_typing.py, which leaves the first line out; never run.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import redjobs
from redjobs import AsyncQueue, Queue, call

queue = Queue("mail")
aqueue = AsyncQueue("mail")
SOON = timedelta(minutes=5)
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def nothing() -> None: ...


def remind(user_id: int, template: str = "gentle") -> None: ...


def export(table: str, *, limit: int) -> None: ...


def total(*amounts: float) -> float:
    return sum(amounts)


async def fetch(url: str, retries: int = 3) -> bytes:
    return b""


@queue.job
def bare(user_id: int, template: str = "gentle") -> None: ...


@queue.job(max_attempts=5)
def configured(user_id: int, template: str = "gentle") -> None: ...


@redjobs.job
def unbound(user_id: int) -> None: ...


@redjobs.job(timeout=3)
async def unbound_coroutine(url: str) -> None: ...


@aqueue.job
def async_bare(user_id: int) -> None: ...


@aqueue.job(max_attempts=5)
async def async_configured(url: str) -> None: ...


def enqueue() -> None:
    queue.enqueue(remind)  # error
    queue.enqueue(remind, "7")  # error
    queue.enqueue(remind, 7, 8)  # error
    queue.enqueue(remind, 7, "firm", 9)  # error
    queue.enqueue(remind, 7, tempalte="firm")  # error
    queue.enqueue(nothing, 1)  # error
    queue.enqueue(export, "users")  # error
    queue.enqueue(export, "users", 10)  # error
    queue.enqueue(total, 1, "2")  # error
    queue.enqueue(fetch, retries=3)  # error
    queue.enqueue("shop.mail:remind", 7)  # error
    queue.enqueue(bare, "7")  # error
    queue.enqueue(unbound_coroutine, 7)  # error


def enqueue_in() -> None:
    queue.enqueue_in(SOON, remind)  # error
    queue.enqueue_in(SOON, remind, "7")  # error
    queue.enqueue_in(SOON, remind, 7, tempalte="firm")  # error
    queue.enqueue_in(remind, SOON, 7)  # error
    queue.enqueue_in("tomorrow", remind, 7)  # error
    queue.enqueue_in(3, remind, 7)  # error
    queue.enqueue_in(SOON)  # error
    queue.enqueue_in(days=3, fn=remind)  # error
    queue.enqueue_in(days=3, fn=remind, args=())  # error
    queue.enqueue_in(days=3, fn=remind, args=("7",))  # error
    queue.enqueue_in(days=3, fn=remind, args=(7, 8))  # error
    queue.enqueue_in(days=3, fn=remind, args=(7, "firm", 9))  # error
    queue.enqueue_in(days=3, fn=remind, args=7)  # error
    queue.enqueue_in(days=3, fn=remind, args=(7,), template="firm")  # error
    queue.enqueue_in(days="3", fn=remind, args=(7,))  # error
    queue.enqueue_in(day=3, fn=remind, args=(7,))  # error
    queue.enqueue_in(days=3, args=(7,))  # error
    queue.enqueue_in(days=3, fn=nothing, args=(1,))  # error
    queue.enqueue_in(days=3, fn=total, args=(1, "2"))  # error
    queue.enqueue_in(days=3, fn=fetch, args=(7,))  # error
    queue.enqueue_in(days=3, fn=export, args=("users",))  # error
    queue.enqueue_in(days=3, fn=bare, args=("7",))  # error
    queue.enqueue_in(days=3, fn=configured, args=(7, 8))  # error
    queue.enqueue_in(days=3, fn=unbound_coroutine, args=())  # error
    queue.enqueue_in(days=3, fn=remind, kwargs=["user_id", 7])  # error


def enqueue_at() -> None:
    queue.enqueue_at(NOON, remind)  # error
    queue.enqueue_at(NOON, remind, "7")  # error
    queue.enqueue_at("noon", remind, 7)  # error
    queue.enqueue_at(SOON, remind, 7)  # error
    queue.enqueue_at(at=NOON, fn=remind)  # error
    queue.enqueue_at(at=NOON, fn=remind, args=("7",))  # error
    queue.enqueue_at(at=NOON, fn=remind, args=(7, "firm", 9))  # error
    queue.enqueue_at(at="noon", fn=remind, args=(7,))  # error
    queue.enqueue_at(fn=remind, args=(7,))  # error
    queue.enqueue_at(at=NOON, fn=bare, args=(7, 8))  # error


def enqueue_many() -> None:
    queue.enqueue_many([call(remind, "7")])  # error
    queue.enqueue_many(call(remind, n, n) for n in range(10))  # error
    queue.enqueue_many([remind])  # error
    queue.enqueue_many([call(bare)])  # error
    queue.enqueue_many([call(fetch, b"https://example.com")])  # error
    call(remind, 7).in_("tomorrow")  # error
    call(remind, 7).at("noon")  # error
    call(remind, 7).with_options(prio=3)  # error
    call(remind, 7).with_options(queue="other")  # error


def options() -> None:
    queue.options(priority="high")  # error
    queue.options(prio=3)  # error
    queue.options(timeout="30s")  # error
    queue.options(backoff=lambda attempt, error: 1)  # error
    queue.job(max_attempts="many")  # error
    queue.job(key="a")  # error
    redjobs.job(attempts=3)  # error
    aqueue.options(priority="high")  # error
    aqueue.job(attempts=3)  # error
    redjobs.queue_options("mail", attempts=3)  # error


def handlers() -> None:
    bare()  # error
    bare("7")  # error
    bare.enqueue("7")  # error
    bare.enqueue(7, tempalte="firm")  # error
    bare.enqueue_in(SOON)  # error
    bare.enqueue_in(SOON, 7, 8)  # error
    bare.enqueue_in(7, SOON)  # error
    bare.enqueue_at(NOON, "7")  # error
    bare.enqueue_at("noon", 7)  # error
    bare.options(prio=3)  # error
    configured.enqueue("7")  # error
    configured.enqueue_in(SOON, 7, 8)  # error
    unbound.enqueue()  # error
    unbound_coroutine.enqueue(7)  # error


async def coroutines() -> None:
    await aqueue.enqueue(remind, "7")  # error
    await aqueue.enqueue_in(SOON, remind, 7, 8)  # error
    await aqueue.enqueue_in(days=3, fn=remind)  # error
    await aqueue.enqueue_in(days=3, fn=remind, args=("7",))  # error
    await aqueue.enqueue_in(days=3, fn=remind, args=(7, "firm", 9))  # error
    await aqueue.enqueue_in(day=3, fn=remind, args=(7,))  # error
    await aqueue.enqueue_in(days=3, fn=fetch, args=(7,))  # error
    await aqueue.enqueue_at(NOON, remind)  # error
    await aqueue.enqueue_at(at=NOON, fn=remind, args=("7",))  # error
    await aqueue.enqueue_at(at="noon", fn=remind, args=(7,))  # error
    await aqueue.enqueue_many([call(remind)])  # error


async def async_handlers() -> None:
    async_bare("7")  # error
    await async_bare.enqueue("7")  # error
    await async_bare.enqueue_in(SOON, 7, 8)  # error
    await async_bare.enqueue_at("noon", 7)  # error
    await async_configured.enqueue()  # error
    await async_configured.enqueue_in(7, "https://example.com")  # error
    await async_configured.options(prio=3).enqueue("https://example.com")  # error
    await aqueue.enqueue_in(days=3, fn=async_configured, args=(7,))  # error


def hooks() -> None:
    redjobs.on("sucess")(print)  # error
    redjobs.on("dead")("no function")  # error
    redjobs.on("dead")(nothing)  # error
    redjobs.on("claim")(remind)  # error
    redjobs.on()  # error
    redjobs.add_plugin()  # error
