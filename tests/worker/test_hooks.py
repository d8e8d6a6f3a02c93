"""Hooks that raise, in a worker as it is started by people: told of, and in nobody's way."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from redjobs import Queue, State
from tests.servers import Server
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.conftest import Start, is_gone
from tests.worker.processes import is_running
from tests.worker.runs import Runs


@pytest.fixture
def server(valkey: Server) -> Server:
    return valkey


HANGING_HOOK = """
import time
from pathlib import Path
import redjobs
from tests.worker.handlers import *

@redjobs.on("dead")
def hangs(*facts):
    while not Path("gate").exists():
        time.sleep(0.01)
"""

SLOW_OUTCOME = """
from pathlib import Path
import redjobs
from tests.worker.handlers import *

@redjobs.on("success")
def tells_slowly(job, seconds):
    Path("came").touch()
    wait_for({!r})
"""

BROKEN_HOOKS = """
import asyncio, sys
import redjobs
from tests.worker.handlers import *

class Broken:
    def breaks(self, *facts):
        {how}
    claim = run = success = error = dead = worker_start = worker_stop = breaks

redjobs.add_plugin(Broken())
"""


@pytest.mark.parametrize(
    "how",
    [
        "raise RuntimeError('broken hook')",
        "sys.exit('broken hook')",
        # As a client does that was cancelled: no Exception, either.
        "raise asyncio.CancelledError('broken hook')",
    ],
)
def test_hooks_that_raise_are_told_of_and_cost_no_job_and_no_process(
    queue: Queue, worker: Start, runs: Runs, tmp_path: Path, how: str
) -> None:
    (tmp_path / "broken_hooks.py").write_text(BROKEN_HOOKS.format(how=how))
    apps = ("tests.worker.handlers", "broken_hooks")
    process = worker(fresh=True, processes=1, apps=apps, cwd=tmp_path)
    fine = [queue.enqueue(handlers.record, "plain"), queue.enqueue(handlers.record_async, "coroutine")]
    again = queue.options(backoff=3600).enqueue(handlers.fail)
    dead = queue.options(max_attempts=1).enqueue(handlers.fail_async)
    wait_until(lambda: all(is_gone(queue, job.id) for job in fine))
    wait_until(lambda: queue.get(again.id).state is State.SCHEDULED)
    wait_until(lambda: queue.get(dead.id).state is State.DEAD)
    assert process.stop() == 0
    for event in ("claim", "run", "success", "error", "dead", "worker_start", "worker_stop"):
        assert process.count(f"a hook of {event} failed") > 0, event
    assert process.count("died") == 0
    assert sorted(runs.texts()) == ["coroutine", "plain"]


HANGS_ONCE = """
import pathlib, time
import redjobs
from tests.worker.handlers import *

@redjobs.on("worker_start")
def opens_a_pool(worker):
    came = pathlib.Path({!r})
    if not came.exists():
        came.touch()
        time.sleep(60)
"""


SLOW_HOOK = """
import pathlib
import redjobs
from tests.worker.handlers import wait_for

@redjobs.on("worker_start")
def warms_up(worker):
    pathlib.Path({!r}).touch()
    wait_for({!r})
