"""A worker that is told to stop, to claim no more, to say what it does, or to take new code."""

from __future__ import annotations

import itertools
import os
import random
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from redjobs import Job, Queue, State, call
from tests.servers import Server
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.conftest import Start, is_gone
from tests.worker.processes import HANDLERS, is_running
from tests.worker.runs import Runs


@pytest.fixture
def server(valkey: Server) -> Server:
    return valkey


SHAPES = [0, 1]
MOSTLY_WITH_A_SUPERVISOR = [pytest.param(0, marks=pytest.mark.slow), 1]
PRELOAD = [False, pytest.param(True, marks=pytest.mark.slow)]


def nothing_is_held(queue: Queue) -> bool:
    """No worker has a lease or a list any more."""
    lists = list(queue.redis.scan_iter("*:processing:*"))
    return not lists and not queue.redis.exists(queue.keys.workers)


def ready(queue: Queue) -> list[str]:
    """What waits, first to be taken first."""
    items: Any = queue.redis.lrange(queue.keys.ready, 0, -1)
    return [item.decode() for item in reversed(items)]


@pytest.mark.row(6)
@pytest.mark.parametrize("processes", SHAPES)
def test_an_idle_worker_stops_at_once(queue: Queue, worker: Start, runs: Runs, processes: int) -> None:
    # Whoever waited for a blocked pop to end would wait for a minute.
    process = worker(processes=processes, grace=60.0, constants={"redjobs.worker.link.BLOCK_SECONDS": 60.0})
    queue.enqueue(handlers.record)
    runs.wait("end")
    assert process.stop() == 0
    assert nothing_is_held(queue)


@pytest.mark.row(6)
@pytest.mark.parametrize("processes", SHAPES)
def test_what_runs_may_finish_within_the_grace_and_nothing_new_is_claimed(
    queue: Queue, worker: Start, runs: Runs, gate: Path, processes: int
) -> None:
    process = worker(processes=processes, grace=60.0)
    job = queue.enqueue(handlers.wait, str(gate), "runs")
    runs.wait("start")
    process.send(signal.SIGTERM)
    process.says("SIGTERM")
    late = queue.enqueue(handlers.record, "late")
    gate.touch()
    assert process.wait() == 0
    assert runs.texts() == ["runs"]
    assert is_gone(queue, job.id)
    assert ready(queue) == [late.id]
    assert nothing_is_held(queue)


STATIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "main thread": (handlers.clean_up, 1),
    "thread": (handlers.clean_up, 2),
    "event loop": (handlers.clean_up_async, 1),
}


@pytest.mark.row(6)
@pytest.mark.parametrize("processes", MOSTLY_WITH_A_SUPERVISOR)
@pytest.mark.parametrize("station", STATIONS)
def test_after_the_grace_a_job_is_interrupted_and_goes_back_to_the_front(
    queue: Queue, worker: Start, runs: Runs, gate: Path, station: str, processes: int
) -> None:
    clean_up, threads = STATIONS[station]
    process = worker(processes=processes, threads=threads, grace=0.3)
    job = queue.enqueue(clean_up, str(gate))
    runs.wait("start")
    process.send(signal.SIGTERM)
    runs.wait("cleanup", "JobInterrupted")
    waiting = queue.enqueue(handlers.record)  # the process that was told claims no more by now
    assert process.wait() == 0
    assert ready(queue) == [job.id, waiting.id]
    found = queue.get(job.id)
    assert (found.state, found.attempt, found.crashes, found.errors) == (State.READY, 0, 0, ())
    assert nothing_is_held(queue)


@pytest.mark.row(6)
@pytest.mark.parametrize("processes", MOSTLY_WITH_A_SUPERVISOR)
def test_who_ignores_even_that_is_given_back_all_the_same(
    queue: Queue, worker: Start, runs: Runs, gate: Path, processes: int
) -> None:
    process = worker(processes=processes, grace=0.2)
    job = queue.enqueue(handlers.refuse_to_stop, str(gate))
    runs.wait("start")
    assert process.stop() == 0
    assert runs.texts("ignored") == ["JobInterrupted"]
    assert ready(queue) == [job.id]
    assert queue.get(job.id).attempt == 0
    assert process.count("died") == 0
    assert nothing_is_held(queue)


LAST_WORDS = """
import time
import redjobs
from tests.worker.handlers import *

@redjobs.on("worker_stop")
def says_goodbye(worker):
    print("printed by a hook")
    time.sleep({})
"""


