"""Starts a worker of whatever shape its options ask for."""

from __future__ import annotations

import contextlib
from typing import Any

from redjobs import connect
from redjobs.settings import Server
from redjobs.worker.apps import import_apps
from redjobs.worker.link import LOST
from redjobs.worker.logs import configure
from redjobs.worker.options import WorkerOptions
from redjobs.worker.startup import allow_files, check_server, greet


def start(server: Server, options: WorkerOptions, logs: dict[str, Any] | None = None) -> int:
    """Run a worker until it is told to stop. Returns the exit code.

    0: stopped as it was told. 1: a burst in which jobs failed, or children that kept dying. 2: the
    apps cannot be imported. `logs` is what `logs.configure` takes.
    """
    configure(**(logs or {}))
    allow_files()
    # A supervisor does without what only its children need, and stays small.
    if options.processes > 0:
        from redjobs.worker.supervisor import Supervisor

        return Supervisor(server, options, logs or {}).run()
    from redjobs.worker.worker import Worker

    import_apps(options.apps)
    greet(server, options)
    client = connect.connect_worker(server, socket_timeout=options.answer_seconds)
    with contextlib.suppress(*LOST):  # its loop says so, and waits
        check_server(client)
    failed = Worker(client, options).run()
    return 1 if options.burst and failed else 0
