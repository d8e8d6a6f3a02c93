"""The sweep: what dead workers had goes back in order, and what is old goes away. Any number may sweep."""

from __future__ import annotations

import signal
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from redjobs import Queue, State, call
from redjobs.access import Role
from redjobs.commands import BATCH
from redjobs.sweeper import SweepPolicy, SweepResult, sweep_once
from tests.lua.seeds import Lab
from tests.proxy import Proxy
from tests.servers import Server
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.conftest import Burst, Start, is_gone
from tests.worker.runs import Runs

pytestmark = pytest.mark.timeout(30, method="thread")


@pytest.fixture
def server(valkey: Server) -> Server:
    return valkey


@pytest.fixture
def lab(server: Server, queue: Queue) -> Lab:
    """The queue, to put states into it that take long to come about."""
    return Lab(server, queue.keys)


def nothing() -> SweepResult:
    return SweepResult()


def test_what_a_dead_worker_had_stands_at_the_front_again(queue: Queue, lab: Lab) -> None:
    begun = lab.begun("gone", 3)
    taken = lab.taken("gone", 3)
    waiting = lab.ready(2)
    lab.lose("gone")
    assert queue.sweep() == SweepResult(recovered=6, crashed=3)
    assert lab.waiting() == [*begun, *taken, *waiting]
    assert [queue.get(job_id).crashes for job_id in (*begun, *taken)] == [1, 1, 1, 0, 0, 0]
    assert {queue.get(job_id).attempt for job_id in (*begun, *taken)} == {0}


def test_a_worker_with_a_lease_keeps_what_it_has(queue: Queue, lab: Lab) -> None:
    begun = lab.begun("alive", 3)
    assert queue.sweep() == nothing()
    assert lab.processing("alive") == begun


def test_what_cannot_be_deleted_keeps_no_job_from_being_recovered(queue: Queue, lab: Lab) -> None:
    begun, (dead,) = lab.begun("gone", 2), lab.dead()
    lab.lose("gone")
    lab.redis.delete(queue.keys.job(dead))
    lab.redis.set(queue.keys.job(dead), "no job")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        queue.sweep(SweepPolicy(dead_max=0))
    assert lab.waiting() == begun
    lab.redis.delete(queue.keys.job(dead), queue.keys.dead)


def test_jobs_of_other_priorities_go_back_to_their_own_lists(queue: Queue, lab: Lab) -> None:
    high, low = lab.begun("gone", 2, priority=-5), lab.begun("gone", 2, priority=7)
    waiting = lab.ready(1, priority=7)
    lab.lose("gone")
    assert queue.sweep().recovered == 4
    assert lab.waiting(-5) == high
    assert lab.waiting(7) == [*low, *waiting]
    assert lab.drain(-5, 7) == [*high, *low, *waiting]


def test_more_than_one_call_recovers(queue: Queue, lab: Lab) -> None:
    jobs = lab.begun("gone", 450)
    lab.lose("gone")
    assert queue.sweep().recovered == 450
    assert lab.waiting() == jobs


def test_many_dead_workers(queue: Queue, lab: Lab) -> None:
    jobs = [lab.begun(f"gone-{number}", 2, token=f"t{number}") for number in range(230)]
    lab.redis.zadd(queue.keys.workers, {f"gone-{number}": 1 for number in range(230)})
    assert queue.sweep() == SweepResult(retired=230, recovered=460, crashed=460)
    assert sorted(lab.waiting()) == sorted(job for pair in jobs for job in pair)


@pytest.mark.row(30, 31)
def test_a_second_sweep_finds_nothing(queue: Queue, lab: Lab) -> None:
    lab.begun("gone", 5)
    lab.lose("gone")
    queue.sweep()
    before = lab.dump()
    assert queue.sweep() == nothing()
    assert lab.dump() == before