@pytest.mark.parametrize("processes", SHAPES)
def test_what_was_printed_beside_one_who_does_not_stop_is_not_lost(
    queue: Queue, worker: Start, runs: Runs, gate: Path, tmp_path: Path, processes: int
) -> None:
    (tmp_path / "last_words.py").write_text(LAST_WORDS.format(0))
    apps = (HANDLERS, "last_words")
    process = worker(fresh=True, processes=processes, grace=0.2, apps=apps, cwd=tmp_path)
    job = queue.enqueue(handlers.print_and_refuse_to_stop, str(gate))
    runs.wait("start")
    assert process.stop() == 0
    assert ready(queue) == [job.id]
    assert process.count("printed by a job") == 1
    assert process.count("printed by a hook") == 1


@pytest.mark.parametrize("processes", SHAPES)
def test_nor_does_a_worker_wait_for_ever_for_its_output_and_its_hooks(
    queue: Queue, worker: Start, runs: Runs, tmp_path: Path, processes: int
) -> None:
    (tmp_path / "last_words.py").write_text(LAST_WORDS.format(60))
    apps = (HANDLERS, "last_words")
    process = worker(fresh=True, processes=processes, threads=2, grace=0.2, apps=apps, cwd=tmp_path)
    job = queue.enqueue(handlers.print_into_a_full_pipe, [])
    runs.wait("start")
    assert process.stop() == 0
    assert ready(queue) == [job.id]
    assert process.count("died") == 0


@pytest.mark.row(6)
@pytest.mark.parametrize(
    "handler", [handlers.spin, pytest.param(handlers.hold_the_interpreter, marks=pytest.mark.slow)]
)
def test_who_does_not_let_the_child_stop_is_killed(
    queue: Queue, worker: Start, runs: Runs, handler: Any
) -> None:
    """The job goes back, and neither its attempt nor a crash is counted."""
    process = worker(processes=1, grace=0.2, constants={"redjobs.worker.supervisor._LEAVE_SECONDS": 1.2})
    job = queue.enqueue(handler, *([60] if handler is handlers.hold_the_interpreter else []))
    runs.wait("start")
    assert process.stop() == 0
    queue.sweep()
    found = queue.get(job.id)
    assert (found.state, found.attempt, found.crashes) == (State.READY, 0, 0)


@pytest.mark.row(6)
@pytest.mark.parametrize("processes", MOSTLY_WITH_A_SUPERVISOR)
def test_a_second_signal_stops_at_once(
    queue: Queue, worker: Start, runs: Runs, gate: Path, processes: int
) -> None:
    process = worker(processes=processes, grace=60.0)
    job = queue.enqueue(handlers.clean_up, str(gate))
    runs.wait("start")
    process.send(signal.SIGTERM)
    process.says("SIGTERM")
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    assert runs.texts("cleanup") == ["JobInterrupted"]
    assert ready(queue) == [job.id]


@pytest.mark.row(6)
def test_a_worker_that_is_killed_while_it_stops(queue: Queue, worker: Start, runs: Runs, gate: Path) -> None:
    """What still ran runs again, and has a crash to its name."""
    process = worker(processes=1, grace=60.0, lease=0.5)
    job = queue.enqueue(handlers.wait, str(gate))
    runs.wait("start")
    process.send(signal.SIGTERM)
    process.says("SIGTERM")
    process.destroy()
    worker(processes=0, lease=0.5)
    runs.wait("start", times=2)
    assert queue.get(job.id).crashes == 1
    gate.touch()
    runs.wait("end")
    wait_until(lambda: is_gone(queue, job.id))
    assert [line.attempt for line in runs.lines("start")] == [1, 1]


@pytest.mark.row(6)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("preload", PRELOAD)
def test_a_signal_to_all_processes_is_one_signal(
    queue: Queue, worker: Start, runs: Runs, gate: Path, number: signal.Signals, preload: bool
) -> None:
    """Ctrl-C reaches the children of a terminal too, and Heroku signals all processes."""
    process = worker(processes=2, grace=60.0, preload=preload)
    job = queue.enqueue(handlers.clean_up, str(gate), "runs")
    runs.wait("start")
    process.send_all(number)
    process.says(number.name)
    gate.touch()
    assert process.wait() == 0
    assert runs.texts() == ["runs"]
    assert is_gone(queue, job.id)
    assert process.count("died") == 0


