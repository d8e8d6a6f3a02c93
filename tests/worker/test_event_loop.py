"""The event loop on which coroutines run: which one it is, and what they do to each other there."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

import pytest

from redjobs import Job, Queue, State, call
from redjobs.registry import registry
from redjobs.worker.apps import import_apps
from tests.lua.seeds import Lab
from tests.servers import Server
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.conftest import Burst, Start, is_gone
from tests.worker.processes import HANDLERS
from tests.worker.runs import Runs

pytestmark = pytest.mark.timeout(30, method="thread")


@pytest.fixture
def server(valkey: Server) -> Server:
    return valkey


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """uvloop, where it is installed; asyncio's own, where it is not. All that is said here holds for both."""
    if request.param == "asyncio":
        monkeypatch.setitem(sys.modules, "uvloop", None)
    return str(request.param)


@pytest.fixture
def burst(burst: Burst, loop: str) -> Burst:
    return burst


@pytest.fixture
def worker(worker: Start, loop: str) -> Start:
    return partial(worker, without=("uvloop",) if loop == "asyncio" else ())


def test_a_task_is_named_after_its_job(queue: Queue, burst: Burst, runs: Runs) -> None:
    """So that what the loop says of a slow task, or of a pending one, says which job it was."""
    job = queue.enqueue(handlers.task_name)
    burst()
    assert runs.texts() == [job.id]


def test_uvloop_is_used_where_it_is_installed(queue: Queue, burst: Burst, runs: Runs, loop: str) -> None:
    queue.enqueue(handlers.event_loop)
    burst()
    assert runs.texts() == [loop]


def test_so_it_is_in_a_workers_children(queue: Queue, worker: Start, runs: Runs, loop: str) -> None:
    worker(processes=1)
    queue.enqueue(handlers.event_loop)
    assert runs.wait("end")[0].text == loop


@pytest.mark.parametrize(
    ("how", "said"), [("raises", "ValueError: no such user"), ("returns nothing such", "TypeError: ")]
)
def test_what_is_only_marked_as_a_coroutine_function_fails_like_others(
    queue: Queue, burst: Burst, runs: Runs, monkeypatch: pytest.MonkeyPatch, how: str, said: str
) -> None:
    """As `inspect.markcoroutinefunction` does."""
    job = queue.options(max_attempts=2, backoff=0).enqueue(handlers.almost_async, how)
    import_apps([HANDLERS])
    monkeypatch.setattr(registry.get("tests.worker.handlers:almost_async"), "is_async", True)
    assert burst() == 2
    assert runs.count("start") == 2
    found = queue.get(job.id)
    assert (found.state, found.attempt) == (State.DEAD, 2)
    assert found.errors[-1].error.startswith(said)


