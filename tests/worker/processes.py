"""Worker processes: started, told things by signals, listened to, and never left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Protocol

from redjobs.worker import WorkerOptions
from tests.waiting import wait_until
from tests.worker.runs import RUNS, Runs

ROOT = Path(__file__).parents[2]
HANDLERS = "tests.worker.handlers"


class Starter(Protocol):
    """A way to start a worker process."""

    def start(self, told: dict[str, Any], env: dict[str, str], cwd: Path, log: IO[bytes]) -> int:
        """Returns its pid."""

    def poll(self, pid: int) -> int | None:
        """Its exit code; None while it runs."""


class Interpreters:
    """Each worker is a Python of its own, and so are its children. `before`: what starts it."""

    def __init__(self, *before: str) -> None:
        self._before = before
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, told: dict[str, Any], env: dict[str, str], cwd: Path, log: IO[bytes]) -> int:
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        process = subprocess.Popen(
            [*self._before, sys.executable, "-m", "tests.worker.launch", json.dumps(told)],
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": path} | env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self._processes[process.pid] = process
        return process.pid

    def poll(self, pid: int) -> int | None:
        return self._processes[pid].poll()


class Nursery:
    """Workers are forked from a process that has everything imported: see nursery.py."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.worker.nursery", str(theirs.fileno())],
            cwd=ROOT,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()

    def start(self, told: dict[str, Any], env: dict[str, str], cwd: Path, log: IO[bytes]) -> int:
        message = {"do": "start", "told": told, "env": env, "cwd": str(cwd)}
        socket.send_fds(self._socket, [json.dumps(message).encode()], [log.fileno()])
        return int(json.loads(self._socket.recv(1000)))

    def poll(self, pid: int) -> int | None:
        self._socket.send(json.dumps({"do": "poll", "pid": pid}).encode())
        code: int | None = json.loads(self._socket.recv(1000))
        return code

    def close(self) -> None:
        """End it. The workers go on."""
        self._socket.close()
        self._process.wait()


class WorkerProcess:
    """One `redjobs worker`: a supervisor with its children, or with `processes=0` only itself."""

    def __init__(
        self,
        starter: Starter,
        url: str,
        home: Path,
        runs: Runs,
        *,
        constants: dict[str, object] | None = None,
        without: Sequence[str] = (),
        cwd: Path = ROOT,
        **options: Any,
    ) -> None:
        chosen = WorkerOptions(**{"apps": (HANDLERS,), "grace": 5.0, **options})
        told = {"url": url, "options": asdict(chosen), "constants": constants or {}}
        told["without"] = list(without)
        self._log = home / f"worker-{len(list(home.glob('worker-*')))}.log"
        self._starter = starter
        self._code: int | None = None
        with self._log.open("wb") as log:
            self.pid = starter.start(told, {RUNS: str(runs.path)}, cwd, log)

    # What it is told -----------------------------------------------------------------------

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process that was started, and not to its children."""
        assert self.is_running
        os.kill(self.pid, number)

    def send_all(self, number: signal.Signals) -> None:
        """Send a signal to all of them at once, as a terminal or Heroku does."""
        os.killpg(self.pid, number)

    def stop(self, timeout: float = 10.0) -> int:
        """SIGTERM, and wait for the end. Returns the exit code."""
        self.send(signal.SIGTERM)
        return self.wait(timeout)

    def wait(self, timeout: float = 10.0) -> int:
        """Wait for the end. Returns the exit code."""
        try:
            wait_until(lambda: not self.is_running, timeout)
        except AssertionError:
            raise AssertionError(f"it did not end within {timeout:g} s; it says:\n{self.log}") from None
        assert self._code is not None
        return self._code

    def destroy(self) -> None:
        """End everything that is left of it."""
        with contextlib.suppress(ProcessLookupError):
            self.send_all(signal.SIGKILL)
        wait_until(lambda: not self.is_running)

    # What it is like -----------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether the process that was started has not ended."""
        if self._code is None:
            self._code = self._starter.poll(self.pid)
        return self._code is None

    def children(self) -> list[int]:
        """The pids of its children."""
        return children_of(self.pid)

    @property
    def log(self) -> str:
        """All that it has said."""
        return self._log.read_text(errors="replace")

    def count(self, *texts: str) -> int:
        """In how many lines of its log all these texts stand."""
        return sum(all(text in line for text in texts) for line in self.log.splitlines())

    def says(self, *texts: str, times: int = 1, timeout: float = 10.0) -> None:
        """Wait until it has said this, so many times."""
        try:
            wait_until(lambda: self.count(*texts) >= times, timeout)
        except AssertionError:
            raise AssertionError(f"it never said {' … '.join(texts)!r}; it said:\n{self.log}") from None


def children_of(pid: int) -> list[int]:
    """The pids of a process' children."""
    told = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [child for child in map(int, told.stdout.split()) if is_running(child)]


def is_running(pid: int) -> bool:
    """Whether a process is there and not only its exit code."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(told.stdout.strip()) and not told.stdout.strip().startswith("Z")


def cpu_seconds(pid: int) -> float:
    """How long a process has kept a processor busy (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
