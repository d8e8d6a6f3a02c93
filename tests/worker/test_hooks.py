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
