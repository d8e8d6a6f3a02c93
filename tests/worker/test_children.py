"""A supervisor and its children: a child that dies costs milliseconds, and only the culprit is charged."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from redjobs import Queue, State, call
from tests.servers import Server
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.conftest import Start, is_gone
from tests.worker.processes import HANDLERS, children_of, cpu_seconds, is_running
from tests.worker.runs import Runs


@pytest.fixture
def server(valkey: Server) -> Server:
    return valkey


def crashes_of(queue: Queue, job_id: str) -> int:
    return queue.get(job_id).crashes


# A child dies ---------------------------------------------------------------------------------


@pytest.mark.row(2, 4)
def test_the_job_of_a_dead_child_runs_at_once_elsewhere(
    queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    """And not after the lease, which is five minutes here."""
    process = worker(processes=2, lease=300.0)
    job = queue.enqueue(handlers.wait, str(gate))
    (line,) = runs.wait("start", job_id=job.id)
    os.kill(line.pid, signal.SIGKILL)
    again = runs.wait("start", job_id=job.id, times=2)[1]
    assert again.pid != line.pid
    assert again.attempt == 1
    assert crashes_of(queue, job.id) == 1
    gate.touch()
    wait_until(lambda: is_gone(queue, job.id))
    wait_until(lambda: len(process.children()) == 2, description="the dead child has a successor")
    assert process.stop() == 0


@pytest.mark.row(8)
@pytest.mark.parametrize(
    ("how", "obituary"),
    [
        ("exit", "exited with code 3"),
        ("exit cleanly", "exited with code 0"),
        ("kill", "killed by SIGKILL"),
        ("segfault", "killed by SIGSEGV"),
    ],
)
def test_whatever_ends_a_child_the_job_runs_again(
    queue: Queue, worker: Start, runs: Runs, how: str, obituary: str
) -> None:
    process = worker(processes=1)
    job = queue.enqueue(handlers.die, how, 1)
    runs.wait("end", job_id=job.id)
    assert [line.attempt for line in runs.lines("start")] == [1, 1]
    assert process.count("died", obituary) == 1


@pytest.mark.row(8, 33)
def test_a_job_that_kills_three_children_is_dead_and_says_how(
    queue: Queue, worker: Start, runs: Runs
) -> None:
    worker(processes=1)
    job = queue.enqueue(handlers.die, "segfault")
    wait_until(lambda: queue.get(job.id).state is State.DEAD)
    found = queue.get(job.id)
    assert runs.count("start") == 3
    assert found.crashes == 3
    assert "Quarantined" in found.errors[-1].error
    assert "SIGSEGV" in found.errors[-1].error
    crash = found.errors[-2]
    assert crash.error.startswith("WorkerCrashed: killed by SIGSEGV")
    assert "handlers.py" in crash.traceback, "what the thread was doing when it crashed"


@pytest.mark.row(8)
def test_its_batch_mates_are_not_charged(queue: Queue, worker: Start, runs: Runs) -> None:
    worker(processes=1)
    queue.enqueue_many(call(handlers.record, "quick") for _ in range(50))
    runs.wait("end", "quick", times=50)
    before = queue.enqueue_many(call(handlers.record, f"before {n}") for n in range(5))
    queue.enqueue(handlers.die, "kill")
    after = queue.enqueue_many(call(handlers.record, f"after {n}") for n in range(5))
    for job in (*before, *after):
        runs.wait("end", job_id=job.id)
        # Those before it may run again, where their ends were not settled yet: as the same attempt.
        assert {line.attempt for line in runs.lines("start", job_id=job.id)} == {1}
    assert all(runs.count("start", job_id=job.id) == 1 for job in after)
    wait_until(lambda: queue.redis.hget(queue.keys.stats, "dead") == b"1")


@pytest.mark.row(8)
def test_the_mates_of_a_culprit_are_not_charged_while_they_wait(
    queue: Queue, worker: Start, runs: Runs
) -> None:
    worker(processes=1, max_crashes=99)
    queue.enqueue_many(call(handlers.record, "quick") for _ in range(50))
    runs.wait("end", "quick", times=50)
    jobs = queue.enqueue_many(
        [call(handlers.die, "kill", 1), *(call(handlers.record_crashes) for _ in range(5))]
    )
    for job in jobs:
        runs.wait("end", job_id=job.id)
    assert [text for text in runs.texts() if text.isdigit()] == ["0"] * 5


@pytest.mark.row(8)
def test_a_culprits_neighbours_in_other_threads_are_dead_only_of_their_own_fault(
    queue: Queue, worker: Start, runs: Runs
) -> None:
    worker(processes=1, threads=4)
    culprit = queue.enqueue(handlers.die_after, 0.1, "kill")
    others = queue.enqueue_many(call(handlers.take_seconds, 0.2, str(n)) for n in range(12))
    for job in others:
        runs.wait("end", job_id=job.id, timeout=20)
    wait_until(lambda: queue.get(culprit.id).state is State.DEAD, timeout=20)
    assert queue.redis.zcard(queue.keys.dead) == 1


def test_who_runs_beside_a_culprit_each_time_is_not_quarantined_with_it(
    queue: Queue, worker: Start, runs: Runs
) -> None:
    worker(processes=1, threads=2)
    other = queue.enqueue(handlers.take_seconds, 0.6, "innocent")
    runs.wait("start", "innocent")
    culprit = queue.enqueue(handlers.die_after, 0.1, "kill")
    wait_until(lambda: queue.get(culprit.id).state is State.DEAD)
    runs.wait("end", job_id=other.id)


def test_who_was_there_in_a_crash_does_not_keep_others_waiting(
    queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    """A suspect is begun alone; what comes meanwhile goes to other children."""
    worker(processes=2)
    queue.enqueue_many(call(handlers.record, "quick") for _ in range(200))
    runs.wait("end", "quick", times=200)
    suspect = queue.enqueue_in(timedelta(hours=1), handlers.wait, str(gate))
    queue.redis.hset(queue.keys.job(suspect.id), "crashes", 2)
    queue.enqueue_many(call(handlers.take_seconds, 0.02, "busy") for _ in range(50))
    queue.reschedule(suspect.id, timedelta(0))
    queue.enqueue_many(call(handlers.record, "after") for _ in range(50))
    runs.wait("start", job_id=suspect.id)
    runs.wait("end", "after", times=50)
    assert runs.count("end", job_id=suspect.id) == 0
    gate.touch()
    runs.wait("end", job_id=suspect.id)


def test_a_suspect_does_not_keep_a_child_waiting_that_is_busy_for_long(
    queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    worker(processes=1, threads=3)
    queue.enqueue(handlers.wait, str(gate))
    runs.wait("start")
    suspect = queue.enqueue_in(timedelta(hours=1), handlers.record, "suspect")
    queue.redis.hset(queue.keys.job(suspect.id), "crashes", 2)
    queue.reschedule(suspect.id, timedelta(0))
    queue.enqueue_many(call(handlers.record, str(number)) for number in range(5))
    runs.wait("end", "suspect")
    runs.wait("end", times=6)
    gate.touch()


@pytest.mark.slow
def test_children_that_die_at_their_start_end_the_worker(queue: Queue, worker: Start, tmp_path: Path) -> None:
    (tmp_path / "dies_at_import.py").write_text("import os\nos._exit(7)\n")
    process = worker(fresh=True, processes=1, apps=("dies_at_import",), cwd=tmp_path)
    assert process.wait(30) == 1
    assert process.count("died", "exited with code 7") == 3
    assert process.count("stops: 3 children in a row died at their start") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="there a process's limits can be changed by others")
def test_a_child_that_cannot_be_started_ends_nobody_and_is_started_later(
    queue: Queue, worker: Start, runs: Runs
) -> None:
    process = worker(processes=2)
    wait_until(lambda: queue.redis.zcard(queue.keys.workers) == 2)
    limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))  # it has more of them open
    os.kill(process.children()[0], signal.SIGKILL)
    process.says("ERROR", "cannot start a child: Too many open files")
    queue.enqueue(handlers.record, "meanwhile")
    runs.wait("end", "meanwhile")
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
    process.says("children can be started again")
    wait_until(lambda: len(process.children()) == 2)
    assert process.count("cannot start a child") == 1
    assert process.stop() == 0


@pytest.mark.parametrize("preload", [False, True])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / 0\n", "ZeroDivisionError"),
        pytest.param("import nothing_of_this_name\n", "nothing_of_this_name", marks=pytest.mark.slow),
        pytest.param("def broken(:\n", "SyntaxError", marks=pytest.mark.slow),
        pytest.param("raise SystemExit(3)\n", "SystemExit", marks=pytest.mark.slow),
    ],
)
def test_an_app_that_cannot_be_imported_ends_the_worker_at_once(
    worker: Start, tmp_path: Path, text: str, said: str, preload: bool
) -> None:
    (tmp_path / "broken_app.py").write_text(text)
    process = worker(fresh=True, processes=2, apps=("broken_app",), cwd=tmp_path, preload=preload)
    assert process.wait() == 2
    process.says("the app cannot be imported")
    assert said in process.log


def test_an_app_that_is_not_there_ends_the_worker_at_once(worker: Start) -> None:
    process = worker(fresh=True, processes=1, apps=("shop.jobs",))
    assert process.wait() == 2
    process.says("no module 'shop.jobs'")


# Who imports the app --------------------------------------------------------------------------

NOTES_ITS_IMPORT = """
import os
with open({!r}, "a") as imports:
    imports.write(str(os.getpid()) + " ")
