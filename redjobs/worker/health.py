"""A small HTTP endpoint for Kubernetes, systemd and load balancers: can this worker claim jobs?"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Healthy is who has heard from the server within so many seconds.
FRESH_SECONDS = 10.0


def serve_health(host: str, port: int, state: Callable[[], dict[str, Any]]) -> ThreadingHTTPServer:
    """Answer GET on any path with `state()`: 200 if its `healthy` is true and it is fresh, else 503.

    Runs in a daemon thread until `shutdown`. Raises OSError where the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            judged = dict(state())
            # A supervisor that is stuck judges no more.
            fresh = time.monotonic() - judged.pop("judged_at") < FRESH_SECONDS
            healthy = judged["healthy"] and fresh
            body = json.dumps(judged | {"healthy": healthy}).encode() + b"\n"
            self.send_response(200 if healthy else 503)
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
