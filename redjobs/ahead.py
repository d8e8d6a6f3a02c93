"""Many jobs at once: the next call is made and sent while the server works on the last one."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import redis
from redis.exceptions import NoScriptError

from redjobs import commands
from redjobs.commands import Command
from redjobs.errors import NotReplicated, ServerUnavailable
from redjobs.flows import Batch, Replies, Taken
from redjobs.jobs import Job
from redjobs.wire import AsyncStream, Stream

#: So many calls are under way when the next one is made: with that, a thousand jobs.
_AHEAD = 5
#: Who needs so long to make a call finds all that was sent answered, and may read it without waiting.
_PAUSE_S = 0.05


def _timed(batches: Iterable[Batch]) -> Iterator[tuple[Batch, bool]]:
    """Each batch, and whether there was a pause before it.

    A connection that ended in the pause takes replies that are not read with it at the next `send`. Their
    jobs would be sent again, and be made anew where workers have run and forgotten them by then.
    """
    began = time.monotonic()
    for batch in batches:
        yield batch, time.monotonic() - began > _PAUSE_S
        began = time.monotonic()


def _is_refusal(error: Exception) -> bool:
    """Whether it says that nothing was done. A lost connection, too, may be the second one: nobody knows."""
    return isinstance(error, ServerUnavailable) and not isinstance(error, redis.ConnectionError)


class Doubts:
    """What no replica has confirmed. It is accepted, and so is what follows: it is told when all is sent."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        #: Confirmed, wanted and the server's refusal where fewest have confirmed.
        self._worst: tuple[int, int, Exception | None] | None = None

    def noted(self, error: NotReplicated) -> Replies:
        """The replies that came with it. It is not kept: it holds the arguments of its jobs."""
        self._ids += error.job_ids
        if self._worst is None or error.confirmed < self._worst[0]:
            refusal = error.__cause__ if isinstance(error.__cause__, Exception) else None
            self._worst = error.confirmed, error.wanted, refusal and refusal.with_traceback(None)
        replies: Replies = error.replies
        return replies

    def tell(self) -> None:
        """Raise one error for all."""
        if self._worst is not None:
            raise NotReplicated(self._ids, *self._worst) from self._worst[-1]


class Bulk:
    """One `enqueue_many`.

    `run` sends a command and reads its reply. `pool` finds the connections for a command; None: `run` does.
    `is_new` is told when a server turns out to be another one than before.
    """

    def __init__(
        self,
        run: Callable[[Command[Replies]], Replies],
        pool: Callable[[Any], Any],
        is_new: Callable[[], object],
    ) -> None:
        self._run = run
        self._pool = pool
        self._is_new = is_new
        #: The ids of all that may have been sent, in so many calls.
        self.sent: list[str] = []
        self.calls = 0
        self.doubts = Doubts()
        self._enqueued: dict[int, Job | Taken] = {}
        self._streams: dict[Any, Stream] = {}
        self._under_way: deque[tuple[Batch, Command[Replies], Stream]] = deque()

    def did_nothing(self, error: Exception) -> bool:
        """Whether no job was stored: the only call so far was refused with this."""
        return self.calls == 1 and not self._enqueued and _is_refusal(error)

    def store(self, batches: Iterable[Batch]) -> list[Job | Taken]:
        """What became of each job."""
        with ExitStack() as around:
            for batch, paused in _timed(batches):
                if paused:
                    self._receive(0)
                self._send(batch, around)
                self._receive(_AHEAD)
            self._receive(0)
        return [self._enqueued[place] for place in range(len(self._enqueued))]

    def _send(self, batch: Batch, around: ExitStack) -> None:
        self.sent += [job.id for job in batch.jobs]
        self.calls += 1
        command = commands.enqueue(batch.keys, batch.jobs)
        pool = self._pool(command)
        if pool is None:
            try:
                replies = self._run(command)
            except NotReplicated as error:
                replies = self.doubts.noted(error)
            self._enqueued.update(batch.settled(replies))
            return
        if pool not in self._streams:
            self._streams[pool] = around.enter_context(Stream(pool))
        self._streams[pool].send(command.words)
        self._under_way.append((batch, command, self._streams[pool]))

    def _receive(self, left: int) -> None:
        """Read replies until so many calls are under way."""
        while len(self._under_way) > left:
            batch, command, stream = self._under_way.popleft()
            reply = stream.read()
            if isinstance(reply, NoScriptError):
                self._is_new()
                stream.send(command.whole)
                self._under_way.append((batch, command, stream))
            elif isinstance(reply, Exception):
                raise reply
            else:
                self._enqueued.update(batch.settled(command.parse(reply)))


class AsyncBulk:
    """`Bulk` for coroutines."""

    def __init__(
        self,
        run: Callable[[Command[Replies]], Awaitable[Replies]],
        pool: Callable[[Any], Any],
        is_new: Callable[[], object],
    ) -> None:
        self._run = run
        self._pool = pool
        self._is_new = is_new
        self.sent: list[str] = []
        self.calls = 0
        self.doubts = Doubts()
        self._enqueued: dict[int, Job | Taken] = {}
        self._streams: dict[Any, AsyncStream] = {}
        self._under_way: deque[tuple[Batch, Command[Replies], AsyncStream]] = deque()

    def did_nothing(self, error: Exception) -> bool:
        """Whether no job was stored: the only call so far was refused with this."""
        return self.calls == 1 and not self._enqueued and _is_refusal(error)

    async def store(self, batches: Iterable[Batch]) -> list[Job | Taken]:
        """As `Bulk.store`."""
        async with AsyncExitStack() as around:
            for batch, paused in _timed(batches):
                if paused:
                    await self._receive(0)
                await self._send(batch, around)
                await self._receive(_AHEAD)
            await self._receive(0)
        return [self._enqueued[place] for place in range(len(self._enqueued))]

    async def _send(self, batch: Batch, around: AsyncExitStack) -> None:
        self.sent += [job.id for job in batch.jobs]
        self.calls += 1
        command = commands.enqueue(batch.keys, batch.jobs)
        pool = self._pool(command)
        if pool is None:
            try:
                replies = await self._run(command)
            except NotReplicated as error:
                replies = self.doubts.noted(error)
            self._enqueued.update(batch.settled(replies))
            return
        if pool not in self._streams:
            self._streams[pool] = await around.enter_async_context(AsyncStream(pool))
        await self._streams[pool].send(command.words)
        self._under_way.append((batch, command, self._streams[pool]))

    async def _receive(self, left: int) -> None:
        while len(self._under_way) > left:
            batch, command, stream = self._under_way.popleft()
            reply = await stream.read()
            if isinstance(reply, NoScriptError):
                self._is_new()
                await stream.send(command.whole)
                self._under_way.append((batch, command, stream))
            elif isinstance(reply, Exception):
                raise reply
            else:
                self._enqueued.update(batch.settled(command.parse(reply)))
