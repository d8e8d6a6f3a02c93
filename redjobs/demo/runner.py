"""Runs the processes of the Procfile in the foreground, by honcho, as `main` promises."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
from collections.abc import Mapping

from honcho.manager import Manager

from redjobs import embedded
from redjobs.demo.config import from_environ
from redjobs.settings import DEFAULT_DIRECTORY, Server, embedded_is_installed, resolve_url

#: As the Procfile has them; but the worker has somebody who starts it again.
MODULES = {"web": "redjobs.demo.web", "worker": "redjobs.demo.keep", "mail": "redjobs.demo.sink"}

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: Exit codes of honcho that are no failure.
STOPPED = (0, 128 + signal.SIGINT, 128 + signal.SIGTERM)


def run() -> int:
    """Start everything, and stop everything when one process ends or somebody says so."""
    for number in _SIGNALS:
        signal.signal(number, lambda *_: sys.exit(0))  # until honcho takes over
    environ = _environ()
    server = resolve_url(environ=environ)
    try:
        if server.directory is not None:
            embedded.ensure(server.directory)  # at once: what is wrong is said here, and once
        _greet(environ, server)
        manager = _Manager()
        for name, module in MODULES.items():
            manager.add_process(name, f"exec {shlex.quote(sys.executable)} -m {module}", env=environ)
        manager.loop()
    finally:
        _stop_the_server(server)
    code = int(manager.returncode or 0)
    return 0 if code in STOPPED else code


class _Manager(Manager):  # type: ignore[misc]  # honcho has no types
    """honcho's, but it may be told to stop while it is starting, and stops with its terminal."""

    def loop(self) -> None:
        """Until all processes have ended."""
        self._main = os.getpid()
        # Each process has a session of its own, so nobody else would tell it of a closed window.
        signal.signal(signal.SIGHUP, lambda *_: os.kill(self._main, signal.SIGTERM))
        signal.signal(signal.SIGALRM, lambda *_: self.terminate())
        super().loop()

    def terminate(self) -> None:
        """Tell all processes; honcho learns their ids by and by, and fails before it has them all."""
        if os.getpid() != self._main:
            return  # Ctrl-C has reached a fork of ours that does not ignore it yet
        if all("pid" in known for known in self._processes.values()):
            super().terminate()
        else:
            signal.setitimer(signal.ITIMER_REAL, 0.05)


def _environ() -> dict[str, str]:
    """What all processes get; what somebody has set stays."""
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if not environ.get("REDJOBS_URL") and not environ.get("REDIS_URL") and embedded_is_installed():
        environ["REDJOBS_URL"] = f"embedded://{DEFAULT_DIRECTORY}"
    environ.setdefault("PORT", str(_free_port(8000)))
    environ.setdefault("DEMO_SINK_PORT", str(_free_port(8025)))
    # honcho gives a process that was told to stop five seconds.
    environ.setdefault("REDJOBS_GRACE", "2s")
    return environ


def _greet(environ: Mapping[str, str], server: Server) -> None:
    config = from_environ(environ)
    sys.stdout.write(
        f"\n  The redjobs demo    http://127.0.0.1:{config.port}\n"
        f"  Redis server        {server}\n"
        f"  Data                {config.data}\n"
        f"  Ctrl-C stops it, and keeps the data\n\n"
    )
    sys.stdout.flush()


def _free_port(wanted: int) -> int:
    """This port of ours, or another one where somebody has it."""
    for port in (*range(wanted, wanted + 10), 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise AssertionError("unreachable: port 0 is always free")


def _stop_the_server(server: Server) -> None:
    """Stop the embedded server, unless somebody else uses it (a `redjobs status --watch`, say)."""
    if server.directory is not None and embedded.status(server.directory).clients == 0:
        embedded.stop(server.directory)
