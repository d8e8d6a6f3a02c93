"""Commands on their way to one server and back: several in one round trip, over a pooled connection.

redis-py's own pipelines cost more than all that a job costs elsewhere (33 µs of Python per round
trip, against 13), so its connections are used directly: packed, sent, read in order. What is tried
again, and how often, its connections say: see `redjobs.connect`.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import hiredis
import redis
from redis.exceptions import ResponseError

Words = Sequence[bytes | str | int | float]

#: Its stub knows commands of one word only.
_pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command


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


def _nothing() -> None:
    """What there is to do while the server works."""


def exchange_on(
    connection: Any, calls: Sequence[Words], meanwhile: Callable[[], object] = _nothing
) -> list[Any]:
    """`exchange` over a connection that the caller holds; it stays his, and is closed by what raises.

    `meanwhile` is called once the commands are sent, before the replies are waited for; with each attempt.
    """
    try:
        packed = _packed(calls)

        def attempt() -> list[Any]:
            connection.send_packed_command(packed)
            meanwhile()
            return _settled(connection, [_read(connection) for _ in calls])

        def failed(_error: Exception, *_count: int) -> None:
            connection.disconnect()

        replies: list[Any] = connection.retry.call_with_retry(attempt, failed)
    except BaseException:
        # An interrupt may have left replies unread: the next caller must not get them.
        connection.disconnect()
        raise
    return replies


def _packed(calls: Sequence[Words]) -> list[bytes]:
    """What is sent. redis-py packs with hiredis, too, and looks at each word before, which costs as much."""
    return [b"".join([_pack(tuple(call)) for call in calls])]


def _read(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def _settled(connection: Any, replies: list[Any]) -> list[Any]:
    """The replies; raises the first error that this connection is to try again, such as READONLY."""
    for reply in replies:
        if isinstance(reply, connection.retry._supported_errors):
            raise reply
    return replies


class Stream:
    """Commands on one connection, of which several are under way; replies come in their order.

    While the server works on one, the next can be made and sent. When the connection is lost, all
    that is not answered is sent again, so only what may be run twice belongs here.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._connection: Any = None
        #: Packed commands without a reply, and how many of them this connection has been sent.
        self._unanswered: deque[Any] = deque()
        self._sent = 0

    def __enter__(self) -> Stream:
        self._connection = borrow(self._pool)
        return self

    def __exit__(self, *_error: object) -> None:
        """Give the connection back; when somebody stops half-way, what was sent is still done."""
        try:
            for _ in range(self._sent):
                _read(self._connection)
        except BaseException:
            self._connection.disconnect()
            raise
        finally:
            self._pool.release(self._connection)

    def send(self, words: Words) -> None:
        """Send one command. Raises redis-py's errors as `exchange` does."""
        self._unanswered.append(_packed([words]))
        self._try(self._send)

    def read(self) -> Any:
        """The next reply; an error of the server stands in its place."""
        reply = self._try(self._receive)
        self._unanswered.popleft()
        self._sent -= 1
        return reply

    def _try(self, step: Callable[[], Any]) -> Any:
        try:
            return self._connection.retry.call_with_retry(step, self._failed)
        except BaseException as error:
            self._failed(error)
            raise

    def _send(self) -> None:
        while self._sent < len(self._unanswered):
            # A health check reads the next reply as its own.
            packed, idle = self._unanswered[self._sent], not self._sent
            self._connection.send_packed_command(packed, check_health=idle)
            self._sent += 1

    def _receive(self) -> Any:
        self._send()
        return _settled(self._connection, [_read(self._connection)])[0]

    def _failed(self, _error: BaseException, *_count: int) -> None:
        self._connection.disconnect()
        self._sent = 0


async def exchange_async(pool: Any, calls: Sequence[Words]) -> list[Any]:
    """`exchange` for coroutines."""
    connection = await pool.get_connection(*_TOLD)
    try:
        packed = _packed(calls)

        async def attempt() -> list[Any]:
            await connection.send_packed_command(packed)
            return _settled(connection, [await _read_async(connection) for _ in calls])

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


class AsyncStream:
    """`Stream` for coroutines."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._connection: Any = None
        self._unanswered: deque[Any] = deque()
        self._sent = 0

    async def __aenter__(self) -> AsyncStream:
        self._connection = await self._pool.get_connection(*_TOLD)
        return self

    async def __aexit__(self, *_error: object) -> None:
        """As `Stream.__exit__`."""
        try:
            for _ in range(self._sent):
                await _read_async(self._connection)
        except BaseException:
            await self._connection.disconnect(nowait=True)
            raise
        finally:
            await self._pool.release(self._connection)

    async def send(self, words: Words) -> None:
        """As `Stream.send`."""
        self._unanswered.append(_packed([words]))
        await self._try(self._send)

    async def read(self) -> Any:
        """As `Stream.read`."""
        reply = await self._try(self._receive)
        self._unanswered.popleft()
        self._sent -= 1
        return reply

    async def _try(self, step: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await self._connection.retry.call_with_retry(step, self._failed)
        except BaseException as error:
            await self._failed(error)
            raise

    async def _send(self) -> None:
        while self._sent < len(self._unanswered):
            packed, idle = self._unanswered[self._sent], not self._sent
            await self._connection.send_packed_command(packed, check_health=idle)
            self._sent += 1

    async def _receive(self) -> Any:
        await self._send()
        return _settled(self._connection, [await _read_async(self._connection)])[0]

    async def _failed(self, _error: BaseException, *_count: int) -> None:
        await self._connection.disconnect(nowait=True)
        self._sent = 0
