"""Clocks that jump. The server's decides: it is moved here by libfaketime, where that is installed."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from redjobs import Queue, State
from tests import invariants
from tests.servers import Server, real_kinds, running
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.conftest import Start, is_gone
from tests.worker.runs import Runs

FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)

pytestmark = pytest.mark.skipif(FAKETIME is None, reason="needs libfaketime (Debian's package faketime)")

HOUR = 3_600

Jump = Callable[[int], None]


@pytest.fixture
def offset(tmp_path: Path) -> Path:
    """The file that says how far the server's clock is off."""
    path = tmp_path / "offset"
    path.write_text("+0")
    return path


@pytest.fixture
def server(offset: Path) -> Iterator[Server]:
    """A server that believes in the file; not every binary starts under libfaketime."""
    env = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    kind = real_kinds()[0]
    if not _starts(str(kind.binary), env):
        pytest.skip(f"{kind} does not start under libfaketime")
    with running(kind, env=env) as alone:
        yield alone
        invariants.check(alone.client())


def _starts(binary: str, env: dict[str, str]) -> bool:
    """Debian's Redis hangs there before it has said its version."""
    try:
        subprocess.run(
            [binary, "--version"], env=os.environ | env, check=True, capture_output=True, timeout=2
        )
    except subprocess.TimeoutExpired:
        return False
    return True


@pytest.fixture
def jump(offset: Path, server: Server) -> Jump:
    """Put the server's clock so many seconds ahead of the machine's."""
    client: Any = server.client()

    def put(seconds: int) -> None:
        offset.write_text(f"{seconds:+}")
        wait_until(lambda: abs(client.time()[0] - time.time() - seconds) < HOUR // 2)

    return put


@pytest.mark.row(28)
def test_ahead_a_running_job_may_run_twice_and_ends_once(
    queue: Queue, worker: Start, runs: Runs, jump: Jump, gate: Path
) -> None:
    """All leases are over at once, and a sweep came before the next heartbeat."""
    first = worker(processes=0, lease=60.0)
    job = queue.enqueue(handlers.wait_nth, str(gate))
    runs.wait("start")
    jump(HOUR)
    assert queue.sweep().recovered == 1
    worker(processes=0, lease=60.0)
    runs.wait("start", times=2)
    Path(f"{gate}1").touch()
    first.says("lost", job.id)
    assert queue.get(job.id).state is State.PROCESSING
    Path(f"{gate}2").touch()
    wait_until(lambda: is_gone(queue, job.id))
    assert runs.count("end") == 2


@pytest.mark.row(28)
def test_ahead_what_was_planned_is_due(queue: Queue, worker: Start, runs: Runs, jump: Jump) -> None:
    worker(processes=0)
    queue.enqueue(handlers.record, "first")
    runs.wait("end", "first")
    queue.enqueue_in(timedelta(minutes=50), handlers.record, "planned")
    jump(HOUR)
    runs.wait("end", "planned")


@pytest.mark.row(28)
def test_back_a_supervisor_needs_no_clock_to_recover_its_child(
    queue: Queue, worker: Start, runs: Runs, jump: Jump
) -> None:
    worker(processes=1)
    queue.enqueue(handlers.record, "first")
    runs.wait("end", "first")
    jump(-HOUR)
    job = queue.enqueue(handlers.die, "kill", 1)
    runs.wait("end", job_id=job.id)


@pytest.mark.row(28)
def test_back_a_lease_of_before_lasts_longer_by_as_much(
    queue: Queue, worker: Start, runs: Runs, jump: Jump, gate: Path
) -> None:
    """Known, and not mended: of a worker that dies before it heartbeats again, others hear late."""
    process = worker(processes=0, lease=60.0)
    queue.enqueue(handlers.wait, str(gate))
    runs.wait("start")
    jump(-HOUR)
    process.destroy()
    assert queue.sweep().recovered == 0
    jump(120)
    assert queue.sweep().recovered == 1


@pytest.mark.row(28)
def test_back_nothing_runs_before_its_time_and_what_is_due_goes_on(
    queue: Queue, worker: Start, runs: Runs, jump: Jump
) -> None:
    worker(processes=0)
    queue.enqueue(handlers.record, "first")
    runs.wait("end", "first")
    planned = queue.enqueue_in(timedelta(seconds=0.5), handlers.record, "planned")
    jump(-HOUR)
    for number in range(5):
        queue.enqueue_in(timedelta(seconds=0.1), handlers.record, str(number))
        runs.wait("end", str(number))
    assert queue.get(planned.id).state is State.SCHEDULED
    jump(0)
    runs.wait("end", "planned")
    assert runs.texts("start").count("planned") == 1
