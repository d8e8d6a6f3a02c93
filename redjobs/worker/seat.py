"""A child's place at its supervisor: messages both ways, and the board that both see.

Messages are JSON, one per line. From the supervisor: `stop` (grace), `quiet`, `dump`, `lapsed`
(worker). From the child: `imported` (files of the app), `ready`, `lane` (queue, worker), `recycles`,
`fatal` (text), `leaving` (why, failed).
"""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

from redjobs.worker.slots import Slots

#: A child that has left so many bytes unread does not get more: it is ended soon, for doing nothing.
_MOST_UNSENT = 65_536


class Channel:
    """Messages over a socket, without blocking the reader."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._socket.setblocking(False)
        self._partial = b""
        self._unsent = bytearray()
        #: The other side is gone.
        self.closed = False

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    def send(self, **message: Any) -> None:
        """Send a message, and wait until there is room for it; lost if the other side is gone."""
        with contextlib.suppress(OSError):
            self._socket.setblocking(True)
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        with contextlib.suppress(OSError):
            self._socket.setblocking(False)

    def post(self, **message: Any) -> None:
        """Send a message, what there is no room for by `push`. Who posts does not `send`."""
        if len(self._unsent) < _MOST_UNSENT:
            self._unsent += json.dumps(message).encode() + b"\n"
        self.push()

    def push(self) -> None:
        """Send what there was no room for, as the other side did not read."""
        with contextlib.suppress(OSError):
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]

    def receive(self) -> list[dict[str, Any]]:
        """The messages that have come; sets `closed` once the other side is gone."""
        try:
            while data := self._socket.recv(65_536):
                self._partial += data
            self.closed = True
        except BlockingIOError:
            pass
        except OSError:
            self.closed = True
        *lines, self._partial = self._partial.split(b"\n")
        return [json.loads(line) for line in lines]

    def wait(self) -> dict[str, Any]:
        """Block for the first message. Those behind it are left for `receive`."""
        while b"\n" not in self._partial:
            self._socket.setblocking(True)
            data = self._socket.recv(65_536)
            if not data:
                raise EOFError("the supervisor is gone")
            self._partial += data
        self._socket.setblocking(False)
        line, _, self._partial = self._partial.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        """Close our side."""
        self._socket.close()


class Seat:
    """What a child needs of its supervisor."""

    def __init__(self, channel: Channel, slots: Slots) -> None:
        self.channel = channel
        self.slots = slots
        #: The supervisor is gone.
        self.orphaned = False

    def leave(self, why: str, failed: int) -> None:
        """Say goodbye: why this process ends, and how many jobs failed in it."""
        self.channel.send(say="leaving", why=why, failed=failed)

    def recycles(self) -> None:
        """It claims no more and ends once nothing runs, which may take long: another one is wanted now."""
        self.channel.send(say="recycles")

    def registered(self, queue: str, worker: str) -> None:
        """This incarnation has a lease now; from here on the supervisor extends it."""
        self.channel.send(say="lane", queue=queue, worker=worker)
