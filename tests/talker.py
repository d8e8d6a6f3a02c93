"""Something like a server, which can be told to misbehave."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading


class Talker:
    """Something like a server, on TCP: it counts connections and commands, and misbehaves."""

    def __init__(self, tls: ssl.SSLContext | None = None, certificate: str = "") -> None:
        self.certificate = certificate
        self.connections = 0
        self.commands: list[bytes] = []
        self.lose = 0
        """How many GET from now on are received but not answered: the connection is cut."""
        self.deaf = False
        """Nothing is answered, and nothing is cut."""
        self.dies = False
        """The next GET is not answered, and nobody listens any more."""
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def gets(self) -> int:
        return sum(b"GET" in command for command in self.commands)

    def close(self) -> None:
        # Closing alone would not wake the thread that accepts.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connected, _ = self._listener.accept()
                self._open.append(connected)
                threading.Thread(target=self._serve, args=(connected,), daemon=True).start()

    def _serve(self, connected: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls:
                connected = self._tls.wrap_socket(connected, server_side=True)
            self.connections += 1
            while self._answer(connected, connected.recv(65536)):
                pass
            connected.close()

    def _answer(self, connected: socket.socket, received: bytes) -> bool:
        if not received:
            return False
        self.commands.append(received)
        if b"\r\nGET\r\n" not in received:
            connected.sendall(b"+OK\r\n" * received.count(b"*"))
            return True
        if self.dies:
            self.close()
            return False
        if self.lose:
            self.lose -= 1
            return False
        if not self.deaf:
            connected.sendall(b"$5\r\nvalue\r\n")
        return True