@pytest.mark.row(30)
def test_sweepers_that_come_together_move_each_job_once(queue: Queue, lab: Lab, server: Server) -> None:
    jobs, due = lab.begun("gone", 400), lab.due(300)
    lab.lose("gone")
    results: list[SweepResult] = []
    together = threading.Barrier(8)

    def sweep() -> None:
        own = Queue(client=server.client_as(Role.WORKER))
        together.wait()
        results.append(own.sweep())

    threads = [threading.Thread(target=sweep) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(result.recovered for result in results) == 400
    assert sum(result.promoted for result in results) == 300
    lab.rung()
    assert lab.waiting() == [*jobs, *due]
    assert {queue.get(job_id).crashes for job_id in jobs} == {1}


def test_what_is_due_becomes_ready_though_no_worker_is_there(queue: Queue, lab: Lab) -> None:
    jobs = lab.due(30)
    later = lab.scheduled(1)
    assert queue.sweep().promoted == 30
    assert lab.rung()
    assert lab.waiting() == jobs
    assert lab.run_at(later[0]) is not None


def test_results_go_away_after_their_time(queue: Queue, lab: Lab) -> None:
    old, young = lab.completed(3), lab.completed(2)
    lab.redis.zadd(queue.keys.completed, {job_id: lab.now_ms() - 1 for job_id in old})
    assert queue.sweep().trimmed == 3
    assert [lab.places(job_id) for job_id in (*old, *young)] == [[]] * 3 + [["completed"]] * 2


def test_dead_jobs_go_away_when_they_are_old(queue: Queue, lab: Lab) -> None:
    old, young = lab.dead(3), lab.dead(2)
    lab.redis.zadd(queue.keys.dead, {job_id: lab.now_ms() - 10_001 for job_id in old})
    assert queue.sweep(SweepPolicy(dead_age_ms=10_000)).trimmed == 3
    assert [lab.places(job_id) for job_id in (*old, *young)] == [[]] * 3 + [["dead"]] * 2


def test_of_too_many_dead_jobs_the_oldest_go(queue: Queue, lab: Lab) -> None:
    dead = lab.dead(230)
    for number, job_id in enumerate(dead):
        lab.redis.zadd(queue.keys.dead, {job_id: lab.now_ms() - 1_000 + number})
    assert queue.sweep(SweepPolicy(dead_max=5)).trimmed == 225
    assert [job_id for job_id in dead if lab.places(job_id)] == dead[-5:]


def test_a_worker_that_is_gone_for_long_is_forgotten(queue: Queue, lab: Lab) -> None:
    lab.begun("gone", 1)
    lab.lose("gone")
    queue.sweep()
    assert queue.redis.zcard(queue.keys.retired) == 1
    lab.redis.zadd(queue.keys.retired, {"gone": 1})
    queue.sweep()
    assert queue.redis.zcard(queue.keys.retired) == 0


@pytest.mark.row(7, 10)
def test_what_a_frozen_workers_call_takes_long_after_its_lease_is_recovered(queue: Queue, lab: Lab) -> None:
    """Its blocked pop was served, and it will never know."""
    lab.worker("frozen")
    lab.lose("frozen")
    assert queue.sweep() == nothing()
    (job,) = lab.ready()
    lab.redis.brpoplpush(queue.keys.ready, queue.keys.processing("frozen"), 1)
    assert queue.sweep().recovered == 1
    assert lab.waiting() == [job]


def test_workers_sweep_by_themselves(queue: Queue, lab: Lab, worker: Start, runs: Runs) -> None:
    """Within a third of the lease, and by the policy that they were given."""
    for processes in (0, 1):
        lab.dead(4)
        process = worker(processes=processes, lease=1.0, sweep=SweepPolicy(dead_max=1))
        wait_until(lambda: queue.redis.zcard(queue.keys.dead) == 1)
        job = queue.enqueue_in(timedelta(hours=1), handlers.record, str(processes))
        lab.redis.zrem(queue.keys.scheduled, job.id)
        lab.redis.lpush(queue.keys.processing(f"gone-{processes}"), job.id)
        lab.redis.zadd(queue.keys.workers, {f"gone-{processes}": 1})
        runs.wait("end", str(processes))
        assert process.stop() == 0


@pytest.mark.parametrize("processes", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_who_sweeps_for_longer_than_a_lease_keeps_its_own(
    queue: Queue, lab: Lab, worker: Start, runs: Runs, gate: Path, proxy: Proxy, processes: int
) -> None:
    """Much is due, and the server is slow."""
    process = worker(
        url=proxy.url,
        processes=processes,
        lease=0.6,
        sweep=SweepPolicy(dead_max=0),
        constants={"redjobs.worker.upkeep.SLICE_SECONDS": 0.02},
    )
    job = queue.enqueue(handlers.wait, str(gate))
    (start,) = runs.wait("start")
    proxy.delay = lambda: 0.1
    later = [job_id for _ in range(7) for job_id in lab.scheduled(BATCH)]
    lab.redis.zadd(queue.keys.scheduled, {job_id: 1_000 + place for place, job_id in enumerate(later)})
    wait_until(lambda: not queue.redis.zcard(queue.keys.scheduled), 20, "all are promoted")
    lab.dead()
    wait_until(lambda: not queue.redis.zcard(queue.keys.dead), description="the rest of the pass is done")
    lab.rung()
    assert lab.waiting() == later
    found = queue.get(job.id)
    assert (found.state, found.attempt, found.crashes) == (State.PROCESSING, 1, 0)
    proxy.delay = None
    process.send(signal.SIGTERM)
    gate.touch()
    assert process.wait() == 0
    assert runs.lines("start") == [start]
    assert is_gone(queue, job.id)


def test_dead_workers_are_recovered_however_much_is_due(queue: Queue, lab: Lab) -> None:
    begun, due = lab.begun("gone", 3), lab.due(3)
    lab.redis.zadd(queue.keys.workers, {"gone": 1})
    lab.rung()
    flow, reply = sweep_once(queue.keys), None
    while not lab.waiting():
        reply = lab.run(flow.send(reply))
    assert lab.waiting() == begun
    assert due == [job_id.decode() for job_id in lab.redis.zrange(queue.keys.scheduled, 0, -1)]


def test_jobs_that_were_recovered_run_in_the_old_order(
    queue: Queue, burst: Burst, lab: Lab, runs: Runs
) -> None:
    jobs = queue.enqueue_many(call(handlers.record, str(number)) for number in range(10))
    lab.worker("gone")
    for _ in range(6):
        lab.redis.lmove(queue.keys.ready, queue.keys.processing("gone"), "RIGHT", "LEFT")
    lab.lose("gone")
    queue.sweep()
    burst()
    assert [line.job_id for line in runs.lines("end")] == [job.id for job in jobs]