"""


def test_the_supervisor_does_not_import_the_app(queue: Queue, worker: Start, tmp_path: Path) -> None:
    """So nothing that the app does can make it miss a heartbeat."""
    imports = tmp_path / "imports"
    (tmp_path / "noted_app.py").write_text(NOTES_ITS_IMPORT.format(str(imports)))
    process = worker(fresh=True, processes=2, apps=("noted_app",), cwd=tmp_path)
    wait_until(lambda: queue.redis.zcard(queue.keys.workers) == 2)
    assert sorted(map(int, imports.read_text().split())) == sorted(process.children())
    assert process.stop() == 0
    assert len(imports.read_text().split()) == 2


def test_a_preloaded_app_is_imported_once_by_a_process_that_runs_no_job(
    queue: Queue, worker: Start, runs: Runs, tmp_path: Path, gate: Path
) -> None:
    imports = tmp_path / "imports"
    (tmp_path / "noted_app.py").write_text(NOTES_ITS_IMPORT.format(str(imports)))
    apps = ("noted_app", HANDLERS)
    process = worker(fresh=True, processes=3, preload=True, apps=apps, cwd=tmp_path)
    wait_until(lambda: queue.redis.zcard(queue.keys.workers) == 3)
    for _ in range(3):
        queue.enqueue(handlers.wait, str(gate))
    busy = {line.pid for line in runs.wait("start", times=3)}
    (importer,) = map(int, imports.read_text().split())
    assert process.children() == [importer]
    assert sorted(children_of(importer)) == sorted(busy)
    gate.touch()
    runs.wait("end", times=3)
    assert process.stop() == 0


# The supervisor dies --------------------------------------------------------------------------


@pytest.mark.row(4)
@pytest.mark.parametrize("preload", [False, True])
def test_orphans_finish_what_they_run_and_leave(
    queue: Queue, worker: Start, runs: Runs, gate: Path, preload: bool
) -> None:
    process = worker(processes=2, preload=preload)
    wait_until(lambda: queue.redis.zcard(queue.keys.workers) == 2)
    children = process.children()
    if preload:
        (fork_server,) = children
        children = children_of(fork_server)
    assert len(children) == 2
    job = queue.enqueue(handlers.wait, str(gate))
    runs.wait("start")
    process.send(signal.SIGKILL)
    process.says("the supervisor is gone", times=2, timeout=1)
    late = queue.enqueue(handlers.record, "late")
    busy = runs.lines("start")[0].pid
    wait_until(lambda: not any(is_running(pid) for pid in children if pid != busy))
    assert is_running(busy)
    gate.touch()
    wait_until(lambda: not is_running(busy))
    if preload:
        wait_until(lambda: not is_running(fork_server))
    assert is_gone(queue, job.id)
    assert queue.get(late.id).state is State.READY, "they claimed no more"


def test_an_orphan_keeps_its_lease_while_it_finishes(queue: Queue, worker: Start, runs: Runs) -> None:
    """The grace is longer than the lease: nobody else may have its job meanwhile."""
    process = worker(processes=1, lease=1.5, grace=20.0)
    job = queue.enqueue(handlers.take_seconds, 4.0, "long")
    (line,) = runs.wait("start", job_id=job.id)
    process.send(signal.SIGKILL)
    process.says("the supervisor is gone")
    other = worker(processes=1, lease=1.5)
    wait_until(lambda: is_gone(queue, job.id))
    assert runs.count("start", job_id=job.id) == runs.count("end", job_id=job.id) == 1
    wait_until(lambda: not is_running(line.pid))
    wait_until(lambda: queue.redis.zcard(queue.keys.workers) == 1, description="it took its leave")
    assert other.count("swept") == 0


def test_an_orphan_learns_that_it_has_lost_its_job(queue: Queue, worker: Start, runs: Runs) -> None:
    process = worker(processes=1, lease=1.0, grace=20.0)
    job = queue.enqueue(handlers.wait_until_lost, 10)
    runs.wait("start", job_id=job.id)
    process.send(signal.SIGKILL)
    process.says("the supervisor is gone")
    # Its lease runs out, for all that it does to keep it.
    wait_until(lambda: _lapse_and_sweep(queue))
    assert runs.wait("end", job_id=job.id, timeout=15)[0].text == "True"


def _lapse_and_sweep(queue: Queue) -> int:
    names: Any = queue.redis.zrange(queue.keys.workers, 0, -1)
    for name in names:
        queue.redis.zadd(queue.keys.workers, {name: 1}, xx=True)
    return queue.sweep().retired


@pytest.mark.slow
def test_an_orphan_does_not_burn_the_processor(queue: Queue, worker: Start, runs: Runs, gate: Path) -> None:
    process = worker(processes=1)
    queue.enqueue(handlers.wait, str(gate))
    (line,) = runs.wait("start")
    process.send(signal.SIGKILL)
    process.says("the supervisor is gone")
    before, at = cpu_seconds(line.pid), time.monotonic()
    wait_until(lambda: time.monotonic() > at + 1.0)
    assert cpu_seconds(line.pid) - before < 0.25
    gate.touch()
    wait_until(lambda: not is_running(line.pid))


@pytest.mark.row(4)
def test_what_orphans_leave_is_recovered_after_the_lease(
    queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    process = worker(processes=1, lease=0.5)
    job = queue.enqueue(handlers.wait, str(gate))
    runs.wait("start", job_id=job.id)
    process.destroy()
    worker(processes=1, lease=0.5)
    gate.touch()
    runs.wait("end", job_id=job.id)
    assert runs.count("start", job_id=job.id) == 2


# A child hangs --------------------------------------------------------------------------------


@pytest.mark.row(8)
def test_a_job_that_holds_the_interpreter_longer_than_the_lease_is_not_run_twice(
    queue: Queue, worker: Start, runs: Runs
) -> None:
    """The supervisor keeps the lease, whatever a job does."""
    first = worker(processes=1, lease=0.5)
    job = queue.enqueue(handlers.hold_the_interpreter, 2)
    runs.wait("start")
    worker(processes=1, lease=0.5)
    runs.wait("end")
    wait_until(lambda: is_gone(queue, job.id))
    assert runs.count("start") == 1
    assert first.count("the lease on queue") == 0


@pytest.mark.row(7)
def test_a_child_whose_claim_loop_does_not_turn_is_replaced(queue: Queue, worker: Start, runs: Runs) -> None:
    process = worker(processes=1, constants={"redjobs.worker.supervisor._WEDGED_SECONDS": 1.0})
    queue.enqueue(handlers.record, "first")
    (line,) = runs.wait("end", "first")
    os.kill(line.pid, signal.SIGSTOP)
    process.says("died: killed by SIGKILL: its claim loop has not turned for 1 s")
    queue.enqueue(handlers.record, "after")
    (after,) = runs.wait("end", "after")
    assert after.pid != line.pid


def test_a_child_that_does_not_listen_does_not_keep_the_supervisor_waiting(
    queue: Queue, worker: Start, runs: Runs
) -> None:
    process = worker(processes=2)
    wait_until(lambda: queue.redis.zcard(queue.keys.workers) == 2)
    deaf, _ = process.children()
    os.kill(deaf, signal.SIGSTOP)

    def has_told_it_often() -> bool:
        process.send(signal.SIGUSR1)
        return process.count("quiet:") >= 500  # more than its socket has room for

    wait_until(has_told_it_often, 30)
    os.kill(deaf, signal.SIGCONT)
    assert process.stop() == 0
    assert process.count("died") == 0


@pytest.mark.row(7)
@pytest.mark.parametrize("timeout", [pytest.param(None, marks=pytest.mark.slow), 0.3])
def test_a_worker_that_was_frozen_as_a_whole_does_not_kill_its_children_when_it_wakes(
    queue: Queue, worker: Start, runs: Runs, gate: Path, timeout: float | None
) -> None:
    """As `docker pause` does it. The job's time is over, and it may clean up all the same."""
    process = worker(processes=1, constants={"redjobs.worker.supervisor._WEDGED_SECONDS": 0.5})
    job = queue.options(timeout=timeout, max_attempts=1).enqueue(handlers.clean_up, str(gate))
    runs.wait("start")
    process.send_all(signal.SIGSTOP)
    stopped_at = time.monotonic()
    wait_until(lambda: time.monotonic() > stopped_at + 1.2)
    process.send(signal.SIGCONT)
    process.send_all(signal.SIGCONT)
    if timeout is None:
        gate.touch()
        runs.wait("end", job_id=job.id)
    else:
        runs.wait("cleanup", "JobTimeout")
    queue.enqueue(handlers.record, "after")
    runs.wait("end", "after")
    assert process.count("died") == 0
    assert len({line.pid for line in runs.lines("start")}) == 1


