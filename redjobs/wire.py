"""Commands on their way to one server and back: several in one round trip, over a pooled connection.

redis-py's own pipelines cost more than all that a job costs elsewhere (33 µs of Python per round
trip, against 13), so its connections are used directly: packed, sent, read in order. What is tried
again, and how often, its connections say: see `redjobs.connect`.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import redis
from redis.exceptions import ResponseError

Words = Sequence[bytes | str | int | float]

# redis-py before 5.3 wants to hear what a connection is for, and warns whoever says so from then on.
_TOLD = (
    ("EVALSHA",)
    if inspect.signature(redis.ConnectionPool.get_connection).parameters["command_name"].default
    is inspect.Parameter.empty
    else ()
)


def borrow(pool: Any) -> Any:
    """A connection of a redis-py pool, connected; give it back with `pool.release`."""
    return pool.get_connection(*_TOLD)


def exchange(pool: Any, calls: Sequence[Words]) -> list[Any]:
    """Send commands together and read all replies; an error of the server stands in its command's place.

    Raises redis-py's ConnectionError or TimeoutError when the connection is lost, after as many
    attempts as its retry makes; then nobody knows which of them were run.
    """
    connection = borrow(pool)
    try:
        return exchange_on(connection, calls)
    finally:
        pool.release(connection)


def exchange_on(connection: Any, calls: Sequence[Words]) -> list[Any]:
    """`exchange` over a connection that the caller holds; it stays his, and is closed by what raises."""
    try:
        packed = connection.pack_commands(calls)

        def attempt() -> list[Any]:
            connection.send_packed_command(packed)
            return [_read(connection) for _ in calls]

        def failed(_error: Exception, *_count: int) -> None:
            connection.disconnect()

        replies: list[Any] = connection.retry.call_with_retry(attempt, failed)
    except BaseException:
        # An interrupt may have left replies unread: the next caller must not get them.
        connection.disconnect()
        raise
    return replies


def _read(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


async def exchange_async(pool: Any, calls: Sequence[Words]) -> list[Any]:
    """`exchange` for coroutines."""
    connection = await pool.get_connection(*_TOLD)
    try:
        packed = connection.pack_commands(calls)

        async def attempt() -> list[Any]:
            await connection.send_packed_command(packed)
            return [await _read_async(connection) for _ in calls]

        async def failed(_error: Exception, *_count: int) -> None:
            await connection.disconnect()

        replies: list[Any] = await connection.retry.call_with_retry(attempt, failed)
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)
    return replies


async def _read_async(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


class Stream:
    """One connection on which several commands may be under way; replies come in their order.

    Close it in any case: with replies unread, the connection is given up. Raises what `exchange` does,
    after a single attempt.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._connection = borrow(pool)
        self._unread = 0

    def send(self, calls: Sequence[Words]) -> None:
        """Send commands together."""
        self._unread += len(calls)
        self._connection.send_packed_command(self._connection.pack_commands(calls))

    def read(self, count: int) -> list[Any]:
        """The replies to the next so many commands; an error of the server stands in its command's place."""
        replies = [_read(self._connection) for _ in range(count)]
        self._unread -= count
        return replies

    def close(self) -> None:
        """Give the connection back."""
        if self._unread:
            self._connection.disconnect()
        self._pool.release(self._connection)


class AsyncStream:
    """`Stream` for coroutines."""

    def __init__(self, pool: Any, connection: Any) -> None:
        self._pool = pool
        self._connection = connection
        self._unread = 0

    @classmethod
    async def open(cls, pool: Any) -> AsyncStream:
        """One over a connection of this pool."""
        return cls(pool, await pool.get_connection(*_TOLD))

    async def send(self, calls: Sequence[Words]) -> None:
        """As `Stream.send`."""
        self._unread += len(calls)
        await self._connection.send_packed_command(self._connection.pack_commands(calls))

    async def read(self, count: int) -> list[Any]:
        """As `Stream.read`."""
        replies = [await _read_async(self._connection) for _ in range(count)]
        self._unread -= count
        return replies

    async def close(self) -> None:
        """As `Stream.close`."""
        if self._unread:
            await self._connection.disconnect(nowait=True)
        await self._pool.release(self._connection)
