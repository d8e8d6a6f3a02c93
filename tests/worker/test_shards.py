"""Workers of a sharded queue."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from redjobs import Queue, call
from tests.observed import observed
from tests.servers import Server
from tests.worker import handlers
from tests.worker.conftest import Burst, Start
from tests.worker.runs import Runs


@pytest.fixture
def server(valkey: Server) -> Server:
    return valkey


@pytest.fixture
def sharded(server: Server) -> Iterator[Queue]:
    queue = observed(server, "mail", shards=8)
    yield queue
    queue.close()


def test_a_worker_of_the_queue_serves_all_shards_and_what_was_there_before(
    sharded: Queue, worker: Start, runs: Runs, server: Server
) -> None:
    plain = Queue("mail", url=server.url)
    plain.enqueue(handlers.record, "before")
    sharded.enqueue_many(call(handlers.record, "shard") for _ in range(100))
    process = worker(processes=1, queues=("mail",))
    runs.wait("end", "shard", times=100)
    runs.wait("end", "before")
    # Asleep by now, and woken by a job in any shard.
    for _ in range(20):
        sharded.enqueue(handlers.record, "later")
    runs.wait("end", "later", times=20)
    assert process.stop() == 0
    plain.close()


@pytest.mark.parametrize("queues", [("ma*",), ("mail/3",)])
def test_patterns_and_single_shards_may_be_served(
    sharded: Queue, burst: Burst, runs: Runs, queues: tuple[str, ...]
) -> None:
    jobs = sharded.enqueue_many(call(handlers.record) for _ in range(100))
    burst(queues=queues)
    assert runs.count("end") == (len(jobs) if "*" in queues[0] else 100 - _left(sharded))
    if "*" not in queues[0]:
        assert 0 < runs.count("end") < len(jobs)


def _left(queue: Queue) -> int:
    return sum(queue.redis.llen(key) for key in queue.redis.scan_iter("*}:ready"))
