"""What runs commands for the two kinds of queue: the only place where they differ.

Calls that are made while another one is under way wait for it, and go out together in one round trip:
coroutines of one event loop, or threads that share a queue. Whoever is alone waits for nobody.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.exceptions import NoScriptError, ResponseError

from redjobs.commands import Command
from redjobs.dialogue import LOST, Dialogue, made
from redjobs.flows import Ahead, Flow
from redjobs.settings import Server
from redjobs.shards import Shards
from redjobs.wire import AsyncStream, Stream, Words, exchange, exchange_async

T = TypeVar("T")

#: So many commands are under way at most: of those that enqueue many jobs, a thousand jobs.
_AHEAD = 4
#: So many callers share a round trip at most.
_MOST = 200

_Waiting = tuple[list[Words], "asyncio.Future[list[Any]]"]


class _Asked:
    """What one caller wants sent, and what came of it."""

    __slots__ = ("answer", "appointed", "calls", "error", "turn")

    def __init__(self, calls: list[Words]) -> None:
        self.calls = calls
        self.answer: list[Any] = []
        self.error: BaseException | None = None
        #: Locked until there is an answer, or until it is this caller's turn to send.
        self.turn = threading.Lock()
        self.turn.acquire()
        self.appointed = False


class Driver(Dialogue):
    """Runs commands on one redis-py client. For any thread; survives a fork."""

    def __init__(self, client: redis.Redis, server: Server | None, replicas: int = 0) -> None:
        super().__init__(server, replicas)
        self.client = client
        #: A client of a cluster has none: each of its commands finds its node by itself.
        self._pool: Any = getattr(client, "connection_pool", None)
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._busy = False
        self._waiting: deque[_Asked] = deque()

    def run(self, command: Command[T]) -> T:
        """Send a command, load its script where the server does not have it, read the reply."""
        replies = self._call(self._words(command))
        if isinstance(replies[0], NoScriptError):
            replies = self._call(self._words(command, known=False))
        return self._read(command, replies)

    def drive(self, flow: Flow[T]) -> T:
        """Run the commands that a flow yields; returns what it returns."""
        reply: Any = None
        try:
            while True:
                wanted = flow.send(reply)
                reply = self._run_ahead(wanted.commands) if isinstance(wanted, Ahead) else self.run(wanted)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _run_ahead(self, commands: Iterator[Command[T]]) -> list[T]:
        """Run commands in their order; while the server works on one, the next is made and sent."""
        # The first one alone: most often there is no other, and it brings the script.
        answers = [self.run(command) for command in islice(commands, 1)]
        under_way = deque(islice(commands, 1))
        problem = self._stream(commands, under_way, answers) if under_way and self._pool else None
        # What was lost on the way is sent again, and tried as often as any other call.
        answers += [self.run(command) for command in under_way]
        if problem is not None:
            raise problem
        return answers + [self.run(command) for command in commands]

    def _stream(
        self, commands: Iterator[Command[T]], under_way: deque[Command[T]], answers: list[T]
    ) -> Exception | None:
        """Until all are answered, one cannot be made (which is returned), or the connection is lost."""
        stream, problem = None, None
        try:
            stream = Stream(self._pool)
            stream.send(self._words(under_way[0]))
            more: Command[T] | None = under_way[0]
            while under_way:
                while more is not None and problem is None and len(under_way) < _AHEAD:
                    more, problem = made(commands)
                    if more is not None:
                        under_way.append(more)
                        stream.send(self._words(more))
                replies = stream.read(len(self._words(under_way[0])))
                answers.append(self._of_stream(under_way.popleft(), replies))
        except LOST:
            pass
        finally:
            if stream is not None:
                stream.close()
        return problem

    def _of_stream(self, command: Command[T], replies: list[Any]) -> T:
        known = not isinstance(replies[0], NoScriptError)
        return self._read(command, replies) if known else self.run(command)

    def announce(self, shards: Shards) -> None:
        """Let the CLI and the dashboard know the queue's name; once per process and queue."""
        if words := self._announcement(shards):
            (reply,) = self._call([words])
            if isinstance(reply, Exception):
                raise reply
            self._announced.update(shards.names)

    def _call(self, calls: list[Words]) -> list[Any]:
        try:
            replies = self._share(calls)
        except LOST as error:
            if instead := self._lost(error):
                raise instead from error
            raise
        self._answered = True
        return replies

    def _share(self, calls: list[Words]) -> list[Any]:
        """Send now, or with others that wait, once the call that is under way is over."""
        if self._pid != os.getpid():  # a child: whoever was at it in the parent is not here
            self._begin_anew()
        with self._lock:
            if not self._busy:
                self._busy, asked = True, None
            else:
                asked = _Asked(calls)
                self._waiting.append(asked)
        if asked is None:
            try:
                return self._send(calls)
            finally:
                self._appoint()
        try:
            asked.turn.acquire()
        except BaseException:
            self._leave(asked)
            raise
        if asked.appointed:
            self._send_for_all(asked)
        if asked.error is not None:
            raise asked.error
        return asked.answer

    def _appoint(self) -> None:
        """The line is free: the next who waits sends for all who wait."""
        with self._lock:
            if self._waiting:
                self._waiting[0].appointed = True
                self._waiting[0].turn.release()
            else:
                self._busy = False

    def _leave(self, asked: _Asked) -> None:
        """An exception has ended the waiting: another must take over what was to be done."""
        with self._lock:
            if asked in self._waiting:
                self._waiting.remove(asked)
        if asked.appointed:
            self._appoint()

    def _send_for_all(self, asked: _Asked) -> None:
        with self._lock:
            together = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
        error: BaseException | None = None
        replies: list[Any] = []
        try:
            replies = self._send([words for one in together for words in one.calls])
        except BaseException as problem:
            error = problem
            raise
        finally:
            self._appoint()
            at = 0
            for one in together:
                one.answer, at = replies[at : at + len(one.calls)], at + len(one.calls)
                # What interrupts the sender is no answer for the others: theirs is lost.
                one.error = error if error is None or isinstance(error, Exception) else _interrupted()
                if one is not asked:
                    one.turn.release()

    def _send(self, calls: Sequence[Words]) -> list[Any]:
        if self._pool is not None:
            return exchange(self._pool, calls)
        return [self._alone(words) for words in calls]

    def _alone(self, words: Words) -> Any:
        client: Any = self.client
        try:
            return client.execute_command(*words)
        except ResponseError as error:
            return error


