"""sd_notify(3): tells systemd that the worker is up, alive and stopping, where it wants to know."""

from __future__ import annotations

import contextlib
import os
import socket


def ready() -> None:
    """A child takes jobs."""
    _send("READY=1")


def watchdog() -> None:
    """The supervisor has just heard from the server."""
    _send("WATCHDOG=1")


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
