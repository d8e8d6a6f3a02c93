"""A worker that is the first process of a container, and one among others under a Procfile."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from redjobs import Queue
from redjobs.access import Role
from tests.cli import environment
from tests.observed import observed
from tests.ports import free_port
from tests.roles import as_role
from tests.servers import Server
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.processes import Interpreters, WorkerProcess, is_running
from tests.worker.runs import Runs

ROOT = Path(__file__).parents[2]
#: A container has no more than this to do with processes.
CONTAIN = ("unshare", "--pid", "--fork", "--mount-proc")


@pytest.fixture
def server(valkey: Server) -> Server:
    return valkey


@functools.cache
def can_contain() -> bool:
    if shutil.which(CONTAIN[0]) is None:
        return False
    return subprocess.run([*CONTAIN, "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def contained(server: Server, tmp_path: Path, runs: Runs) -> Iterator[WorkerProcess]:
    if not can_contain():
        pytest.skip("this user may not make namespaces of processes")
    process = WorkerProcess(
        Interpreters(*CONTAIN), as_role(server.url, Role.WORKER), tmp_path, runs, processes=1
    )
    yield process
    print(process.log)
    process.destroy()
    # The server may still serve the pop of a child that was killed, with a job of the next test.
    server.client().client_kill_filter(_type="normal", skipme=True)


def zombies(parent: int) -> list[str]:
    told = subprocess.run(
        ["ps", "-o", "stat=,pid=,args=", "--ppid", str(parent)], capture_output=True, text=True, check=False
    )
    return [line for line in told.stdout.splitlines() if line.startswith("Z")]


def test_the_first_process_of_a_container_reaps_what_others_leave_behind_and_stops(
    contained: WorkerProcess, queue: Queue, runs: Runs, gate: Path
) -> None:
    queue.enqueue(handlers.leave_an_orphan, str(gate))
    runs.wait("end")
    (first,) = contained.children()
    orphan = wait_until(lambda: sh_below(first), description="the orphan has a new parent")
    gate.touch()
    wait_until(lambda: not is_running(orphan))
    wait_until(lambda: zombies(first) == [], description="nobody waits to be reaped")
    os.kill(first, signal.SIGTERM)
    assert contained.wait() == 0
    assert contained.count("SIGTERM: stops within") == 1
    assert contained.count("died") == 0


def sh_below(parent: int) -> int:
    told = subprocess.run(
        ["pgrep", "-x", "sh", "-P", str(parent)], capture_output=True, text=True, check=False
    )
    return int(told.stdout.strip() or 0)


def test_a_job_that_kills_its_process_in_a_container_runs_again(
    contained: WorkerProcess, queue: Queue, runs: Runs
) -> None:
    job = queue.enqueue(handlers.die, "kill", 1)
    runs.wait("end", job_id=job.id)
    assert contained.count("died: killed by SIGKILL") == 1


# A Procfile -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_honcho_starts_what_the_procfile_says_and_stops_it_cleanly(server: Server, tmp_path: Path) -> None:
    pytest.importorskip("honcho")
    programs = str(Path(sys.executable).parent)
    port = free_port()
    env = environment(
        server,
        role=Role.WORKER,
        PORT=str(port),
        DEMO_DATA=str(tmp_path),
        DEMO_SINK_PORT=str(free_port()),
        PATH=f"{programs}:{os.environ['PATH']}",
        PYTHONUNBUFFERED="1",
    )
    log = tmp_path / "honcho.log"
    with log.open("wb") as out:
        honcho = subprocess.Popen(
            [sys.executable, "-m", "honcho", "--no-colour", "start", "web", "worker"],
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    queue = observed(server, "demo")
    try:
        wait_until(lambda: answers(port), 30, "the page answers")
        wait_until(lambda: queue.redis.zcard(queue.keys.workers) > 0, 30, "the worker is at work")
        honcho.send_signal(signal.SIGTERM)
        honcho.wait(30)
        # What it has started and waits for are shells; their children are still in their groups.
        wait_until(lambda: all(map(is_empty, groups_of(log.read_text()))), 30, "both have ended")
    finally:
        print(log.read_text())
        for group in [*groups_of(log.read_text()), honcho.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
    assert len(groups_of(log.read_text())) == 2
    assert queue.redis.zcard(queue.keys.workers) == 0, "the worker said goodbye"
    assert "SIGTERM: stops within" in log.read_text()
    assert "Traceback" not in log.read_text()
    queue.close()


def groups_of(log: str) -> list[int]:
    """The groups of the processes that honcho has started."""
    return [int(pid) for pid in re.findall(r"started \(pid=(\d+)\)", log)]


def is_empty(group: int) -> bool:
    told = subprocess.run(["pgrep", "-g", str(group)], capture_output=True, text=True, check=False)
    return not any(is_running(int(pid)) for pid in told.stdout.split())


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
            return bool(page.status == 200)
    except OSError:
        return False