def test_what_returns_a_future_is_awaited(
    queue: Queue, burst: Burst, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queue.options(result_ttl=60).enqueue(handlers.almost_async, "returns a future")
    import_apps([HANDLERS])
    monkeypatch.setattr(registry.get("tests.worker.handlers:almost_async"), "is_async", True)
    assert burst() == 0
    assert queue.result(job.id) == 7


# Coroutines that keep each other waiting -------------------------------------------------------


def test_who_waits_for_its_turn_is_not_charged_with_the_time(
    queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    process = worker(processes=1)
    timed = queue.options(timeout=2.0, max_attempts=1, result_ttl=60)
    others = [timed.enqueue(handlers.wait_async, str(gate), "waits") for _ in range(3)]
    runs.wait("start", "waits", times=3)
    queue.enqueue(handlers.keep_busy_until, str(gate))
    runs.wait("blocks")
    blocked_at = time.monotonic()
    # Past the time at which the process would be killed, too.
    wait_until(lambda: time.monotonic() > blocked_at + 2.6)
    gate.touch()
    for job in others:
        wait_until(partial(is_completed, queue, job.id), description="it had no time to run, and has it now")
    assert process.count("died") == 0


def test_who_blocks_the_loop_is_killed_for_its_own_timeout_and_nobody_else_is_charged(
    queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    process = worker(processes=1)
    timed = queue.options(timeout=1.0, max_attempts=1, result_ttl=60)
    other = timed.enqueue(handlers.wait_for_nth, str(gate))
    runs.wait("start", job_id=other.id)
    culprit = timed.enqueue(handlers.keep_busy_until, str(gate))
    wait_until(lambda: queue.get(culprit.id).state is State.DEAD)
    assert "JobTimeout" in queue.get(culprit.id).errors[-1].error
    (_, again) = runs.wait("start", job_id=other.id, times=2)
    assert again.attempt == 1
    Path(f"{gate}2").touch()
    wait_until(partial(is_completed, queue, other.id))
    assert process.count("died", culprit.id) == 1


def test_a_loop_that_is_blocked_for_good_does_not_outlive_its_neighbours_timeouts_by_much(
    queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    """Nobody has said how long the one that blocks it may run."""
    worker(processes=1)
    other = queue.options(timeout=0.5, max_attempts=1).enqueue(handlers.wait_async, str(gate), "waits")
    runs.wait("start", "waits")
    queue.enqueue(handlers.keep_busy_until, str(gate))
    wait_until(lambda: queue.get(other.id).state is State.DEAD)
    gate.touch()
    runs.wait("end", "busy")


# Coroutines that have not started, behind one that blocks the loop ----------------------------


@pytest.fixture
def taken(queue: Queue, runs: Runs, gate: Path) -> list[Job]:
    """What a worker that starts now takes together: a coroutine that blocks the loop, and twenty more."""
    (_, *together) = queue.enqueue_many(
        [
            call(handlers.keep_busy, 0.0),  # alone, for the worker does not know of coroutines yet
            call(handlers.block, str(gate)),
            *(call(handlers.record_async, "neighbour") for _ in range(20)),
        ]
    )
    return together


def test_others_run_what_waits_for_a_loop_that_is_blocked(
    queue: Queue, taken: list[Job], worker: Start, runs: Runs, gate: Path
) -> None:
    process = worker(processes=1)
    (blocks,) = runs.wait("start", "blocks")
    worker(processes=1)
    ends = runs.wait("end", "neighbour", times=20)
    assert not runs.count("end", "blocks")
    assert {end.attempt for end in ends} == {1}
    assert blocks.pid not in {end.pid for end in ends}
    # Once it turns again, the loop has no job twice, and room for new ones.
    gate.touch()
    runs.wait("end", "blocks")
    later = gate.with_name("later")
    queue.enqueue_many(call(handlers.wait_async, str(later), "later") for _ in range(300))
    # As many as both can run at once: neither can have them all.
    starts = runs.wait("start", "later", times=200)
    assert blocks.pid in {start.pid for start in starts}
    later.touch()
    runs.wait("end", "later", times=300)
    assert runs.count("start", "neighbour") == 20
    assert process.count("another worker has the job") == 0


@pytest.mark.parametrize("processes", [0, 1])
def test_a_loop_that_is_blocked_for_longer_than_the_lease_costs_no_lease(
    queue: Queue, worker: Start, runs: Runs, gate: Path, processes: int
) -> None:
    process = worker(processes=processes, lease=0.5)
    job = queue.enqueue(handlers.block, str(gate))
    runs.wait("start", "blocks")
    other = worker(processes=1, lease=0.5)
    wait_until(lambda: queue.redis.zcard(queue.keys.workers) == 2)
    blocked_at = time.monotonic()
    # Four times what it takes to lose a lease, and for the other one to notice.
    wait_until(lambda: time.monotonic() > blocked_at + 2.0)
    gate.touch()
    runs.wait("end", "blocks")
    wait_until(partial(is_gone, queue, job.id))
    assert runs.count("start") == 1
    assert process.count("the lease on queue") == 0
    assert other.count("swept") == 0


def test_a_worker_whose_loop_is_blocked_leaves_nothing_behind(
    queue: Queue, taken: list[Job], worker: Start, runs: Runs, server: Server
) -> None:
    process = worker(processes=1, grace=0.1)
    runs.wait("start", "blocks")
    assert process.stop() == 0
    assert not runs.count("start", "neighbour")
    found = [queue.get(job.id) for job in taken]
    assert {(job.state, job.attempt, job.crashes) for job in found} == {(State.READY, 0, 0)}
    lab = Lab(server, queue.keys)
    lab.rung()
    assert lab.waiting() == [job.id for job in taken]


def is_completed(queue: Queue, job_id: str) -> bool:
    return queue.get(job_id).state is State.COMPLETED
