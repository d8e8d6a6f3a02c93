"""Which queues a worker serves, and in which order: strict, weighted, by pattern, within priorities."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from redjobs import Queue, call
from tests.servers import Server
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.conftest import Burst, Start
from tests.worker.runs import Runs

pytestmark = pytest.mark.timeout(30, method="thread")

Fill = Callable[..., None]


@pytest.fixture
def fill(server: Server) -> Fill:
    """Enqueue jobs that write down the name of their queue."""

    def enqueue(*names: str, count: int = 1, priority: int = 0, seconds: float = 0.0) -> None:
        for name in names:
            queue = Queue(name, url=server.url).options(priority=priority)
            queue.enqueue_many(call(handlers.take_seconds, seconds, name) for _ in range(count))
            queue.close()

    return enqueue


def test_queues_are_served_in_the_order_in_which_they_are_named(fill: Fill, burst: Burst, runs: Runs) -> None:
    fill("low", "high", count=30)
    burst(queues=("high", "low"))
    assert runs.texts() == ["high"] * 30 + ["low"] * 30


@pytest.mark.parametrize(("count", "seconds"), [(20_000, 0.0), (300, 0.02)])
@pytest.mark.parametrize("weights", [(), (("low", 5), ("high", 1))], ids=["strict", "weighted"])
@pytest.mark.parametrize("delay", [0.0, 0.2], ids=["now", "later"])
def test_a_queue_that_was_empty_is_not_forgotten_while_another_one_has_work(
    fill: Fill,
    worker: Start,
    runs: Runs,
    server: Server,
    count: int,
    seconds: float,
    weights: Any,
    delay: float,
) -> None:
    worker(queues=("high", "low"), weights=weights)
    fill("low")
    runs.wait("end", "low")
    fill("low", count=count, seconds=seconds)
    high = Queue("high", url=server.url)
    high.enqueue_in(timedelta(seconds=delay), handlers.take_seconds, 0, "high")
    runs.wait("end", "high", timeout=20)
    high.close()
    assert runs.texts().index("high") < count, "low had work left"


def test_other_queues_are_left_alone(fill: Fill, burst: Burst, runs: Runs, server: Server) -> None:
    fill("mail", "bills")
    burst(queues=("mail",))
    assert runs.texts() == ["mail"]


def test_weights_share_the_worker_out(fill: Fill, burst: Burst, runs: Runs) -> None:
    """Three of four turns, give or take four deviations; half of them would be 50."""
    # So long that each job is taken by itself.
    fill("heavy", "light", count=100, seconds=0.02)
    burst(queues=("light", "heavy"), weights=(("heavy", 3), ("light", 1)))
    order = runs.texts()
    assert Counter(order) == {"heavy": 100, "light": 100}
    assert 57 < Counter(order[:100])["heavy"] < 94


def test_a_pattern_serves_all_queues_in_use_that_match(fill: Fill, burst: Burst, runs: Runs) -> None:
    fill("mail-out", "mail-in", "bills")
    burst(queues=("mail-*",))
    assert runs.texts() == ["mail-in", "mail-out"]


def test_named_queues_come_before_those_of_a_pattern(fill: Fill, burst: Burst, runs: Runs) -> None:
    fill("a", "b", "z")
    burst(queues=("z", "*"))
    assert runs.texts() == ["z", "a", "b"]


def test_excluded_queues_are_not_served(fill: Fill, burst: Burst, runs: Runs) -> None:
    fill("mail-out", "mail-in", "bills")
    burst(queues=("*",), exclude=("mail-*",))
    assert runs.texts() == ["bills"]


def test_a_queue_that_comes_into_use_later_is_served_by_a_pattern(
    fill: Fill, worker: Start, runs: Runs
) -> None:
    fill("mail-in")
    often = {"redjobs.worker.queues._REFRESH_SECONDS": 0.3}
    process = worker(processes=0, queues=("mail-*",), max_idle=1.0, constants=often)
    runs.wait("end", "mail-in")
    fill("mail-out", "bills")
    runs.wait("end", "mail-out")
    assert process.wait() == 0
    assert runs.texts() == ["mail-in", "mail-out"]


def test_only_priorities_within_the_limits_are_taken(fill: Fill, burst: Burst, runs: Runs) -> None:
    for priority in (-5, 0, 5, 10):
        fill(f"q{priority}", priority=priority)
    names = ("q-5", "q0", "q5", "q10")
    burst(queues=names, min_priority=1)
    assert runs.texts() == ["q5", "q10"]
    burst(queues=names, max_priority=-1)
    assert runs.texts()[2:] == ["q-5"]
    burst(queues=names, min_priority=0, max_priority=0)
    assert runs.texts()[3:] == ["q0"]


def test_a_worker_of_other_priorities_leaves_those_of_the_same_queue(
    queue: Queue, burst: Burst, runs: Runs
) -> None:
    for priority in (-5, 0, 5):
        queue.options(priority=priority).enqueue(handlers.record, str(priority))
    burst(min_priority=1)
    assert runs.texts() == ["5"]
    burst(max_priority=-1)
    assert runs.texts() == ["5", "-5"]
    burst()
    assert runs.texts() == ["5", "-5", "0"]


def test_queues_of_another_prefix_are_somebody_elses(
    queue: Queue, burst: Burst, runs: Runs, server: Server
) -> None:
    other = Queue(url=server.url, prefix="other")
    other.enqueue(handlers.record, "other")
    queue.enqueue(handlers.record, "ours")
    burst()
    assert runs.texts() == ["ours"]
    burst(prefix="other", queues=("*",))
    assert runs.texts() == ["ours", "other"]
    other.close()


def test_a_queue_that_was_never_used_is_known_once_it_is_served(burst: Burst, server: Server) -> None:
    burst(queues=("new", "pattern-*"))
    assert server.client().smembers("redjobs:queues") == {b"new"}


def test_queues_that_are_served_stay_known_when_the_server_forgets_them(
    worker: Start, queue: Queue, server: Server, runs: Runs
) -> None:
    """Else the next worker, or the next child, would not find them."""
    mail = Queue("mail", url=server.url, shards=2)
    with contextlib.closing(mail):
        worker(queues=("*",))
        mail.enqueue_many(call(handlers.record, str(number)) for number in range(20))
        wait_until(lambda: len(set(runs.texts())) == 20)
        server.client().delete("redjobs:queues")
        wait_until(lambda: server.client().smembers("redjobs:queues") >= {b"mail/0", b"mail/1"})
