"""Connections that find out where their server is each time they are made.

Which server is the right one, a `Finder` knows: Sentinels were asked, or nodes of a cluster. A
connection that is sent away looks again, as if it had been lost: so pools, pipelines, retries and
workers need to know nothing of it. redis-py's own connections for Sentinel are not used: they stay
open when a read is interrupted, and the next caller gets that reply.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import redis
from redis import connection as sync_connection
from redis.asyncio import connection as async_connection
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    ResponseError,
    TryAgainError,
)

from redjobs.manyhosts import Address

#: What is said of a reply that came too late.
_VOID = "another server has taken over while this one stood still"

#: The only call of this library that waits for something to come; its last word is how long.
_BLOCKING = "BRPOPLPUSH"

#: What older versions of redis-py know from their own cluster client only, by its first word.
_BY_WORD: dict[str, type[ResponseError]] = {
    "MOVED": MovedError,
    "ASK": AskError,
    "TRYAGAIN": TryAgainError,
    "CLUSTERDOWN": ClusterDownError,
    "MASTERDOWN": MasterDownError,
}

T = TypeVar("T")


class Elsewhere(redis.ConnectionError):
    """This server is not, or no longer, the one to ask. What it refused was not run."""


class Finder(Protocol):
    """Knows where the server is. For any thread."""

    def find(self) -> Address:
        """Ask where it is now. Raises redis-py's ConnectionError."""

    def failed(self, address: Address, seconds: float) -> None:
        """Nobody answers there; to learn that took so long."""

    def doubts(self, address: Address, seconds: float) -> bool:
        """Whether to ask about a reply that came so long after it could.

        Who stood still until another server took over carries out what it has got meanwhile, and forgets it
        when it is told. Asks nobody.
        """

    def denies(self, address: Address) -> bool:
        """Ask: whether such a reply is void, as the server is another one now."""

    def is_stale(self) -> bool:
        """Whether what is known is so old that `find` should be called, though nothing has happened."""

    def is_home(self, address: Address) -> bool:
        """Whether it is there, as far as is known."""

    def sent_away(self, error: ResponseError) -> Elsewhere | None:
        """What to raise when this refusal means that it is elsewhere, or will be; else None."""


def recognized(error: ResponseError) -> ResponseError:
    """A refusal by its class, whatever the version of redis-py makes of it."""
    word, _, rest = str(error).partition(" ")
    if type(error) is ResponseError and word in _BY_WORD:
        return _BY_WORD[word](rest)
    return error


def _block_seconds(words: Sequence[Any]) -> float:
    """How long the server may let a call wait. It is sent by itself, not together with others."""
    return float(words[-1]) if words[0] == _BLOCKING else 0.0


class _Watching:
    _finder: Finder
    _ready = False
    _sent_at = 0.0
    #: How long the last call may block on the server.
    _blocks_s = 0.0
    host: str
    port: int

    def _is_doubtful(self) -> bool:
        """Whether the reply that was just read may be of a server that is none any more."""
        late = time.monotonic() - self._sent_at - self._blocks_s
        return self._ready and self._finder.doubts((self.host, self.port), late)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """The finder is told where nobody answers, and how long it took to learn that."""
        began = time.monotonic()
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError, OSError):
            self._finder.failed((self.host, self.port), time.monotonic() - began)
            raise


