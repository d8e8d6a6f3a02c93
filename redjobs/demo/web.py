"""The process `web`: werkzeug's server with threads. Larger installations run `create_app` under gunicorn."""

from __future__ import annotations

import logging
import os
import signal
import sys
from types import FrameType

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from redjobs.demo import main, process
from redjobs.demo.app import create_app
from redjobs.demo.config import Config, from_environ

#: For platforms whose processes share no disk, and so no SQLite file.
ALL_IN_ONE = "DEMO_ALL_IN_ONE"

logger = logging.getLogger("redjobs.demo")


class _Quiet(WSGIRequestHandler):
    """Logs what changes something, and what fails; not the page's look at itself each second."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        if self.command != "GET" or not str(code).startswith(("2", "3")):
            logger.info("%s %s: %s", self.command, self.path, code)


def serve() -> int:
    """Serve the page until SIGTERM or SIGINT; with $DEMO_ALL_IN_ONE, run everything else beside it."""
    if os.environ.pop(ALL_IN_ONE, ""):
        return main()
    config = from_environ()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    try:
        server = _bind(config)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        logger.critical(
            "cannot listen on %s:%d: %s. Is another demo running? Else set $PORT to a free port",
            config.host,
            config.port,
            reason,
        )
        return 1
    logger.info("listening on http://%s:%d", config.host, server.port)
    server.serve_forever()
    return 0


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def _bind(config: Config) -> BaseWSGIServer:
    return make_server(config.host, config.port, create_app(config), threaded=True, request_handler=_Quiet)


if __name__ == "__main__":
    process.run(serve)