def _interrupted() -> redis.ConnectionError:
    return redis.ConnectionError("the thread that sent this together with its own call was interrupted")


class AsyncDriver(Dialogue):
    """Awaits commands on one redis-py client. For one event loop."""

    def __init__(self, client: redis.asyncio.Redis, server: Server | None, replicas: int = 0) -> None:
        super().__init__(server, replicas)
        self.client = client
        self._pool: Any = getattr(client, "connection_pool", None)
        self._busy = False
        self._waiting: deque[_Waiting] = deque()
        #: Held here, as the loop itself does not.
        self._sender: asyncio.Task[None] | None = None

    async def run(self, command: Command[T]) -> T:
        """Send a command, load its script where the server does not have it, read the reply."""
        replies = await self._call(self._words(command))
        if isinstance(replies[0], NoScriptError):
            replies = await self._call(self._words(command, known=False))
        return self._read(command, replies)

    async def drive(self, flow: Flow[T]) -> T:
        """Run the commands that a flow yields; returns what it returns."""
        reply: Any = None
        while True:
            try:
                wanted = flow.send(reply)
            except StopIteration as stop:
                result: T = stop.value
                return result
            if isinstance(wanted, Ahead):
                reply = await self._run_ahead(wanted.commands)
            else:
                reply = await self.run(wanted)

    async def _run_ahead(self, commands: Iterator[Command[T]]) -> list[T]:
        """Run commands in their order; while the server works on one, the next is made and sent."""
        # The first one alone: most often there is no other, and it brings the script.
        answers = [await self.run(command) for command in islice(commands, 1)]
        under_way = deque(islice(commands, 1))
        problem = await self._stream(commands, under_way, answers) if under_way and self._pool else None
        # What was lost on the way is sent again, and tried as often as any other call.
        answers += [await self.run(command) for command in under_way]
        if problem is not None:
            raise problem
        return answers + [await self.run(command) for command in commands]

    async def _stream(
        self, commands: Iterator[Command[T]], under_way: deque[Command[T]], answers: list[T]
    ) -> Exception | None:
        """Until all are answered, one cannot be made (which is returned), or the connection is lost."""
        stream, problem = None, None
        try:
            stream = await AsyncStream.open(self._pool)
            await stream.send(self._words(under_way[0]))
            more: Command[T] | None = under_way[0]
            while under_way:
                while more is not None and problem is None and len(under_way) < _AHEAD:
                    more, problem = made(commands)
                    if more is not None:
                        under_way.append(more)
                        await stream.send(self._words(more))
                replies = await stream.read(len(self._words(under_way[0])))
                answers.append(await self._of_stream(under_way.popleft(), replies))
        except LOST:
            pass
        finally:
            if stream is not None:
                await stream.close()
        return problem

    async def _of_stream(self, command: Command[T], replies: list[Any]) -> T:
        known = not isinstance(replies[0], NoScriptError)
        return self._read(command, replies) if known else await self.run(command)

    async def announce(self, shards: Shards) -> None:
        """Let the CLI and the dashboard know the queue's name; once per process and queue."""
        if words := self._announcement(shards):
            (reply,) = await self._call([words])
            if isinstance(reply, Exception):
                raise reply
            self._announced.update(shards.names)

    async def _call(self, calls: list[Words]) -> list[Any]:
        try:
            replies = await self._share(calls)
        except LOST as error:
            if instead := self._lost(error):
                raise instead from error
            raise
        self._answered = True
        return replies

    async def _share(self, calls: list[Words]) -> list[Any]:
        """Send now, or with others that wait, once the call that is under way is over."""
        if self._busy:
            answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
            self._waiting.append((calls, answer))
            return await answer
        self._busy = True
        try:
            return await self._send(calls)
        finally:
            if self._waiting:
                self._sender = asyncio.create_task(self._send_for_all())
            else:
                self._busy = False

    async def _send_for_all(self) -> None:
        together: list[_Waiting] = []
        try:
            while self._waiting:
                # Whoever was cancelled meanwhile wants nothing sent any more.
                taken = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
                together = [(calls, answer) for calls, answer in taken if not answer.done()]
                if not together:
                    continue
                try:
                    replies = await self._send([words for calls, _ in together for words in calls])
                except Exception as error:  # noqa: BLE001 - it is each caller's
                    _tell(together, error)
                else:
                    _answer(together, replies)
        finally:
            self._busy = False
            # The loop is closing.
            for _, answer in (*together, *self._waiting):
                answer.cancel()
            self._waiting.clear()

    async def _send(self, calls: Sequence[Words]) -> list[Any]:
        if self._pool is not None:
            return await exchange_async(self._pool, calls)
        return [await self._alone(words) for words in calls]

    async def _alone(self, words: Words) -> Any:
        client: Any = self.client
        try:
            return await client.execute_command(*words)
        except ResponseError as error:
            return error


def _answer(together: Iterable[_Waiting], replies: list[Any]) -> None:
    at = 0
    for calls, answer in together:
        if not answer.done():
            answer.set_result(replies[at : at + len(calls)])
        at += len(calls)


def _tell(together: Iterable[_Waiting], error: Exception) -> None:
    for _, answer in together:
        if not answer.done():
            answer.set_exception(error)
