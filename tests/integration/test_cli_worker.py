"""What `redjobs worker` makes of its flags, as the program that people start: names, pools, colours."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from redjobs.access import Role
from redjobs.inspector import Inspector
from redjobs.keys import Keys
from tests.cli import PROGRAM, Cli, environment, seen_on_terminal
from tests.servers import Server
from tests.waiting import wait_until

_APP = """
import os, pathlib, time
def write(name):
    pathlib.Path(name).write_text(str(os.getpid()))
def wait(gate):
    while not pathlib.Path(gate).exists():
        time.sleep(0.005)
def fail():
    raise ValueError("on purpose")
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def redjobs(server: Server, keys: Keys) -> Cli:
    return Cli(server, keys)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with an app in it."""
    (tmp_path / "shop.py").write_text(_APP)
    return tmp_path


@pytest.fixture
def start(server: Server, keys: Keys, home: Path) -> Iterator[Start]:
    """Start a worker; those that are left at the end are killed."""
    with contextlib.ExitStack() as stack:

        def start(*flags: str, stderr: int = subprocess.DEVNULL, **env: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [PROGRAM, "worker", "--app", "shop", *flags],
                cwd=home,
                env=environment(server, keys, Role.WORKER, **env),
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )
            stack.callback(process.wait)
            stack.callback(_kill, process)
            return process

        yield start


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


# Its name ----------------------------------------------------------------------------------------


def test_a_workers_name_is_shown_where_its_host_would_be(redjobs: Cli, home: Path, start: Start) -> None:
    gate = home / "gate"
    process = start("--name", "green-3", "--processes", "1")
    told = redjobs.program("enqueue", "shop:wait", str(gate), cwd=home)
    job_id = told.stdout.strip()
    wait_until(lambda: redjobs.json("jobs", "show", job_id)["state"] == "processing", 20)
    (shown,) = redjobs.json("status")["workers"]
    assert (shown["host"], shown["jobs"]) == ("green-3", 1)
    assert "green-3." in redjobs("status").stdout
    assert redjobs.json("jobs", "show", job_id)["worker"].startswith("green-3.")
    assert "green-3." in redjobs("jobs", "show", job_id).stdout
    redjobs("check", "worker", "--name", "green-3")
    redjobs("check", "worker", code=1)
    gate.touch()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


# Pools -------------------------------------------------------------------------------------------


def test_a_pool_for_everything_takes_the_jobs_of_other_queues(
    redjobs: Cli, server: Server, keys: Keys, home: Path, start: Start
) -> None:
    gate = home / "gate"
    inspector = Inspector(server.client(), keys.prefix)
    process = start("--pool", "mail:2", "--pool", "*:1")
    # All three look for mail.
    wait_until(lambda: len(inspector.workers("mail")) == 3, 20)
    for _ in range(3):
        redjobs.program("enqueue", "shop:wait", str(gate), "--queue", "mail", cwd=home)
    wait_until(lambda: inspector.queue("mail").processing == 3, description="all three are busy with mail")
    redjobs.program("enqueue", "shop:write", "bills", "--queue", "bills", cwd=home)
    gate.touch()
    wait_until((home / "bills").exists, 20, "the job of a queue that nobody named")
    (takes_all,) = inspector.workers("bills")
    wait_until(lambda: (home / "bills").read_text() == str(takes_all.pid))
    assert len({worker.pid for worker in inspector.workers("mail")}) == 3
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


# Colours -----------------------------------------------------------------------------------------

BURST = ("--burst", "--processes", "1", "--log-level", "debug")


def said_to_a_terminal(start: Start, **env: str) -> str:
    """What a burst says where its output is a terminal."""
    ours, theirs = pty.openpty()
    process = start(*BURST, stderr=theirs, **env)
    os.close(theirs)
    said = seen_on_terminal(ours)
    assert process.wait(20) == 1
    return said


def test_a_terminal_gets_colours(redjobs: Cli, home: Path, start: Start) -> None:
    redjobs.program("enqueue", "shop:fail", "--max-attempts", "1", cwd=home)
    said = said_to_a_terminal(start, TERM="xterm")
    (line,) = (line for line in said.splitlines() if "dead shop:fail" in line)
    assert line.startswith("\033[31m") and line.endswith("\033[0m")
    assert "INFO    redjobs" in said


def test_a_terminal_gets_no_colours_where_the_environment_wants_none(
    redjobs: Cli, home: Path, start: Start
) -> None:
    redjobs.program("enqueue", "shop:fail", "--max-attempts", "1", cwd=home)
    said = said_to_a_terminal(start, TERM="xterm", NO_COLOR="1")
    assert "dead shop:fail" in said
    assert "\033" not in said


def test_a_file_gets_no_colours_and_the_date(redjobs: Cli, home: Path) -> None:
    redjobs.program("enqueue", "shop:fail", "--max-attempts", "1", cwd=home)
    worker = redjobs.program("worker", "--app", "shop", *BURST, cwd=home, TERM="xterm")
    assert "dead shop:fail" in worker.stderr
    assert "\033" not in worker.stdout + worker.stderr
    assert all(
        re.match(r"20\d\d-\d\d-\d\d \d\d:", line) for line in worker.stderr.splitlines() if " dead " in line
    )


# Started by something that closes all files -------------------------------------------------------


def test_a_worker_runs_without_any_standard_stream(
    redjobs: Cli, server: Server, keys: Keys, home: Path
) -> None:
    """Else the connection to the server would be standard error, and the log be sent there."""
    redjobs.program("enqueue", "shop:write", "written", cwd=home)
    worker = [PROGRAM, "worker", "--app", "shop", "--burst", "--processes", "1"]
    ended = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *worker],
        cwd=home,
        env=environment(server, keys, Role.WORKER),
        timeout=40,
        check=False,
    )
    assert ended.returncode == 0
    assert (home / "written").exists()