"""


@pytest.mark.parametrize("preload", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_child_that_hangs_in_a_hook_at_its_start_is_told_of_and_replaced(
    queue: Queue, worker: Start, runs: Runs, tmp_path: Path, gate: Path, preload: bool
) -> None:
    (tmp_path / "hanging_hook.py").write_text(HANGS_ONCE.format(str(gate)))
    shorter = {"redjobs.worker.brood.START_SECONDS": 0.5, "redjobs.worker.brood.HANG_SECONDS": 8.0}
    apps = ("tests.worker.handlers", "hanging_hook")
    process = worker(fresh=True, processes=1, preload=preload, apps=apps, cwd=tmp_path, constants=shorter)
    process.says("has not begun its work in")
    wait_until(gate.exists)
    process.says("died: killed by SIGABRT", "it had not begun its work in 8 s", timeout=20)
    assert process.count("hanging_hook.py", "in opens_a_pool") >= 1, "where it hangs"
    queue.enqueue(handlers.record, "after")
    runs.wait("end", "after")
    assert process.stop() == 0


def test_a_reload_waits_for_the_hooks_of_the_new_code(
    queue: Queue, worker: Start, runs: Runs, tmp_path: Path, gate: Path
) -> None:
    """The old child goes when the new one takes jobs, and not before."""
    app = tmp_path / "slow_hook.py"
    app.touch()
    apps = ("tests.worker.handlers", "slow_hook")
    process = worker(fresh=True, processes=1, apps=apps, cwd=tmp_path)
    queue.enqueue(handlers.record, "before")
    (old,) = runs.wait("end", "before")
    app.write_text(SLOW_HOOK.format(str(tmp_path / "came"), str(gate)))
    process.send(signal.SIGHUP)
    wait_until((tmp_path / "came").exists)
    queue.enqueue(handlers.record, "meanwhile")
    assert runs.wait("end", "meanwhile")[0].pid == old.pid
    gate.touch()
    wait_until(lambda: not is_running(old.pid))
    queue.enqueue(handlers.record, "after")
    assert runs.wait("end", "after")[0].pid != old.pid
    assert process.count("died") == 0
    assert process.stop() == 0


def test_a_job_whose_timeout_ends_during_a_slow_hook_is_interrupted_after_it(
    queue: Queue, worker: Start, runs: Runs, tmp_path: Path, gate: Path
) -> None:
    (tmp_path / "slow_outcome.py").write_text(SLOW_OUTCOME.format(str(gate)))
    apps = ("tests.worker.handlers", "slow_outcome")
    process = worker(fresh=True, processes=1, threads=3, apps=apps, cwd=tmp_path)
    queue.enqueue(handlers.wait, str(tmp_path / "of neighbour"), "neighbour")
    queue.options(timeout=1, max_attempts=1).enqueue(handlers.clean_up, str(tmp_path / "never"))
    runs.wait("start", times=2)
    queue.enqueue(handlers.record)
    wait_until((tmp_path / "came").exists)
    over_at = time.monotonic() + 2.5  # a second more than its process gets for it
    wait_until(lambda: time.monotonic() > over_at)
    gate.touch()
    runs.wait("cleanup", "JobTimeout")
    (tmp_path / "of neighbour").touch()
    runs.wait("end", "neighbour")
    assert runs.count("start", "neighbour") == 1
    assert process.count("died") == 0
    assert process.stop() == 0


def test_a_job_that_ignores_its_timeout_is_killed_though_hooks_are_called_all_the_time(
    queue: Queue, worker: Start, runs: Runs, tmp_path: Path, gate: Path
) -> None:
    gate.touch()
    (tmp_path / "slow_outcome.py").write_text(SLOW_OUTCOME.format(str(gate)))
    apps = ("tests.worker.handlers", "slow_outcome")
    process = worker(fresh=True, processes=1, threads=2, apps=apps, cwd=tmp_path)
    queue.options(timeout=0.5, max_attempts=1).enqueue(handlers.sleep_for_ever)

    def goes_on() -> int:
        queue.enqueue(handlers.record)
        return process.count("died", "ignored its timeout")

    wait_until(goes_on)
    assert process.stop() == 0


def test_a_hook_that_hangs_costs_a_process_and_no_job_is_charged(
    queue: Queue, worker: Start, runs: Runs, tmp_path: Path
) -> None:
    (tmp_path / "hanging_hook.py").write_text(HANGING_HOOK)
    process = worker(
        fresh=True,
        processes=1,
        threads=2,
        apps=("tests.worker.handlers", "hanging_hook"),
        cwd=tmp_path,
        constants={"redjobs.worker.supervisor._WEDGED_SECONDS": 1.0},
    )
    long = queue.enqueue(handlers.wait_nth, str(tmp_path / "of"))
    runs.wait("start", job_id=long.id)
    dead = queue.options(max_attempts=1).enqueue(handlers.fail)
    process.says("died", "its claim loop has not turned for 1 s: a hook of dead does not return")
    (_, again) = runs.wait("start", job_id=long.id, times=2)
    assert (again.attempt, queue.get(long.id).crashes) == (1, 0)
    assert queue.get(dead.id).state is State.DEAD
    (tmp_path / "of2").touch()
    wait_until(lambda: is_gone(queue, long.id))
    assert process.stop() == 0
