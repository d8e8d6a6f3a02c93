"""The same from coroutines, and coroutines as jobs."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from redjobs import AsyncQueue, Queue, State
from tests.fundamentals.conftest import Work
from tests.servers import Server

inbox: list[str] = []
met: list[str] = []


def send(user_id: int) -> None:
    inbox.append(f"user {user_id}")


async def fetch(page: str) -> None:
    met.append(page)
    while len(met) < 3:  # noqa: ASYNC110 - nothing else is to be explained here
        await asyncio.sleep(0)  # ends only if all three run at the same time
    inbox.append(page)


def test_a_coroutine_enqueues(server: Server, work: Work) -> None:
    """`AsyncQueue` has the methods of `Queue`, and those that ask the server are awaited."""

    async def sign_up() -> None:
        queue = AsyncQueue("default", url=server.url)
        await queue.enqueue(send, 7)
        job = await queue.options(key="reminder:7").enqueue_in(timedelta(days=3), send, 7)
        assert (await queue.get("reminder:7")).id == job.id
        assert job.state is State.SCHEDULED
        assert await queue.cancel(job.id)
        await queue.close()

    asyncio.run(sign_up())
    work()
    assert inbox == ["user 7"]


def test_a_coroutine_function_is_a_job(queue: Queue, work: Work) -> None:
    """The worker runs many of them at the same time, on one event loop."""
    met.clear()
    for page in ("one", "two", "three"):
        queue.enqueue(fetch, page)
    assert work() == 0
    assert sorted(inbox) == ["one", "three", "two"]
