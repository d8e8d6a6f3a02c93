"""`redjobs.drivers` for coroutines."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, cast

import redis.asyncio
from redis.exceptions import NoScriptError, ResponseError

from redjobs import commands, flows
from redjobs.ahead import AsyncBulk
from redjobs.commands import Command, Duplicate, Round
from redjobs.drivers import LOST, MOST, BaseDriver
from redjobs.errors import NotReplicated, ServerUnavailable
from redjobs.flows import Flow, Taken
from redjobs.jobs import Job, NewJob
from redjobs.settings import Server
from redjobs.shards import Shards
from redjobs.wire import Words, exchange_async

T = TypeVar("T")

_Waiting = tuple[list[Words], "asyncio.Future[list[Any]]"]


class AsyncDriver(BaseDriver):
    """Awaits commands on one redis-py client. For one event loop."""

    def __init__(self, client: redis.asyncio.Redis, server: Server | None, replicas: int = 0) -> None:
        super().__init__(client, server, replicas)
        self.client = client
        self._busy = False
        self._waiting: deque[_Waiting] = deque()
        #: Held here, as the loop itself does not.
        self._sender: asyncio.Task[None] | None = None

    async def run(self, command: Command[T]) -> T:
        """Send a command, load its script where the server does not have it, read the reply."""
        driver = self._at(command.keys[0])
        replies = await driver._call(self._words(command))
        if isinstance(replies[0], NoScriptError):
            self._announced.clear()  # a server that was started anew may have lost that, too
            replies = await driver._call(self._words(command, known=False))
        return self._read(command, replies)

    async def drive(self, flow: Flow[T]) -> T:
        """Run the commands that a flow yields; returns what it returns."""
        reply: Any = None
        while True:
            try:
                command = flow.send(reply)
            except StopIteration as stop:
                result: T = stop.value
                return result
            reply = await self.run(command)

    async def announce(self, shards: Shards, *, before: bool = True) -> None:
        """Let workers and the CLI know the queue's name, now and then: `before` an enqueue, or after it."""
        if words := self._announcement(shards, before=before):
            outcome: object
            try:
                (outcome,) = await self._at(str(words[1]))._call([words])
            except (*LOST, ServerUnavailable) as error:
                outcome = error
            except BaseException:  # an interrupt, or a task that is cancelled
                self._unsaid(shards)
                raise
            self._heed(shards, outcome, before=before)

    async def enqueue(self, shards: Shards, job: NewJob) -> Job:
        """Enqueue one job. One round trip, and one or two more where its unique key is taken."""
        await self.announce(shards)
        keys = shards.of(job.id)
        try:
            (found,) = await self.run(commands.enqueue(keys, [job]))
            if isinstance(found, Duplicate):
                return await self.drive(flows.existing(keys, job, found.holder))
        except LOST as error:
            raise flows.enqueue_unknown([job.id], error) from error
        await self.announce(shards, before=False)  # again, where the server turned out to be another one
        return found

    async def enqueue_many(self, shards: Shards, jobs: Iterable[NewJob]) -> list[Job]:
        """Enqueue many jobs: the next call is made while the server works on the last one."""
        await self.announce(shards)
        bulk = AsyncBulk(self.run, self._stream_pool, self._announced.clear)
        try:
            stored = await bulk.store(flows.batches(shards, jobs))
            found = [await self._existing(one, bulk) if isinstance(one, Taken) else one for one in stored]
        except (*LOST, ServerUnavailable) as error:
            if bulk.did_nothing(error):
                raise
            raise flows.enqueue_unknown(bulk.sent, error) from error
        await self.announce(shards, before=False)  # again, where the server turned out to be another one
        bulk.doubts.tell()
        return found

    async def _existing(self, taken: Taken, bulk: AsyncBulk) -> Job:
        try:
            return await self.drive(flows.existing(taken.keys, taken.job, taken.holder))
        except NotReplicated as error:
            (job,) = bulk.doubts.noted(error)
            return cast(Job, job)

    async def _call(self, calls: list[Words]) -> list[Any]:
        try:
            replies = await self._share(calls)
        except LOST as error:
            if instead := self._lost(error):
                raise instead from error
            raise
        self._heard.yet = True
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
                taken = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
                together = [(calls, answer) for calls, answer in taken if not answer.done()]
                if not together:
                    continue
                try:
                    replies = await self._send_together([words for calls, _ in together for words in calls])
                except Exception as error:  # noqa: BLE001 - it is each caller's
                    _tell(together, error)
                else:
                    _answer(together, replies)
                # Whoever was answered may have more to say, which goes with the next.
                await asyncio.sleep(0)
        finally:
            self._busy = False
            # The loop is closing.
            for _, answer in (*together, *self._waiting):
                answer.cancel()
            self._waiting.clear()

    async def _send_together(self, calls: Sequence[Words], *, alone: bool = False) -> list[Any]:
        together = Round(calls, alone=alone)
        if refused := together.read(await self._send(together.words)):
            replies = await self._send_together([calls[place] for place in refused], alone=True)
            for place, reply in zip(refused, replies, strict=True):
                together.answers[place] = reply
        return together.answers

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