@pytest.mark.parametrize("preload", PRELOAD)
def test_a_terminal_that_is_closed_kills_no_child(
    queue: Queue, worker: Start, runs: Runs, gate: Path, preload: bool
) -> None:
    """SIGHUP goes to all its processes; for the supervisor it means new code."""
    process = worker(processes=1, preload=preload)
    job = queue.enqueue(handlers.wait, str(gate))
    runs.wait("start")
    process.send_all(signal.SIGHUP)
    process.says("replaces the children")
    gate.touch()
    (line,) = runs.wait("end", job_id=job.id)
    assert line.attempt == 1
    assert process.count("died") == 0
    assert process.stop() == 0


def test_a_process_that_a_job_ends_is_not_the_worker(queue: Queue, worker: Start, runs: Runs) -> None:
    process = worker(processes=1)
    queue.enqueue(handlers.terminate_a_process)
    assert runs.wait("end")[0].text == str(-signal.SIGTERM)
    queue.enqueue(handlers.record, "after")
    runs.wait("end", "after")
    assert process.count("SIGTERM") == 0


#: What was taken and not begun is given back for no other reason than that the worker stops.
PATIENT = {"redjobs.worker.tending.WAIT_SECONDS": 60.0, "redjobs.worker.lane.WAIT_SECONDS": 60.0}


def held(queue: Queue) -> int:
    """How many jobs are with workers."""
    redis: Any = queue.redis
    return sum(redis.llen(name) for name in redis.scan_iter("*:processing:*"))


