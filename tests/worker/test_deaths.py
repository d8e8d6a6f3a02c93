"""Workers that die or freeze at each moment of a job's life, with nobody to look after them but the sweep.

Without a supervisor it takes a lease until others notice; with one see test_children.py.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redjobs import Queue, State, call
from tests.proxy import Proxy, command, script
from tests.servers import Server
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.conftest import Start, is_gone
from tests.worker.processes import WorkerProcess
from tests.worker.runs import Runs

LEASE = 0.5

Spawn = Callable[[], WorkerProcess]


@pytest.fixture
def server(valkey: Server) -> Server:
    return valkey


@pytest.fixture
def victim(worker: Start, proxy: Proxy, queue: Queue, runs: Runs) -> WorkerProcess:
    """A worker that has run a job and is idle."""
    process = worker(processes=0, lease=LEASE, url=proxy.url)
    queue.enqueue(handlers.record, "first")
    runs.wait("end", "first")
    wait_until(lambda: proxy.unanswered() == [b"BRPOPLPUSH"])
    return process


@pytest.fixture
def heir(worker: Start) -> Spawn:
    """Another worker, which recovers what the victim leaves."""
    return lambda: worker(processes=0, lease=LEASE)


@pytest.mark.row(1)
def test_killed_while_it_was_idle(queue: Queue, victim: WorkerProcess, heir: Spawn, runs: Runs) -> None:
    victim.destroy()
    job = queue.enqueue(handlers.record)
    heir()
    (line,) = runs.wait("end", job_id=job.id)
    assert line.attempt == 1
    assert runs.count("start", job_id=job.id) == 1


MOMENTS = {
    "it was given the job and has not heard so": command("BRPOPLPUSH"),
    "it has begun the job and has not heard so": script("begin"),
}


@pytest.mark.row(2, 3, 7)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_dead_or_frozen_when(
    queue: Queue,
    victim: WorkerProcess,
    heir: Spawn,
    proxy: Proxy,
    runs: Runs,
    moment: str,
    end: signal.Signals,
) -> None:
    """The job runs once, and its first attempt is the one that counts."""
    rule = proxy.hold_reply(MOMENTS[moment])
    job = queue.enqueue(handlers.record)
    proxy.wait_for(rule)
    victim.send(end)
    heir()
    runs.wait("end", job_id=job.id)
    assert [line.attempt for line in runs.lines("start", job_id=job.id)] == [1]


@pytest.mark.row(4)
def test_killed_while_the_job_was_running(
    queue: Queue, victim: WorkerProcess, heir: Spawn, runs: Runs, gate: Path
) -> None:
    """It runs again, with the same attempt: a crash is not a failure. But it is counted."""
    job = queue.enqueue(handlers.wait, str(gate))
    runs.wait("start", job_id=job.id)
    victim.destroy()
    other = heir()
    runs.wait("start", job_id=job.id, times=2)
    assert queue.get(job.id).crashes == 1
    gate.touch()
    runs.wait("end", job_id=job.id)
    wait_until(lambda: is_gone(queue, job.id))
    assert [line.attempt for line in runs.lines("start", job_id=job.id)] == [1, 1]
    other.says("swept: 1 dead worker, 1 job recovered (1 had begun)")


@pytest.mark.row(4)
def test_killed_when_the_work_was_done_and_nobody_was_told(
    queue: Queue, victim: WorkerProcess, heir: Spawn, proxy: Proxy, runs: Runs
) -> None:
    """Nobody can know, so the work is done twice: what a handler must be ready for."""
    rule = proxy.lose_request(script("complete"), times=99)
    job = queue.enqueue(handlers.record)
    proxy.wait_for(rule)
    victim.destroy()
    heir()
    wait_until(lambda: is_gone(queue, job.id))
    assert [line.attempt for line in runs.lines("end", job_id=job.id)] == [1, 1]


@pytest.mark.row(5)
def test_killed_when_it_had_said_that_the_job_is_done(
    queue: Queue, victim: WorkerProcess, heir: Spawn, proxy: Proxy, runs: Runs
) -> None:
    rule = proxy.hold_reply(script("complete"))
    job = queue.enqueue(handlers.record)
    proxy.wait_for(rule)
    victim.destroy()
    heir()
    after = queue.enqueue(handlers.record, "after")
    runs.wait("end", job_id=after.id)
    wait_until(lambda: queue.redis.zcard(queue.keys.workers) == 1)
    assert runs.count("start", job_id=job.id) == 1
    assert is_gone(queue, job.id)


@pytest.mark.row(2)
def test_what_a_dead_worker_had_goes_back_to_the_front_in_order(
    queue: Queue, victim: WorkerProcess, proxy: Proxy, runs: Runs, burst: Callable[..., int]
) -> None:
    rule = proxy.hold_reply(script("take"))
    queue.enqueue_many(call(handlers.record, str(number)) for number in range(5))
    proxy.wait_for(rule)
    victim.destroy()
    queue.enqueue(handlers.record, "5")
    wait_until(lambda: queue.sweep().recovered)
    burst()
    # The first may have run before, and was not settled.
    assert list(dict.fromkeys(runs.texts()[1:])) == ["0", "1", "2", "3", "4", "5"]


# Frozen, and awake again ----------------------------------------------------------------------


def freeze_until_others_have_its_job(queue: Queue, victim: WorkerProcess, job_id: str) -> None:
    victim.send(signal.SIGSTOP)
    wait_until(lambda: queue.sweep().recovered == 1)
    assert queue.get(job_id).state is State.READY


@pytest.mark.row(7, 31)
def test_who_comes_too_late_changes_nothing(
    queue: Queue, victim: WorkerProcess, heir: Spawn, runs: Runs, gate: Path
) -> None:
    job = queue.enqueue(handlers.wait, str(gate))
    runs.wait("start", job_id=job.id)
    freeze_until_others_have_its_job(queue, victim, job.id)
    other = heir()
    runs.wait("start", job_id=job.id, times=2)
    gate.touch()
    runs.wait("end", job_id=job.id)
    wait_until(lambda: is_gone(queue, job.id))
    completed = queue.redis.hget(queue.keys.stats, "completed")
    victim.send(signal.SIGCONT)
    victim.says("lost", job.id, "another worker has the job")
    assert queue.redis.hget(queue.keys.stats, "completed") == completed
    # It begins anew, and works.
    other.destroy()
    after = queue.enqueue(handlers.record, "after")
    runs.wait("end", job_id=after.id)


@pytest.mark.row(7, 31)
def test_a_failure_that_comes_too_late_does_not_bring_a_job_back(
    queue: Queue, victim: WorkerProcess, heir: Spawn, runs: Runs, gate: Path
) -> None:
    job = queue.options(backoff=0).enqueue(handlers.fail_first, str(gate))
    runs.wait("start", job_id=job.id)
    freeze_until_others_have_its_job(queue, victim, job.id)
    heir()
    runs.wait("end", job_id=job.id)
    wait_until(lambda: is_gone(queue, job.id))
    gate.touch()
    victim.send(signal.SIGCONT)
    victim.says("lost", job.id)
    assert is_gone(queue, job.id)
    assert runs.count("start", job_id=job.id) == 2


@pytest.mark.row(7)
def test_a_job_can_ask_whether_it_is_still_its_workers(
    queue: Queue, victim: WorkerProcess, heir: Spawn, runs: Runs, gate: Path
) -> None:
    job = queue.enqueue(handlers.say_lost, str(gate))
    runs.wait("start", job_id=job.id)
    freeze_until_others_have_its_job(queue, victim, job.id)
    victim.send(signal.SIGCONT)
    victim.says("the lease on queue default had run out")
    gate.touch()
    (line, *_) = runs.wait("end", job_id=job.id)
    assert line.text == "True"


@pytest.mark.row(7)
def test_so_it_can_in_a_child_whose_slots_are_full(queue: Queue, worker: Start, runs: Runs) -> None:
    worker(processes=1, lease=1.0)
    job = queue.enqueue(handlers.wait_until_lost, 5)
    runs.wait("start", job_id=job.id)

    def lapses() -> int:
        names: Any = queue.redis.zrange(queue.keys.workers, 0, -1)
        for name in names:
            queue.redis.zadd(queue.keys.workers, {name: 1}, xx=True)
        return queue.sweep().retired

    wait_until(lapses)
    assert runs.wait("end", job_id=job.id)[0].text == "True"


@pytest.mark.row(7)
def test_a_worker_may_get_a_job_again_that_it_is_still_running(
    queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    """It was frozen, its job went back, and nobody else was there to take it."""
    process = worker(processes=0, lease=LEASE, threads=2)
    job = queue.enqueue(handlers.wait, str(gate), "again")
    runs.wait("start", job_id=job.id)
    freeze_until_others_have_its_job(queue, process, job.id)
    process.send(signal.SIGCONT)
    runs.wait("start", job_id=job.id, times=2)
    gate.touch()
    runs.wait("end", job_id=job.id, times=2)
    wait_until(lambda: is_gone(queue, job.id))
    process.says("lost", job.id)
    assert queue.redis.hget(queue.keys.stats, "completed") == b"1"
    assert process.stop() == 0


@pytest.mark.row(7)
def test_a_worker_that_runs_a_job_twice_waits_for_both_when_it_stops(
    queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    process = worker(processes=0, lease=LEASE, concurrency=10)
    job = queue.enqueue(handlers.wait_for_nth, str(gate))
    runs.wait("start", job_id=job.id)
    freeze_until_others_have_its_job(queue, process, job.id)
    process.send(signal.SIGCONT)
    runs.wait("start", job_id=job.id, times=2)
    process.send(signal.SIGTERM)
    Path(f"{gate}1").touch()
    process.says("lost", job.id)
    Path(f"{gate}2").touch()
    assert process.wait() == 0
    assert runs.count("end", job_id=job.id) == 2
    assert is_gone(queue, job.id)
