"""A small HTTP endpoint for Kubernetes and load balancers: can this worker claim jobs, and does it live?"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from redjobs.errors import SettingsError
from redjobs.worker.brood import START_SECONDS, Child
from redjobs.worker.options import WorkerOptions

if TYPE_CHECKING:
    from http.server import ThreadingHTTPServer

logger = logging.getLogger("redjobs.worker")

#: Healthy is who has heard from the server within so many seconds.
FRESH_SECONDS = 10.0
#: Alive is a supervisor whose loop has turned within so many seconds: children that hang it ends itself.
#: One turn may wait for several servers that do not answer.
LIVE_SECONDS = 60.0


def serve_health(host: str, port: int, state: Callable[[], dict[str, Any]]) -> ThreadingHTTPServer:
    """Answer GET with `state()`: 200 if its `healthy` is true and it is fresh, else 503.

    On `/live`: 200 while it is not much too old, whatever it is. Nobody is to be restarted for a
    server that is gone. Runs in a daemon thread until `shutdown`. Raises OSError where the port is taken.
    """
    # Here, as few ask for it and everybody would pay for it: half a megabyte.
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            judged = dict(state())
            # A supervisor that is stuck judges no more.
            age = time.monotonic() - judged.pop("judged_at")
            alive = age < LIVE_SECONDS
            healthy = judged["healthy"] and age < FRESH_SECONDS
            body = json.dumps(judged | {"healthy": healthy, "alive": alive}).encode() + b"\n"
            asked = alive if self.path.partition("?")[0] == "/live" else healthy
            self.send_response(200 if asked else 503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """A probe every few seconds is no news."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="redjobs-health", daemon=True).start()
    return server


class Health:
    """What a supervisor answers to health checks."""

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._judged: dict[str, Any] = {"healthy": False, "judged_at": time.monotonic()}
        self._server: ThreadingHTTPServer | None = None

    def serve(self) -> None:
        """Answer checks from now on, if that is wanted. Raises SettingsError where the port cannot be had."""
        if self._options.health_port is not None:
            host, port = self._options.health_host, self._options.health_port
            try:
                self._server = serve_health(host, port, lambda: self._judged)
            except OSError as error:
                why = error.strerror or error
                raise SettingsError(f"health checks cannot be answered on {host}:{port}: {why}") from error
            logger.info("health checks on http://%s:%d/", *self._server.server_address[:2])

    def judge(self, children: Sequence[Child], *, server: str, stopping: bool) -> None:
        """Healthy: there are children at work, and each has just heard from the server.

        `server`: there, gone or refuses. `stopping`, or quiet: no more is claimed.

        One that is being replaced or imports the app beside others does not count, unless that takes long.
        """
        now = time.monotonic()
        present = [child for child in children if not child.dismissed]
        at_work = [child for child in present if child.is_ready or now - child.started_at > START_SECONDS]
        silent = [child.pid for child in at_work if now - child.slots.answered_at > FRESH_SECONDS]
        self._judged = {
            "healthy": bool(at_work) and server == "there" and not (silent or stopping),
            "server": server,
            "children": len(present),
            "silent": silent,
            "stopping": stopping,
            "judged_at": now,
        }

    def close(self) -> None:
        """Answer no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
