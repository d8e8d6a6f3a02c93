"""Jobs that take their process with them again and again, and what becomes of those beside them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from redjobs import Queue, State, call
from tests.servers import Server
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.conftest import Start, is_gone
from tests.worker.runs import Runs


@pytest.fixture
def server(valkey: Server) -> Server:
    return valkey


def is_dead(queue: Queue, job_id: str) -> bool:
    return queue.get(job_id).state is State.DEAD


@pytest.mark.parametrize(
    ("how", "obituary", "last_words"),
    [
        ("exit", "exited with code 3", ""),
        # As the system ends a process for want of memory: that leaves it no time for a word.
        ("kill", "killed by SIGKILL (by somebody, or by the system for want of memory)", ""),
        ("abort", "killed by SIGABRT", "handlers.py"),
    ],
)
def test_a_job_that_ends_its_process_three_times_is_quarantined_and_its_neighbours_are_not_charged(
    queue: Queue, worker: Start, runs: Runs, how: str, obituary: str, last_words: str
) -> None:
    worker(processes=2)
    before = queue.enqueue_many(call(handlers.record_crashes) for _ in range(5))
    culprit = queue.enqueue(handlers.die, how)
    after = queue.enqueue_many(call(handlers.record_crashes) for _ in range(5))
    wait_until(lambda: is_dead(queue, culprit.id))
    found = queue.get(culprit.id)
    assert (runs.count("start", how), found.crashes) == (3, 3)
    assert "Quarantined: 3 workers crashed, or lost their lease, while" in found.errors[-1].error
    assert obituary in found.errors[-1].error
    assert found.errors[-2].error == f"WorkerCrashed: {obituary}"
    assert last_words in found.errors[-2].traceback
    for job in (*before, *after):
        # Of those before it one may run again, whose end was not settled yet: as the same attempt.
        lines = runs.wait("end", job_id=job.id)
        assert {(line.attempt, line.text) for line in lines} == {(1, "0")}, "an innocent was charged"


def test_a_job_that_uses_up_all_memory_for_good_is_dead_and_nothing_else_is(
    queue: Queue, worker: Start, runs: Runs
) -> None:
    """Its process cannot even say so: whatever fails in it, others go on."""
    process = worker(processes=1)
    culprit = queue.options(max_attempts=3, backoff=0).enqueue(handlers.use_up_memory)
    runs.wait("start", job_id=culprit.id)
    others = queue.enqueue_many(call(handlers.record) for _ in range(20))
    for job in others:
        runs.wait("end", job_id=job.id, timeout=30)
    wait_until(lambda: is_dead(queue, culprit.id), timeout=30)
    # It fails three times; or its process is killed, which is counted apart.
    assert 3 <= runs.count("start", job_id=culprit.id) <= 5
    assert queue.redis.zcard(queue.keys.dead) == 1
    assert process.stop() == 0


def test_a_job_that_holds_the_interpreter_keeps_no_other_process_from_its_jobs(
    queue: Queue, worker: Start, runs: Runs
) -> None:
    process = worker(processes=2, lease=0.5)
    wait_until(lambda: queue.redis.zcard(queue.keys.workers) == 2)
    held = queue.enqueue(handlers.hold_the_interpreter, 2)
    (line,) = runs.wait("start", job_id=held.id)
    others = queue.enqueue_many(call(handlers.record, "other") for _ in range(20))
    runs.wait("end", "other", times=len(others))
    assert runs.count("end", job_id=held.id) == 0, "the others had to wait for it"
    assert {other.pid for other in runs.lines("end", "other")}.isdisjoint({line.pid})
    runs.wait("end", job_id=held.id)
    wait_until(lambda: is_gone(queue, held.id))
    assert runs.count("start", job_id=held.id) == 1
    assert process.count("the lease on queue") == 0


@pytest.mark.slow
def test_children_that_die_like_flies_wait_for_each_other_and_can_be_stopped(
    queue: Queue, worker: Start
) -> None:
    """They had begun their work, so it is no fault of the app that can be told from its start."""
    queue.enqueue(handlers.die, "exit")
    process = worker(processes=1, max_crashes=99)
    process.says("died: exited with code 3", times=8, timeout=30)
    died = [line.split()[0] for line in process.log.splitlines() if "died: exited" in line]
    moments = [datetime.strptime(at, "%H:%M:%S.%f").replace(tzinfo=UTC) for at in died]
    gaps = [(later - earlier) % timedelta(days=1) for earlier, later in pairwise(moments)]
    for gap, planned in zip(gaps[4:7], (0.2, 0.4, 0.8), strict=True):
        assert gap > timedelta(seconds=planned - 0.01)
    assert process.stop() == 0
