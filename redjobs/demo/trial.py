"""One demo with everything of its own (ports, data, server), started and stopped by the smoke run."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from redjobs import embedded

STOP_S = 20.0


class Trial:
    """The demo as people run it, in a directory that is to be deleted afterwards."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "demo.log"
        self._server = directory / "server"
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start everything; returns at once."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "redjobs.demo"],
                env=self._environ(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C is for the smoke run, which then stops us
            )

    def _environ(self) -> dict[str, str]:
        own = ("REDIS_URL", "SMTP_URL", "DYNO")
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in own and not name.startswith(("DEMO_", "REDJOBS_"))
        }
        return kept | {
            "REDJOBS_URL": f"embedded://{self._server}",
            "REDJOBS_LEASE": "2s",
            "DEMO_DATA": str(self.directory / "data"),
            "DEMO_SINK_PORT": str(free_port()),
            "DEMO_SLOW_SECONDS": "3",
            "PORT": str(self._port),
        }

    @property
    def ended(self) -> bool:
        """Whether it has stopped by itself, which it never should."""
        return self._process is not None and self._process.poll() is not None

    def workers(self) -> list[int]:
        """The process groups of all workers that were started, oldest first."""
        return [int(group) for group in re.findall(r"kill -9 -(\d+)", self.text())]

    def kill_worker(self) -> int:
        """SIGKILL the worker and all its children at once: its machine loses power, so to speak."""
        group = self.workers()[-1]
        os.killpg(group, signal.SIGKILL)
        return group

    def text(self) -> str:
        """All that its processes have said."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def stop(self) -> int | None:
        """SIGTERM, as on Ctrl-C; its exit code, or None where it goes on regardless."""
        if self._process is None:
            return None
        self._process.terminate()
        try:
            return self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            return None

    def leftovers(self) -> list[str]:
        """Processes that still belong to it, after a moment for those on their way out."""
        deadline = time.monotonic() + 3
        while (found := self._processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return [f"{pid}: {words}" for pid, words in found.items()]

    def _processes(self) -> dict[int, str]:
        """By the directory's name in their arguments or environment, where /proc tells us.

        Elsewhere by what we know of: its main process, its workers, its server.
        """
        mark, mine = os.fsencode(self.directory), os.getpid()
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            # It may end while we look, or be somebody else's.
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes()
                if int(process.name) != mine and mark in words + (process / "environ").read_bytes():
                    found[int(process.name)] = words.replace(b"\0", b" ").decode(errors="replace")
        groups = [self._process.pid] if self._process else []
        for group in groups + self.workers():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, 0)
                found.setdefault(group, "a process group")
        server = embedded.status(self._server) if self._server.exists() else None
        if server is not None and server.running:
            found.setdefault(server.pid or 0, "the embedded server")
        return found

    def sweep_away(self) -> None:
        """After a failure: end what is left, so that a smoke run never leaves anything behind."""
        for pid in self._processes():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
