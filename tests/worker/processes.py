"""Worker processes: started, told things by signals, listened to, and never left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from redjobs.worker import WorkerOptions
from tests.waiting import wait_until
from tests.worker.runs import RUNS, Runs

ROOT = Path(__file__).parents[2]
HANDLERS = "tests.worker.handlers"


class WorkerProcess:
    """One `redjobs worker`: a supervisor with its children, or with `processes=0` only itself."""

    def __init__(
        self,
        url: str,
        home: Path,
        runs: Runs,
        *,
        constants: dict[str, object] | None = None,
        env: dict[str, str] | None = None,
        cwd: Path = ROOT,
        **options: Any,
    ) -> None:
        chosen = WorkerOptions(**{"apps": (HANDLERS,), "grace": 5.0, **options})
        told = {"url": url, "options": asdict(chosen), "constants": constants or {}}
        self._log = home / f"worker-{len(list(home.glob('worker-*')))}.log"
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {RUNS: str(runs.path), "PYTHONPATH": path} | (env or {})
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.worker.launch", json.dumps(told)],
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid = self._process.pid

    # What it is told -----------------------------------------------------------------------

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process that was started, and not to its children."""
        self._process.send_signal(number)

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
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {timeout:g} s; it says:\n{self.log}") from None

    def destroy(self) -> None:
        """End everything that is left of it."""
        with contextlib.suppress(ProcessLookupError):
            self.send_all(signal.SIGKILL)
        self._process.wait()

    # What it is like -----------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether the process that was started has not ended."""
        return self._process.poll() is None

    def children(self) -> list[int]:
        """The pids of its children."""
        told = subprocess.run(["pgrep", "-P", str(self.pid)], capture_output=True, text=True, check=False)
        return [pid for pid in map(int, told.stdout.split()) if is_running(pid)]

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


def is_running(pid: int) -> bool:
    """Whether a process is there and not only its exit code."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(told.stdout.strip()) and not told.stdout.strip().startswith("Z")


def cpu_seconds(pid: int) -> float:
    """How long a process has kept a processor busy (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