# Replacement ----------------------------------------------------------------------------------


def test_a_child_that_is_to_be_replaced_and_still_runs_a_job_has_its_successor_at_once(
    queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    process = worker(processes=1, threads=2, max_jobs=3)
    long = queue.enqueue(handlers.wait, str(gate))
    runs.wait("start", job_id=long.id)
    for number in range(20):
        queue.enqueue(handlers.record, str(number))
    runs.wait("end", "19")
    assert runs.count("end", job_id=long.id) == 0
    gate.touch()
    (line,) = runs.wait("end", job_id=long.id)
    assert line.attempt == 1
    wait_until(lambda: len(process.children()) == 1)
    assert process.stop() == 0
    assert process.count("died") == 0


def test_a_child_that_ran_so_many_jobs_is_replaced(queue: Queue, worker: Start, runs: Runs) -> None:
    process = worker(processes=1, max_jobs=5)
    for number in range(12):
        queue.enqueue(handlers.record, str(number))
    runs.wait("end", times=12)
    assert len({line.pid for line in runs.lines("end")}) >= 2
    assert [line.attempt for line in runs.lines("start")] == [1] * 12
    assert process.count("died") == 0


@pytest.mark.slow
def test_a_child_that_uses_too_much_memory_is_replaced(queue: Queue, worker: Start, runs: Runs) -> None:
    process = worker(processes=1, max_memory=200_000_000)
    queue.enqueue(handlers.record, "before")
    (before,) = runs.wait("end", "before")
    queue.enqueue(handlers.grow, 300)
    (grown,) = runs.wait("end", "300")
    assert grown.pid == before.pid
    wait_until(lambda: not is_running(before.pid))
    queue.enqueue(handlers.record, "after")
    (after,) = runs.wait("end", "after")
    assert after.pid != before.pid
    assert process.count("died") == 0


# Several children share the work --------------------------------------------------------------


def test_each_pool_serves_its_own_queues(worker: Start, runs: Runs, server: Server) -> None:
    process = worker(pools=((("a",), 1), (("b", "c"), 2)))
    queues = [Queue(name, url=server.url) for name in ("a", "b", "c")]
    for queue in queues:
        queue.enqueue_many(call(handlers.record, queue.name) for _ in range(20))
    runs.wait("end", times=60)
    pids = {name: {line.pid for line in runs.lines("end", name)} for name in ("a", "b", "c")}
    assert not pids["a"] & (pids["b"] | pids["c"])
    assert len(process.children()) == 3
    assert process.stop() == 0
    for queue in queues:
        queue.close()


@pytest.mark.parametrize("priority", [0, pytest.param(5, marks=pytest.mark.slow)])
def test_a_job_behind_a_slow_one_is_given_to_another_child(
    queue: Queue, worker: Start, runs: Runs, gate: Path, priority: int
) -> None:
    """Both were taken in one batch, for the jobs before them were short."""
    worker(processes=2)
    wait_until(lambda: queue.redis.zcard(queue.keys.workers) == 2)
    some = queue.options(priority=priority)
    some.enqueue_many(call(handlers.record, "quick") for _ in range(200))
    runs.wait("end", "quick", times=200)
    some.enqueue_many(
        [call(handlers.wait, str(gate), "slow"), *(call(handlers.record, "behind") for _ in range(5))]
    )
    runs.wait("end", "behind", times=5)
    assert runs.count("end", "slow") == 0
    gate.touch()
    runs.wait("end", "slow")
    assert {line.attempt for line in runs.lines("end")} == {1}


def test_a_busy_child_keeps_no_queues_jobs_to_itself(
    worker: Start, runs: Runs, gate: Path, server: Server
) -> None:
    """One child is blocked on three queues when jobs come into all of them."""
    queues = [Queue(name, url=server.url) for name in ("a", "b", "c")]
    worker(processes=2, queues=("a", "b", "c"))
    wait_until(lambda: server.client().info("clients")["blocked_clients"] == 6)
    queues[0].enqueue(handlers.wait, str(gate), "slow")
    for queue in queues:
        queue.enqueue(handlers.record, queue.name)
    for queue in queues:
        runs.wait("end", queue.name)
    assert runs.count("end", "slow") == 0
    gate.touch()
    runs.wait("end", "slow")
    for queue in queues:
        queue.close()


def test_a_mixed_child_does_not_keep_plain_jobs_to_itself(
    queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    """It has room for coroutines, so it goes on taking, and what it takes may be plain."""
    worker(processes=2)
    wait_until(lambda: queue.redis.zcard(queue.keys.workers) == 2)
    for _ in range(20):
        queue.enqueue(handlers.record_async, "coroutine")
        queue.enqueue(handlers.record, "plain")
    runs.wait("end", times=40)
    queue.enqueue(handlers.wait, str(gate), "slow")
    runs.wait("start", "slow")
    for priority in (0, 5):
        queue.options(priority=priority).enqueue_many(call(handlers.record, str(priority)) for _ in range(5))
        runs.wait("end", str(priority), times=5)
    gate.touch()
    runs.wait("end", "slow")


@pytest.mark.row(8)
def test_a_job_may_fork(queue: Queue, worker: Start, runs: Runs) -> None:
    worker(processes=1)
    queue.enqueue(handlers.fork, "family")
    runs.wait("end", "family")
    assert runs.count("forked", "family") == 1
    queue.enqueue(handlers.record, "after")
    runs.wait("end", "after")


@pytest.mark.slow
def test_a_fork_server_that_dies_is_replaced_with_the_next_child(
    queue: Queue, worker: Start, runs: Runs
) -> None:
    process = worker(processes=1, preload=True)
    queue.enqueue(handlers.record, "first")
    (first,) = runs.wait("end", "first")
    (fork_server,) = process.children()
    os.kill(fork_server, signal.SIGKILL)
    process.says("the fork server died")
    queue.enqueue(handlers.record, "second")
    (second,) = runs.wait("end", "second")
    assert second.pid == first.pid, "its children live on"
    job = queue.enqueue(handlers.die, "kill", 1)
    (third,) = runs.wait("end", job_id=job.id)
    assert third.pid != first.pid
    assert process.stop() == 0


@pytest.fixture
def careless() -> Iterator[None]:
    """This process gets what others leave behind, and does not care for their ends until the test is over."""
    prctl, subreaper = ctypes.CDLL(None).prctl, 36
    if prctl(subreaper, 1, 0, 0, 0):
        pytest.skip("this system has no such thing")
    yield
    prctl(subreaper, 0, 0, 0, 0)


def test_a_child_whose_fork_server_is_gone_ends_and_whoever_got_it_does_not_care(
    queue: Queue, worker: Start, runs: Runs, gate: Path, careless: None
) -> None:
    """As with a first process of a container that is no init."""
    process = worker(processes=1, preload=True, lease=300.0)
    job = queue.enqueue(handlers.wait, str(gate))
    (first,) = runs.wait("start", job_id=job.id)
    (fork_server,) = process.children()
    os.kill(fork_server, signal.SIGKILL)
    process.says("the fork server died")
    os.kill(first.pid, signal.SIGKILL)
    try:
        runs.wait("start", job_id=job.id, times=2)
        assert Path(f"/proc/{first.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    finally:
        os.waitpid(first.pid, 0)
    gate.touch()
    runs.wait("end", job_id=job.id)
    assert process.stop() == 0


def test_preloaded_children_do_the_same(queue: Queue, worker: Start, runs: Runs) -> None:
    process = worker(processes=2, preload=True, lease=300.0)
    job = queue.enqueue(handlers.die, "segfault", 1)
    runs.wait("end", job_id=job.id)
    assert process.count("died", "SIGSEGV") == 1
    queue.enqueue_many(call(handlers.record, str(number)) for number in range(20))
    runs.wait("end", times=21)
    assert process.stop() == 0
