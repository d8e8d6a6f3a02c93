"""Hooks that raise, in a worker as it is started by people: told of, and in nobody's way."""

from __future__ import annotations

from pathlib import Path

import pytest

from redjobs import Queue, State
from tests.servers import Server
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.conftest import Start, is_gone
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
