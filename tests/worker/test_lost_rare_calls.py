"""The network loses what a worker says less often: how jobs end otherwise, and what keeps the queue in order.

See test_lost_replies.py for the rest. Of each call the reply is lost, so that the server has done it, or the
call itself, so that it has not.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from redjobs import Queue, State, Verdict, commands
from redjobs.commands import SCRIPTS
from tests.proxy import Matches, Proxy, Rule, script
from tests.servers import Server
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.conftest import Start, is_gone
from tests.worker.runs import Runs

Lose = Callable[..., Rule]


@pytest.fixture
def server(valkey: Server) -> Server:
    # What is lost of a script that the server does not know is only that.
    for each in SCRIPTS.values():
        valkey.client().script_load(each.text)
    return valkey


@pytest.fixture(params=["reply", "request"])
def lose(proxy: Proxy, request: pytest.FixtureRequest) -> Lose:
    """Lose the replies to these commands, or the commands."""
    found: Lose = getattr(proxy, f"lose_{request.param}")
    return found


def counted(queue: Queue, name: str) -> int:
    """One of the queue's counters."""
    found: Any = queue.redis.hget(queue.keys.stats, name)
    return int(found or 0)


@pytest.mark.row(11)
def test_a_job_that_is_buried_into_the_void_is_dead_once(
    queue: Queue, proxy: Proxy, worker: Start, runs: Runs, lose: Lose
) -> None:
    process = worker(processes=0, url=proxy.url)
    rule = lose(script("bury"), times=2)
    job = queue.enqueue(handlers.bury)
    proxy.wait_for(rule, times=2)
    wait_until(lambda: queue.get(job.id).state is State.DEAD)
    assert process.stop() == 0
    assert (counted(queue, "dead"), len(queue.get(job.id).errors)) == (1, 1)
    assert runs.count("start") == 1
    assert process.count("another worker has the job") == 0


@pytest.mark.row(11)
@pytest.mark.parametrize("lost", ["cancels", "discard"])
def test_a_job_that_is_to_stop_is_stopped_once(
    queue: Queue, proxy: Proxy, worker: Start, runs: Runs, gate: Path, lose: Lose, lost: str
) -> None:
    process = worker(processes=0, url=proxy.url)
    job = queue.enqueue(handlers.clean_up, str(gate))
    runs.wait("start")
    rule = lose(script(lost), times=2)
    assert queue.cancel(job.id) is Verdict.RUNNING
    proxy.wait_for(rule, times=2)
    wait_until(lambda: is_gone(queue, job.id))
    assert process.stop() == 0
    assert runs.count("start") == runs.count("cleanup", "JobCancelled") == 1
    assert counted(queue, "cancelled") == 1
    assert queue.redis.zcard(queue.keys.cancels) == 0
    assert process.count("another worker has the job") == 0


def leave_behind(queue: Queue) -> str:
    """A job that was begun by a worker whose lease runs out at once; its id."""
    job = queue.options(result_ttl=60).enqueue_in(timedelta(hours=1), handlers.record)
    lease = commands.heartbeat(queue.keys, ["gone"], 1, register=True)
    begin = commands.begin(queue.keys, "gone", "token", [job.id])
    with queue.redis.pipeline() as together:
        together.zrem(queue.keys.scheduled, job.id)
        together.lpush(queue.keys.processing("gone"), job.id)
        for each in (lease, begin):
            together.eval(each.script.text, len(each.keys), *each.keys, *each.args)
        together.execute()
    return job.id


def about_the_dead(name: str) -> Matches:
    """Calls of this script; those that name workers, of the one that is gone only."""
    matches = script(name)
    return lambda words: matches(words) and (name == "sweep" or b"gone" in words)


@pytest.mark.row(11)
@pytest.mark.parametrize("processes", [0, 1])
@pytest.mark.parametrize("lost", ["sweep", "stranded", "recover"])
def test_what_a_dead_worker_had_is_recovered_once(
    queue: Queue, proxy: Proxy, worker: Start, runs: Runs, lose: Lose, lost: str, processes: int
) -> None:
    process = worker(processes=processes, url=proxy.url, lease=1.5)
    wait_until(lambda: queue.redis.zcard(queue.keys.workers) == 1)
    # The first sweep may come before there is anything to find.
    rule = lose(about_the_dead(lost), times=2)
    job_id = leave_behind(queue)
    proxy.wait_for(rule)
    wait_until(lambda: queue.get(job_id).state is State.COMPLETED)
    assert process.stop() == 0
    assert [(line.job_id, line.attempt) for line in runs.lines("start")] == [(job_id, 1)]
    assert queue.get(job_id).crashes == 1
    assert queue.redis.llen(queue.keys.processing("gone")) == 0


@pytest.mark.row(11)
@pytest.mark.parametrize("lost", ["stranded", "retire", "recover"])
def test_what_a_dead_child_had_is_recovered_once_by_its_supervisor(
    queue: Queue, proxy: Proxy, worker: Start, runs: Runs, gate: Path, lose: Lose, lost: str
) -> None:
    """And not by a sweep, for which the lease is too long."""
    process = worker(processes=1, url=proxy.url, lease=120.0)
    job = queue.options(result_ttl=60).enqueue(handlers.wait, str(gate))
    (line,) = runs.wait("start")
    rule = lose(script(lost), times=1)
    os.kill(line.pid, signal.SIGKILL)
    proxy.wait_for(rule)
    runs.wait("start", times=2)
    gate.touch()
    wait_until(lambda: queue.get(job.id).state is State.COMPLETED)
    assert process.stop() == 0
    assert [line.attempt for line in runs.lines("start")] == [1, 1]
    assert queue.get(job.id).crashes == 1
    assert queue.redis.zcard(queue.keys.workers) == 0


@pytest.mark.row(11)
@pytest.mark.parametrize("processes", [0, 1])
def test_a_goodbye_into_the_void_leaves_nothing_that_a_sweep_does_not_find(
    queue: Queue, proxy: Proxy, worker: Start, runs: Runs, gate: Path, lose: Lose, processes: int
) -> None:
    """It gives back what does not end in time."""
    process = worker(processes=processes, url=proxy.url, lease=1.0, grace=0.1)
    job = queue.enqueue(handlers.wait, str(gate))
    runs.wait("start")
    rule = lose(script("retire"), times=1)
    assert process.stop() == 0
    assert rule.used == 1
    wait_until(lambda: bool(queue.sweep()) and queue.redis.zcard(queue.keys.workers) == 0)
    gate.touch()
    assert worker(processes=0, burst=True).wait() == 0
    assert [line.attempt for line in runs.lines("start", job_id=job.id)] == [1, 1]
    assert runs.count("end", job_id=job.id) == 1