@pytest.mark.row(6)
def test_jobs_that_were_taken_do_not_wait_for_the_one_that_runs(
    queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    process = worker(processes=1, grace=60.0, constants=PATIENT)
    queue.enqueue_many(call(handlers.record) for _ in range(100))
    runs.wait("end", times=100)
    runs_on, *others = queue.enqueue_many(
        [call(handlers.clean_up, str(gate)), *(call(handlers.record) for _ in range(20))]
    )
    runs.wait("start", job_id=runs_on.id)
    wait_until(lambda: held(queue) > 1)
    process.send(signal.SIGTERM)
    wait_until(lambda: ready(queue) == [job.id for job in others])
    gate.touch()
    assert process.wait() == 0
    assert runs.count("end", job_id=runs_on.id) == 1


@pytest.mark.row(6)
def test_jobs_that_were_taken_and_not_begun_go_back_in_order(
    queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    process = worker(processes=1, grace=0.2, constants=PATIENT)
    queue.enqueue_many(call(handlers.record) for _ in range(100))
    runs.wait("end", times=100)
    jobs = queue.enqueue_many(
        [call(handlers.clean_up, str(gate)), *(call(handlers.record) for _ in range(20))]
    )
    runs.wait("start", job_id=jobs[0].id)
    wait_until(lambda: held(queue) > 1)
    assert process.stop() == 0
    assert ready(queue) == [job.id for job in jobs]
    assert [queue.get(job.id).attempt for job in jobs] == [0] * 21


@pytest.mark.row(6)
@pytest.mark.parametrize("options", [{"processes": 0}, {"processes": 2, "threads": 2}], ids=["one", "many"])
def test_stops_at_random_moments_run_no_job_twice_and_lose_none(
    queue: Queue, worker: Start, runs: Runs, options: dict[str, Any]
) -> None:
    jobs = queue.enqueue_many(call(handlers.take_seconds, 0.002) for _ in range(300))
    for _ in range(5):
        process = worker(grace=10.0, **options)
        already = runs.count("start")
        runs.wait("start", times=min(300, already + random.randint(1, 40)))
        assert process.stop() == 0
        assert nothing_is_held(queue)
    worker(burst=True, **options).wait(20)
    assert sorted(line.job_id for line in runs.lines("start")) == sorted(job.id for job in jobs)
    assert {line.attempt for line in runs.lines("end")} == {1}


@pytest.mark.row(6)
@pytest.mark.parametrize("preload", PRELOAD)
def test_a_worker_that_is_stopped_while_it_starts(queue: Queue, worker: Start, preload: bool) -> None:
    process = worker(processes=2, preload=preload)
    process.says("redjobs")
    process.send(signal.SIGTERM)
    assert process.wait() == 0


def test_children_that_are_stopped_by_somebody_else_are_replaced(
    queue: Queue, worker: Start, runs: Runs
) -> None:
    process = worker(processes=1)
    queue.enqueue(handlers.record, "first")
    (line,) = runs.wait("end", "first")
    os.kill(line.pid, signal.SIGTERM)
    wait_until(lambda: not is_running(line.pid))
    queue.enqueue(handlers.record, "after")
    (after,) = runs.wait("end", "after")
    assert after.pid != line.pid
    assert process.count("died") == 0


# Quiet ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTSTP])
@pytest.mark.parametrize("processes", SHAPES)
def test_a_quiet_worker_finishes_and_claims_no_more(
    queue: Queue, worker: Start, runs: Runs, gate: Path, processes: int, number: signal.Signals
) -> None:
    process = worker(processes=processes, lease=1.0)
    queue.enqueue(handlers.wait, str(gate), "runs")
    runs.wait("start")
    process.send(number)
    process.says("quiet")
    gate.touch()
    runs.wait("end")
    left = queue.enqueue(handlers.record, "left")
    worker(processes=0, burst=True, max_priority=-1).wait()
    assert process.is_running
    assert ready(queue) == [left.id]
    assert process.stop() == 0


def test_a_quiet_worker_stays_quiet_when_a_child_dies(queue: Queue, worker: Start, runs: Runs) -> None:
    process = worker(processes=1)
    queue.enqueue(handlers.record, "first")
    (line,) = runs.wait("end", "first")
    process.send(signal.SIGUSR1)
    process.says("quiet")
    os.kill(line.pid, signal.SIGKILL)
    wait_until(lambda: [pid for pid in process.children() if pid != line.pid])
    queue.enqueue(handlers.record, "left")

    def its_claim_loop_turns() -> bool:
        process.send(signal.SIGTTIN)
        return process.count("thread redjobs-claims") > 0

    wait_until(its_claim_loop_turns)
    assert process.stop() == 0
    assert runs.texts() == ["first"]


# Dump -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", SHAPES)
def test_a_worker_can_say_what_its_threads_are_doing(
    queue: Queue, worker: Start, runs: Runs, gate: Path, processes: int
) -> None:
    process = worker(processes=processes)
    queue.enqueue(handlers.wait, str(gate))
    runs.wait("start")
    process.send(signal.SIGTTIN)
    process.says("thread MainThread")
    process.says("handlers.py")
    process.says("thread redjobs-claims")
    gate.touch()
    runs.wait("end")


# New code -------------------------------------------------------------------------------------

CODE = """
from tests.worker.handlers import note

def version() -> None:
    note("end", "{}")
"""


@pytest.fixture
def app(tmp_path: Path) -> Callable[[str], None]:
    """Write the app's code anew."""
    sizes = itertools.count(1)

    def write(version: str) -> None:
        text = CODE.format(version) if version else "1 / 0\n"
        # Python takes what it has compiled for this file's while its size and its second are the same.
        text += "#" * next(sizes) + "\n"
        # At once: a child that starts must not find half of it.
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").rename(tmp_path / "changing_app.py")

    write("old")
    return write


@pytest.fixture
def ask(queue: Queue, runs: Runs) -> Callable[[], str]:
    """Let a worker run the app's job; which version it has."""

    def run() -> str:
        from redjobs import commands
        from redjobs.ids import new_id
        from redjobs.jobs import JobOptions, NewJob

        new = NewJob(new_id(), "changing_app:version", b"", JobOptions(), "")
        command = commands.enqueue(queue.keys, [new])
        (found,) = queue._driver.run(command)
        assert isinstance(found, Job)
        return runs.wait("end", job_id=new.id)[0].text

    return run


App = Callable[[str], None]
Ask = Callable[[], str]


@pytest.mark.parametrize("preload", PRELOAD)
def test_sighup_replaces_the_children_one_by_one(
    worker: Start, runs: Runs, tmp_path: Path, app: App, ask: Ask, preload: bool
) -> None:
    process = worker(fresh=True, processes=2, apps=("changing_app",), cwd=tmp_path, preload=preload)
    assert ask() == "old"
    app("new")
    process.send(signal.SIGHUP)
    wait_until(lambda: ask() == "new")
    wait_until(lambda: [ask() for _ in range(5)] == ["new"] * 5)
    assert process.count("died") == 0
    assert process.stop() == 0


def test_a_reload_starts_one_child_at_a_time(
    queue: Queue, worker: Start, tmp_path: Path, app: App, gate: Path
) -> None:
    process = worker(fresh=True, processes=3, apps=("changing_app",), cwd=tmp_path)
    wait_until(lambda: queue.redis.zcard(queue.keys.workers) == 3)
    old = set(process.children())
    (tmp_path / "changing_app.py").write_text(SLOW_IMPORT.format(str(gate)) + CODE.format("new"))
    process.send(signal.SIGHUP)
    wait_until(lambda: len(process.children()) == 4)
    # Whatever a supervisor does at SIGHUP, it has done when it comes to the next signal.
    process.send(signal.SIGTTIN)
    process.says("thread redjobs-claims", times=3)
    assert len(process.children()) == 4
    assert old < set(process.children())
    gate.touch()
    wait_until(lambda: len(process.children()) == 3 and not old & set(process.children()))
    assert process.count("died") == 0
    assert process.stop() == 0


@pytest.mark.slow
def test_new_code_that_is_broken_leaves_the_old_at_work(
    queue: Queue, worker: Start, tmp_path: Path, app: App, ask: Ask
) -> None:
    process = worker(fresh=True, processes=2, apps=("changing_app",), cwd=tmp_path)
    wait_until(lambda: queue.redis.zcard(queue.keys.workers) == 2)  # both have the old code
    assert ask() == "old"
    app("")
    process.send(signal.SIGHUP)
    process.says("the reload is given up")
    assert process.count("ZeroDivisionError") > 0
    assert [ask() for _ in range(3)] == ["old"] * 3
    app("new")
    process.send(signal.SIGHUP)
    wait_until(lambda: ask() == "new")
    assert process.stop() == 0


@pytest.mark.slow
def test_a_file_that_changes_reloads_where_that_was_asked_for(
    worker: Start, tmp_path: Path, app: App, ask: Ask
) -> None:
    process = worker(fresh=True, processes=1, apps=("changing_app",), cwd=tmp_path, reload=True)
    assert ask() == "old"
    app("new")
    process.says("a file has changed")
    wait_until(lambda: ask() == "new")


def test_a_reload_interrupts_no_job(
    queue: Queue, worker: Start, tmp_path: Path, app: App, ask: Ask, gate: Path, runs: Runs
) -> None:
    apps = ("changing_app", HANDLERS)
    process = worker(fresh=True, processes=1, threads=2, apps=apps, cwd=tmp_path, grace=0.1)
    assert ask() == "old"
    job = queue.enqueue(handlers.clean_up, str(gate))
    runs.wait("start", job_id=job.id)
    app("new")
    process.send(signal.SIGHUP)
    wait_until(lambda: ask() == "new")
    gate.touch()
    (end,) = runs.wait("end", job_id=job.id)
    assert (runs.count("cleanup"), end.attempt) == (0, 1)
    wait_until(lambda: len(process.children()) == 1)


def test_a_worker_of_which_nothing_is_left_but_children_that_die_at_their_start_ends(
    worker: Start, tmp_path: Path, app: App, ask: Ask
) -> None:
    process = worker(fresh=True, processes=1, apps=("changing_app",), cwd=tmp_path)
    assert ask() == "old"
    (tmp_path / "changing_app.py").write_text("import nothing_of_that_name\n")
    os.kill(process.children()[0], signal.SIGKILL)
    assert process.wait() == 2
    assert "nothing_of_that_name" in process.log


@pytest.mark.slow
def test_reloads_that_failed_do_not_count_when_the_last_child_dies(
    worker: Start, app: App, ask: Ask, tmp_path: Path
) -> None:
    process = worker(fresh=True, processes=1, apps=("changing_app",), cwd=tmp_path)
    assert ask() == "old"
    (old,) = process.children()
    app("")
    for times in range(1, 4):
        process.send(signal.SIGHUP)
        process.says("the reload is given up", times=times)
    app("new")
    os.kill(old, signal.SIGKILL)
    assert ask() == "new"
    assert process.stop() == 0


def test_a_closed_terminal_ends_a_worker_without_a_supervisor(
    queue: Queue, worker: Start, runs: Runs
) -> None:
    process = worker(processes=0)
    queue.enqueue(handlers.record)
    runs.wait("end")
    process.send(signal.SIGHUP)
    assert process.wait() == 0
    assert nothing_is_held(queue)


def test_a_child_that_dies_while_its_successor_starts_has_one_successor(
    queue: Queue, worker: Start, tmp_path: Path, app: App, ask: Ask, gate: Path
) -> None:
    process = worker(fresh=True, processes=1, apps=("changing_app",), cwd=tmp_path)
    assert ask() == "old"
    (old,) = process.children()
    waits = f"from tests.worker.handlers import wait_for\nwait_for({str(gate)!r})\n"
    (tmp_path / "changing_app.py").write_text(waits + CODE.format("new"))
    process.send(signal.SIGHUP)
    wait_until(lambda: len(process.children()) == 2)
    os.kill(old, signal.SIGKILL)
    process.says("died")
    gate.touch()
    assert ask() == "new"
    wait_until(lambda: queue.redis.zcard(queue.keys.workers) == 1)
    assert len(process.children()) == 1


HANGS_ONCE = """
import pathlib, time
came = pathlib.Path({!r})
if not came.exists():
    came.touch()
    time.sleep(60)
"""
SLOW_IMPORT = "from tests.worker.handlers import wait_for\nwait_for({!r})\n"


def test_a_worker_whose_fork_server_still_imports_can_be_stopped(
    worker: Start, tmp_path: Path, gate: Path
) -> None:
    (tmp_path / "slow_app.py").write_text(SLOW_IMPORT.format(str(gate)))
    process = worker(fresh=True, processes=1, preload=True, apps=("slow_app",), cwd=tmp_path)
    process.says("redjobs")
    process.send(signal.SIGINT)
    process.says("SIGINT")
    process.send(signal.SIGINT)
    assert process.wait() == 0
    gate.touch()


def test_a_child_that_hangs_in_its_import_is_told_of(worker: Start, tmp_path: Path, gate: Path) -> None:
    (tmp_path / "slow_app.py").write_text(SLOW_IMPORT.format(str(gate)))
    shorter = {"redjobs.worker.brood.START_SECONDS": 0.5}
    process = worker(processes=1, apps=("slow_app",), cwd=tmp_path, constants=shorter, fresh=True)
    process.says("has not begun its work")
    gate.touch()
    assert process.stop() == 0
    assert process.count("has not begun its work") == 1


@pytest.mark.parametrize("preload", PRELOAD)
def test_a_child_that_hangs_in_its_import_is_replaced_after_a_while(
    queue: Queue, worker: Start, tmp_path: Path, gate: Path, runs: Runs, preload: bool
) -> None:
    """What it waits for may come to the next one."""
    (tmp_path / "hangs_once.py").write_text(HANGS_ONCE.format(str(gate)))
    apps, shorter = ("hangs_once", HANDLERS), {"redjobs.worker.brood.HANG_SECONDS": 8.0}
    process = worker(fresh=True, processes=1, preload=preload, apps=apps, cwd=tmp_path, constants=shorter)
    process.says("died: killed by", "it had not begun its work in 8 s", timeout=20)
    queue.enqueue(handlers.record, "after")
    runs.wait("end", "after")
    assert process.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("preload", [False, True])
def test_children_that_all_hang_in_their_import_end_the_worker(
    worker: Start, tmp_path: Path, gate: Path, preload: bool
) -> None:
    (tmp_path / "slow_app.py").write_text(SLOW_IMPORT.format(str(gate)))
    apps, shorter = ("slow_app",), {"redjobs.worker.brood.HANG_SECONDS": 8.0}
    process = worker(fresh=True, processes=3, preload=preload, apps=apps, cwd=tmp_path, constants=shorter)
    assert process.wait(60) == 1
    assert process.count("stops: 3 children in a row died at their start") == 1
    assert process.count("slow_app.py", "line 2 in <module>") >= 1, "where it hangs"


def test_children_of_one_fork_server_that_hangs_count_as_one_that_died_at_its_start(
    queue: Queue, worker: Start, tmp_path: Path, gate: Path, runs: Runs
) -> None:
    (tmp_path / "hangs_once.py").write_text(HANGS_ONCE.format(str(gate)))
    apps, shorter = ("hangs_once", HANDLERS), {"redjobs.worker.brood.HANG_SECONDS": 8.0}
    process = worker(fresh=True, processes=3, preload=True, apps=apps, cwd=tmp_path, constants=shorter)
    process.says("the fork server died: killed by SIGABRT", timeout=20)
    assert process.count("hangs_once.py", "line 6 in <module>") == 1, "where it hangs"
    queue.enqueue(handlers.record, "after")
    runs.wait("end", "after")
    wait_until(lambda: queue.redis.zcard(queue.keys.workers) == 3)
    assert process.stop() == 0


def test_new_code_that_comes_twice_while_it_is_imported_is_served_once(
    queue: Queue, worker: Start, tmp_path: Path, app: App, ask: Ask, gate: Path
) -> None:
    process = worker(fresh=True, processes=1, preload=True, apps=("changing_app",), cwd=tmp_path)
    assert ask() == "old"
    (tmp_path / "changing_app.py").write_text(SLOW_IMPORT.format(str(gate)) + CODE.format("new"))
    for times in (1, 2):
        process.send(signal.SIGHUP)
        process.says("SIGHUP", times=times)
    gate.touch()
    wait_until(lambda: ask() == "new")
    wait_until(lambda: queue.redis.zcard(queue.keys.workers) == 1)
    assert ask() == "new"
    assert process.count("died") == 0
    assert process.stop() == 0


# Burst ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [0, 2])
def test_a_burst_ends_when_nothing_is_due(queue: Queue, worker: Start, runs: Runs, processes: int) -> None:
    queue.enqueue_many(call(handlers.record, str(number)) for number in range(50))
    assert worker(processes=processes, burst=True).wait() == 0
    assert sorted(runs.texts(), key=int) == [str(number) for number in range(50)]
    assert nothing_is_held(queue)


def test_a_burst_whose_code_is_new_when_it_is_over_ends_all_the_same(
    queue: Queue, worker: Start, runs: Runs, tmp_path: Path, app: App, gate: Path
) -> None:
    imported = tmp_path / "imported"
    apps = ("changing_app", HANDLERS)
    queue.enqueue(handlers.wait, str(gate))
    process = worker(fresh=True, processes=1, burst=True, apps=apps, cwd=tmp_path)
    runs.wait("start")
    (tmp_path / "changing_app.py").write_text(SLOW_IMPORT.format(str(imported)))
    process.send(signal.SIGHUP)
    wait_until(lambda: len(process.children()) == 2)
    gate.touch()
    wait_until(lambda: len(process.children()) == 1)
    imported.touch()
    assert process.wait() == 0
    assert runs.count("end") == 1


def test_a_burst_says_so_when_a_job_had_to_be_killed(queue: Queue, worker: Start) -> None:
    queue.options(timeout=0.3, max_attempts=1).enqueue(handlers.sleep_for_ever)
    process = worker(processes=1, burst=True, constants={"redjobs.worker.work.HARD_SECONDS": 0.2})
    assert process.wait() == 1


@pytest.mark.parametrize("processes", [0, 2])
def test_a_burst_in_which_a_job_failed_says_so(
    queue: Queue, worker: Start, runs: Runs, processes: int
) -> None:
    queue.enqueue(handlers.record)
    queue.enqueue(handlers.fail)
    assert worker(processes=processes, burst=True).wait() == 1


def test_a_burst_goes_on_after_a_child_has_died(queue: Queue, worker: Start, runs: Runs) -> None:
    queue.enqueue(handlers.die, "kill", 1)
    queue.enqueue_many(call(handlers.record) for _ in range(10))
    process = worker(processes=1, burst=True)
    assert process.wait() == 0
    assert runs.count("end") == 11


@pytest.mark.parametrize("processes", MOSTLY_WITH_A_SUPERVISOR)
def test_a_worker_leaves_when_it_was_idle_for_so_long(
    queue: Queue, worker: Start, runs: Runs, processes: int
) -> None:
    # Longer than a pop blocks: what it looks for by itself then is not a job.
    constants = {"redjobs.worker.link.BLOCK_SECONDS": 0.2}
    process = worker(processes=processes, max_idle=0.5, constants=constants)
    queue.enqueue(handlers.record)
    runs.wait("end")
    assert process.wait() == 0


def test_a_child_with_nothing_to_do_stays_while_another_one_is_busy(
    queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    process = worker(processes=2, max_idle=0.3)
    queue.enqueue(handlers.wait, str(gate))
    runs.wait("start")
    # Due when one of the two has been idle for long.
    queue.enqueue_in(timedelta(seconds=1), handlers.record, "later")
    runs.wait("end", "later")
    gate.touch()
    assert process.wait() == 0
    assert runs.count("end") == 2
