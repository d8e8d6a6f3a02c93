"""Keeps the demo's worker running: kill it as often as you like, and see that no mail is lost.

In earnest, systemd, Kubernetes or Heroku does that; honcho would stop everything instead.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from redjobs.demo import process

logger = logging.getLogger("redjobs.demo")

#: As in the Procfile (a test compares them), which a wheel does not hold.
COMMAND = "redjobs worker --app redjobs.demo.jobs --threads 4 demo"

#: Within the five seconds that honcho gives us.
STOP_S = 4.5
#: Who dies younger than this is not started again at once.
YOUNG_S = 1.0


def serve() -> int:
    """Run the worker, and start it again whenever it was killed; until SIGTERM or SIGINT."""
    keeper = _Keeper()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, keeper.stop)
    return keeper.run()


class _Keeper:
    def __init__(self) -> None:
        self._stopping = False
        self._worker: subprocess.Popen[bytes] | None = None

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Tell the worker; `run` waits for it. Only flags and signals: this is a signal handler."""
        self._stopping = True
        if self._worker is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._worker.pid, signal.SIGTERM)  # it tells its children itself
            signal.setitimer(signal.ITIMER_REAL, STOP_S)

    def run(self) -> int:
        signal.signal(signal.SIGALRM, lambda *_: self._kill())
        while not self._stopping:
            code, seconds = self._run_once()
            if code >= 0 or self._stopping:
                # It ended by itself, maybe with a complaint, which another start would repeat.
                return max(code, 0)
            logger.info("the worker was killed (%s); here is a new one", signal.Signals(-code).name)
            if seconds < YOUNG_S:
                time.sleep(YOUNG_S)
        return 0

    def _run_once(self) -> tuple[int, float]:
        started = time.monotonic()
        # A group of its own, so that one can kill all of it and nothing else.
        self._worker = worker = subprocess.Popen(_command(), start_new_session=True)
        logger.info("the worker is here; this kills it:  kill -9 -%d", worker.pid)
        if self._stopping:  # we were told before there was somebody to tell
            self.stop(signal.SIGTERM, None)
        code = worker.wait()
        if self._stopping:
            self._kill()  # whom it may have left behind
        return code, time.monotonic() - started

    def _kill(self) -> None:
        if self._worker is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._worker.pid, signal.SIGKILL)


def _command() -> list[str]:
    program, *words = COMMAND.split()
    beside = Path(sys.executable).with_name(program)  # of this very environment, whatever $PATH says
    return [str(beside) if beside.exists() else program, *words]


if __name__ == "__main__":
    process.run(serve)