class _Seeking(_Watching):
    """What the two kinds of synchronous connections have in common."""

    def __init__(self, *, finder: Finder, **options: Any) -> None:
        super().__init__(**options)
        self._finder = finder

    def connect(self: Any) -> None:
        super().connect()  # type: ignore[misc]
        self._ready = True

    def connect_check_health(self: Any, *args: Any, **options: Any) -> None:
        # What newer versions of redis-py call where a command finds its connection closed.
        super().connect_check_health(*args, **options)  # type: ignore[misc]
        self._ready = True

    def _connect(self: Any) -> socket.socket:
        self._ready = False
        self.host, self.port = self._finder.find()
        with self._watched():
            connected: socket.socket = super()._connect()  # type: ignore[misc]
        return connected

    def send_command(self: Any, *args: Any, **options: Any) -> None:
        super().send_command(*args, **options)  # type: ignore[misc]
        self._blocks_s = _block_seconds(args)

    def send_packed_command(self: Any, *args: Any, **options: Any) -> None:
        if self._sock is not None and self._ready:
            if self._finder.is_stale():
                # Who names the server may be gone while it is well.
                with contextlib.suppress(redis.ConnectionError):
                    self._finder.find()
            if not self._finder.is_home((self.host, self.port)):
                self.disconnect()
                raise Elsewhere("another server has taken over")
        self._sent_at, self._blocks_s = time.monotonic(), 0.0
        super().send_packed_command(*args, **options)  # type: ignore[misc]

    def read_response(self: Any, *args: Any, **options: Any) -> Any:
        try:
            with self._watched():
                reply = super().read_response(*args, **options)  # type: ignore[misc]
            if self._is_doubtful() and self._finder.denies((self.host, self.port)):
                self.disconnect()
                raise Elsewhere(_VOID)
            return reply
        except ResponseError as error:
            elsewhere = self._finder.sent_away(recognized(error))
            if elsewhere is None:
                raise
            self.disconnect()
            raise elsewhere from error


class SeekingConnection(_Seeking, sync_connection.Connection):
    """Finds its server."""


class SeekingTlsConnection(_Seeking, sync_connection.SSLConnection):
    """Finds its server, and checks that server's certificate."""


class _AsyncSeeking(_Watching):
    def __init__(self, *, finder: Finder, **options: Any) -> None:
        super().__init__(**options)
        self._finder = finder

    async def connect(self: Any) -> None:
        await super().connect()  # type: ignore[misc]
        self._ready = True

    async def connect_check_health(self: Any, *args: Any, **options: Any) -> None:
        await super().connect_check_health(*args, **options)  # type: ignore[misc]
        self._ready = True

    async def _connect(self: Any) -> None:
        self._ready = False
        self.host, self.port = await _elsewhere(self._finder.find)
        with self._watched():
            await super()._connect()  # type: ignore[misc]

    async def send_command(self: Any, *args: Any, **options: Any) -> None:
        await super().send_command(*args, **options)  # type: ignore[misc]
        self._blocks_s = _block_seconds(args)

    async def send_packed_command(self: Any, *args: Any, **options: Any) -> None:
        if self.is_connected and self._ready:
            if self._finder.is_stale():
                with contextlib.suppress(redis.ConnectionError):
                    await _elsewhere(self._finder.find)
            if not self._finder.is_home((self.host, self.port)):
                await self.disconnect(nowait=True)
                raise Elsewhere("another server has taken over")
        self._sent_at, self._blocks_s = time.monotonic(), 0.0
        await super().send_packed_command(*args, **options)  # type: ignore[misc]

    async def read_response(self: Any, *args: Any, **options: Any) -> Any:
        try:
            with self._watched():
                reply = await super().read_response(*args, **options)  # type: ignore[misc]
            if self._is_doubtful() and await _elsewhere(self._finder.denies, (self.host, self.port)):
                await self.disconnect(nowait=True)
                raise Elsewhere(_VOID)
            return reply
        except ResponseError as error:
            elsewhere = self._finder.sent_away(recognized(error))
            if elsewhere is None:
                raise
            await self.disconnect(nowait=True)
            raise elsewhere from error


async def _elsewhere(ask: Callable[..., T], *args: Any) -> T:
    # A thread of its own: asyncio's shared ones may all be waiting for this connection.
    threads = ThreadPoolExecutor(1)
    try:
        return await asyncio.get_running_loop().run_in_executor(threads, ask, *args)
    finally:
        threads.shutdown(wait=False)


class AsyncSeekingConnection(_AsyncSeeking, async_connection.Connection):
    """Finds its server."""


class AsyncSeekingTlsConnection(_AsyncSeeking, async_connection.SSLConnection):
    """Finds its server, and checks that server's certificate."""
