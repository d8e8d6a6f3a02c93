"""A worker claims short jobs ahead of their turn, and no more of them than will have theirs soon."""

from __future__ import annotations

from typing import Any

import pytest

from redjobs import Queue, call
from redjobs.inspector import Inspector
from tests.servers import Server
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.conftest import Start


@pytest.fixture
def server(valkey: Server) -> Server:
    return valkey


LOADS = {
    "coroutines that never wait": [call(handlers.keep_busy, 0.002) for _ in range(400)],
    "few functions, many coroutines": [
        call(handlers.take_seconds, 0.005) if number % 10 == 0 else call(handlers.record_async)
        for number in range(600)
    ],
    "many functions, few coroutines": [
        call(handlers.take_seconds, 0.001) if number % 10 else call(handlers.record_async)
        for number in range(600)
    ],
}


@pytest.mark.parametrize("load", LOADS)
def test_few_are_claimed_in_vain(queue: Queue, worker: Start, load: str) -> None:
    queue.enqueue_many(LOADS[load])
    process = worker(processes=1)
    counters = Inspector(queue.redis).queue
    wait_until(lambda: counters("default").counters.get("completed") == len(LOADS[load]), 30)
    assert process.stop() == 0
    # What waits for a tenth of a second goes back, as when the machine is busy with others for so long.
    # Taken again at once, more than a thousand would do so.
    assert counters("default").counters.get("released", 0) <= 500


def test_no_more_is_held_than_is_done_in_a_fiftieth_of_a_second_or_so(queue: Queue, worker: Start) -> None:
    """Jobs of five milliseconds: what waits behind them could be with another worker."""
    redis: Any = queue.redis
    queue.enqueue_many(call(handlers.take_seconds, 0.005) for _ in range(200))
    worker(processes=1)
    wait_until(lambda: redis.zcard(queue.keys.workers))
    (name,) = redis.zrange(queue.keys.workers, 0, -1)
    held: list[int] = []

    def all_are_done() -> bool:
        held.append(redis.llen(queue.keys.processing(name.decode())))
        return not held[-1] and not redis.exists(queue.keys.ready)

    wait_until(all_are_done)
    assert 2 <= max(held) <= 6
