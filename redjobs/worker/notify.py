"""sd_notify(3): tells systemd that the worker is up, alive and stopping, where it wants to know."""

from __future__ import annotations

import contextlib
import os
import socket
import time

#: So often it is told that the supervisor turns, where systemd does not say how long it waits for that.
_TURN_SECONDS = 1.0


def ready() -> None:
    """A child takes jobs."""
    _send("READY=1")


def stopping() -> None:
    """It was told to stop."""
    _send("STOPPING=1")


def _send(state: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # a name in Linux' abstract namespace
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), address)


class Watchdog:
    """Tells systemd that the supervisor's loop turns: no server that is gone is a reason to restart it."""

    def __init__(self) -> None:
        given = os.environ.get("WATCHDOG_USEC", "")
        # Four times within what systemd waits.
        self._interval = int(given) / 4e6 if given.isdigit() else _TURN_SECONDS
        self._next_at = 0.0

    def turned(self) -> None:
        """The loop turns."""
        now = time.monotonic()
        if now >= self._next_at:
            self._next_at = now + self._interval
            _send("WATCHDOG=1")
