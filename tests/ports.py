"""Ports for servers that tests start."""

from __future__ import annotations

import itertools
import os
import socket

#: Below the ports that the system gives to outgoing connections: one of those would take the place of a
#: server that is about to start, or that was killed and starts again.
_FIRST, _COUNT = 10_000, 11_000
#: A cluster's bus is on the port that is so much above.
_BUS = 10_000

# Processes that run side by side begin at places of their own.
_places = itertools.count(os.getpid() * 101)


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens, nor on that of its cluster bus; another each time."""
    for place in itertools.islice(_places, _COUNT):
        port = _FIRST + place % _COUNT
        if _is_free(port) and _is_free(port + _BUS):
            return port
    raise AssertionError(f"all ports from {_FIRST} to {_FIRST + _COUNT} are taken")


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        # As servers do: what was closed a moment ago does not count.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
