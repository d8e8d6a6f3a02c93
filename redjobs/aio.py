"""The queue for coroutines: `Queue`'s methods with the same signatures, awaited."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ParamSpec, TypeVar, TypeVarTuple, Unpack, overload

import redis
import redis.asyncio

from redjobs import connect, flows
from redjobs.aiodriver import AsyncDriver
from redjobs.calls import (
    AnyArgs,
    AnyFn,
    Call,
    Delay,
    HandlerOptions,
    Options,
    call_at,
    call_in,
    handler_options,
    new_job,
    options_of,
    run_at_of,
)
from redjobs.errors import ResultTimeout, SettingsError
from redjobs.jobs import NO_OPTIONS, Job, JobOptions, NewJob, State, Verdict
from redjobs.keys import DEFAULT_PREFIX, Keys
from redjobs.registry import Handler, Registry
from redjobs.registry import registry as shared_registry
from redjobs.retry import BackoffFunction
from redjobs.settings import resolve_url
from redjobs.shards import Shards
from redjobs.sweeper import SweepPolicy, SweepResult, sweep_all

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class AsyncQueue:
    """A queue of jobs in Redis, for coroutines of one event loop. See `Queue` for everything else."""

    def __init__(
        self,
        name: str = "default",
        *,
        url: str | None = None,
        client: redis.asyncio.Redis | None = None,
        prefix: str = DEFAULT_PREFIX,
        registry: Registry = shared_registry,
        shards: int | None = None,
        wait_replicas: int = 0,
    ) -> None:
        self.keys = Keys(name, prefix)
        self._shards = Shards.said(name, prefix, shards)
        self.registry = registry
        self._options = NO_OPTIONS
        if client is not None:
            connect.check_client(client)
            if not hasattr(client, "aclose"):
                raise SettingsError(
                    "AsyncQueue takes a client of redis.asyncio; for others, use redjobs.Queue"
                )
            self._driver = AsyncDriver(client, None, wait_replicas)
        else:
            server = resolve_url(url)
            self._driver = AsyncDriver(connect.connect_async(server), server, wait_replicas)

    @property
    def name(self) -> str:
        """The queue's name."""
        return self.keys.queue

    @property
    def redis(self) -> redis.asyncio.Redis:
        """The redis-py client underneath, for what redjobs does not cover (in a cluster: of one node)."""
        return connect.near(self._driver.client, self.keys.ready)

    def __repr__(self) -> str:
        return f"<AsyncQueue {self.name}>"

    def options(self, **options: Unpack[Options]) -> AsyncQueue:
        """As `Queue.options`."""
        made = options_of(options).over(self._options)
        twin = copy.copy(self)
        twin._options = made
        if made.queue not in (None, self.name):
            twin._shards = Shards.named(made.queue, self.keys.prefix)
            twin.keys = twin._shards.whole
        return twin

    async def enqueue(self, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Job:
        """As `Queue.enqueue`."""
        return await self._enqueue(Call(fn, args, kwargs))

    @overload
    async def enqueue_in(
        self, delay: timedelta, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job: ...
    @overload
    async def enqueue_in(self, *, fn: Callable[[], Any], **delay: Unpack[Delay]) -> Job: ...
    @overload
    async def enqueue_in(
        self, *, fn: Callable[[*Ts], Any], args: tuple[*Ts], **delay: Unpack[Delay]
    ) -> Job: ...
    @overload
    async def enqueue_in(
        self, *, fn: AnyFn, args: AnyArgs = (), kwargs: Mapping[str, Any], **delay: Unpack[Delay]
    ) -> Job: ...
    async def enqueue_in(self, *args: Any, **kwargs: Any) -> Job:  # type: ignore[misc]  # mypy: P
        """As `Queue.enqueue_in`."""
        return await self._enqueue(call_in(args, kwargs))

    @overload
    async def enqueue_at(
        self, at: datetime | float, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job: ...
    @overload
    async def enqueue_at(self, *, at: datetime | float, fn: Callable[[], Any]) -> Job: ...
    @overload
    async def enqueue_at(
        self, *, at: datetime | float, fn: Callable[[*Ts], Any], args: tuple[*Ts]
    ) -> Job: ...
    @overload
    async def enqueue_at(
        self, *, at: datetime | float, fn: AnyFn, args: AnyArgs = (), kwargs: Mapping[str, Any]
    ) -> Job: ...
    async def enqueue_at(self, *args: Any, **kwargs: Any) -> Job:  # type: ignore[misc]  # mypy: P
        """As `Queue.enqueue_at`."""
        return await self._enqueue(call_at(args, kwargs))

    async def enqueue_many(self, calls: Iterable[Call]) -> list[Job]:
        """As `Queue.enqueue_many`."""
        with ExitStack() as around:
            new = self.registry.hooks.entered("enqueue", map(self._new, calls), around)
            return await self._driver.enqueue_many(self._shards, new)

    async def _enqueue(self, wanted: Call) -> Job:
        job = self._new(wanted)
        hooks = self.registry.hooks
        if not hooks.has("enqueue"):
            return await self._driver.enqueue(self._shards, job)
        with hooks.around("enqueue", job):
            return await self._driver.enqueue(self._shards, job)

    def _new(self, wanted: Call) -> NewJob:
        return self._shards.placed(new_job(wanted, self.name, self._options, self.registry))

    async def get(self, id_or_key: str) -> Job:
        """As `Queue.get`."""
        return await self._driver.drive(flows.anywhere(self._shards, id_or_key, flows.get))

    def arguments(self, job: Job) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """As `Queue.arguments`."""
        return flows.arguments_of(job, self.registry)

    async def cancel(self, id_or_key: str) -> Verdict:
        """As `Queue.cancel`."""
        return await self._driver.drive(flows.anywhere(self._shards, id_or_key, flows.cancel))

    async def reschedule(
        self,
        id_or_key: str,
        delay: timedelta | float | None = None,
        *,
        at: datetime | float | None = None,
    ) -> Verdict:
        """As `Queue.reschedule`."""
        run_at = run_at_of(delay, at)
        verb = partial(flows.reschedule, run_at=run_at)
        return await self._driver.drive(flows.anywhere(self._shards, id_or_key, verb))

    async def requeue(self, job_id: str) -> Verdict:
        """As `Queue.requeue`."""
        return await self._driver.drive(flows.anywhere(self._shards, job_id, flows.requeue))

    async def delete(self, job_id: str) -> Verdict:
        """As `Queue.delete`."""
        return await self._driver.drive(flows.anywhere(self._shards, job_id, flows.delete))

    async def sweep(self, policy: SweepPolicy | None = None) -> SweepResult:
        """As `Queue.sweep`."""
        return await self._driver.drive(sweep_all(self._shards, policy or SweepPolicy()))

    async def result(self, job_id: str, *, timeout: timedelta | float = 0) -> Any:  # noqa: ASYNC109 - as Queue
        """As `Queue.result`."""
        pauses = flows.result_pauses(timeout)
        while True:
            job = await self.get(job_id)
            if job.state in (State.COMPLETED, State.DEAD):
                return flows.result_of(job, self.registry)
            pause = next(pauses, None)
            if pause is None:
                raise ResultTimeout(f"job {job_id} is {job.state} still")
            await asyncio.sleep(pause)

    @overload
    def job(self, fn: Callable[P, R], /) -> AsyncJobFunction[P, R]: ...
    @overload
    def job(
        self, **options: Unpack[HandlerOptions]
    ) -> Callable[[Callable[P, R]], AsyncJobFunction[P, R]]: ...
    def job(self, fn: Any = None, /, **options: Any) -> Any:  # type: ignore[misc]  # mypy: as above
        """As `Queue.job`; the handler's `enqueue*` are awaited."""
        made, function = handler_options(options)

        def decorate(fn: Callable[P, R]) -> AsyncJobFunction[P, R]:
            handler = AsyncJobFunction(fn, made, function, self)
            self.registry.add(handler)
            return handler

        return decorate if fn is None else decorate(fn)

    async def close(self) -> None:
        """As `Queue.close`."""
        await self._driver.client.aclose()


class AsyncJobFunction(Handler[P, R]):
    """A handler with the verbs of its asynchronous queue."""

    def __init__(
        self,
        fn: Callable[P, R],
        options: JobOptions,
        backoff: BackoffFunction | None,
        queue: AsyncQueue,
    ) -> None:
        super().__init__(fn, options, backoff)
        self._queue = queue
        self._said: Options = {"queue": options.queue} if options.queue else {}

    @property
    def queue(self) -> AsyncQueue:
        """The queue that its `queue` option names; else the one it is bound to."""
        return self._queue.options(**self._said) if self._said else self._queue

    def options(self, **options: Unpack[Options]) -> AsyncJobFunction[P, R]:
        """This handler with options for what is enqueued through it, as `Queue.options` takes them."""
        options_of(options)
        twin = copy.copy(self)
        twin._said = {**self._said, **options}
        return twin

    async def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Run it on a worker, as soon as one is free."""
        return await self.queue.enqueue(self, *args, **kwargs)

    async def enqueue_in(self, delay: timedelta, /, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Run it on a worker after `delay`."""
        return await self.queue.enqueue_in(delay, self, *args, **kwargs)

    async def enqueue_at(self, at: datetime | float, /, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Run it on a worker at an aware datetime or POSIX timestamp."""
        return await self.queue.enqueue_at(at, self, *args, **kwargs)
