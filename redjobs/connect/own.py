"""Connections to the server that redjobs runs itself: see `redjobs.embedded`."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import redis
from redis import connection as sync_connection
from redis.asyncio import connection as async_connection

from redjobs import embedded
from redjobs.errors import ServerUnavailable


class EmbeddedUnavailable(ServerUnavailable, redis.ConnectionError):
    """The embedded server cannot be started; a ConnectionError too, as workers wait that out."""


class EmbeddedConnection(sync_connection.UnixDomainSocketConnection):
    """Starts the server where it is needed: so every reconnect revives one that was killed."""

    def __init__(self, *, directory: Path, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._directory = directory

    def _connect(self) -> socket.socket:
        self.path = _ensure(self._directory)
        connected: socket.socket = super()._connect()  # type: ignore[no-untyped-call]
        return connected


class AsyncEmbeddedConnection(async_connection.UnixDomainSocketConnection):
    def __init__(self, *, directory: Path, **options: Any) -> None:
        super().__init__(**options)
        self._directory = directory

    async def _connect(self) -> None:
        # A thread of its own: asyncio's shared ones may all be waiting for this connection.
        threads = ThreadPoolExecutor(1)
        try:
            loop = asyncio.get_running_loop()
            self.path = await loop.run_in_executor(threads, _ensure, self._directory)
        finally:
            threads.shutdown(wait=False)
        await super()._connect()  # type: ignore[no-untyped-call]


def _ensure(directory: Path) -> str:
    try:
        return str(embedded.ensure(directory))
    except ServerUnavailable as error:
        raise EmbeddedUnavailable(str(error)) from error
