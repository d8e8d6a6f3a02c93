"""The queue for ordinary (synchronous) code."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ParamSpec, TypeVar, TypeVarTuple, Unpack, overload

import redis

from redjobs import connect, flows
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
from redjobs.drivers import Driver
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


class Queue:
    """A queue of jobs in Redis. Threads may share it, and it survives a fork.

    `url` is `redis://`, `rediss://`, `redis+sentinel://`, `redis+cluster://`, `unix://` or
    `embedded://DIR`; without it `$REDJOBS_URL` and `$REDIS_URL` are asked. Instead, `client` may be
    a redis-py client of your own (without `decode_responses`). `shards` spreads the queue over so
    many parts (by default one), which may be on different nodes of a cluster: order is then per part. With
    `wait_replicas`, whoever enqueues waits until so many replicas have the job, or raises
    NotReplicated. Nothing is connected before the first call.

    All methods that enqueue raise HandlerError and PayloadError for what cannot be a job,
    ServerUnavailable when nothing answers, EnqueueUnknown when the reply was lost, and redis-py's
    own errors for the rest.
    """

    def __init__(
        self,
        name: str = "default",
        *,
        url: str | None = None,
        client: redis.Redis | None = None,
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
            if hasattr(client, "aclose"):
                raise SettingsError("this client is for coroutines, and so is redjobs.AsyncQueue")
            self._driver = Driver(client, None, wait_replicas)
        else:
            server = resolve_url(url)
            self._driver = Driver(connect.connect(server), server, wait_replicas)

    @property
    def name(self) -> str:
        """The queue's name."""
        return self.keys.queue

    @property
    def redis(self) -> redis.Redis:
        """The redis-py client underneath, for what redjobs does not cover (in a cluster: of one node)."""
        return connect.near(self._driver.client, self.keys.ready)

    def __repr__(self) -> str:
        return f"<Queue {self.name}>"

    def options(self, **options: Unpack[Options]) -> Queue:
        """This queue with options for what is enqueued through it.

        priority: int, lower runs first. key: unique while its job lives; what a second enqueue
        gets is the job that is there. max_attempts: int. backoff: seconds or a list of seconds
        by attempt. timeout, result_ttl: timedelta or seconds. queue: another queue's name; it has
        the shards that were last said of it in this process.
        """
        made = options_of(options).over(self._options)
        twin = copy.copy(self)
        twin._options = made
        if made.queue not in (None, self.name):
            twin._shards = Shards.named(made.queue, self.keys.prefix)
            twin.keys = twin._shards.whole
        return twin

    # Enqueue -------------------------------------------------------------------------------

    def enqueue(self, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Run `fn(*args, **kwargs)` on a worker, as soon as one is free."""
        return self._enqueue(Call(fn, args, kwargs))

    @overload
    def enqueue_in(
        self, delay: timedelta, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job: ...
    @overload
    def enqueue_in(self, *, fn: Callable[[], Any], **delay: Unpack[Delay]) -> Job: ...
    @overload
    def enqueue_in(self, *, fn: Callable[[*Ts], Any], args: tuple[*Ts], **delay: Unpack[Delay]) -> Job: ...
    @overload
    def enqueue_in(
        self, *, fn: AnyFn, args: AnyArgs = (), kwargs: Mapping[str, Any], **delay: Unpack[Delay]
    ) -> Job: ...
    def enqueue_in(self, *args: Any, **kwargs: Any) -> Job:  # type: ignore[misc]  # mypy: P
        """Run a function after a delay, which the server measures.

        `enqueue_in(timedelta(days=3), fn, 7, template="gentle")`: everything after the function
        goes to the function. Or `enqueue_in(days=3, fn=fn, args=(7,), kwargs={...})`.
        """
        return self._enqueue(call_in(args, kwargs))

    @overload
    def enqueue_at(
        self, at: datetime | float, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job: ...
    @overload
    def enqueue_at(self, *, at: datetime | float, fn: Callable[[], Any]) -> Job: ...
    @overload
    def enqueue_at(self, *, at: datetime | float, fn: Callable[[*Ts], Any], args: tuple[*Ts]) -> Job: ...
    @overload
    def enqueue_at(
        self, *, at: datetime | float, fn: AnyFn, args: AnyArgs = (), kwargs: Mapping[str, Any]
    ) -> Job: ...
    def enqueue_at(self, *args: Any, **kwargs: Any) -> Job:  # type: ignore[misc]  # mypy: P
        """Run a function at an aware datetime or POSIX timestamp; a past one is now.

        `enqueue_at(moment, fn, 7)`, or `enqueue_at(at=moment, fn=fn, args=(7,), kwargs={...})`.
        """
        return self._enqueue(call_at(args, kwargs))

    def enqueue_many(self, calls: Iterable[Call]) -> list[Job]:
        """Enqueue many calls, 160 in each call of the server: `enqueue_many(call(fn, n) for n in ...)`.

        A call may have its own time and options: `call(fn, n).in_(delay).with_options(key=...)`.
        When an error stops it half-way, what was sent before stays enqueued; a call is on its way
        before the last one is answered. NotReplicated stops nothing: it is raised when all are
        accepted, and names those that no replica confirmed, which cost a second for each call.
        """
        with ExitStack() as around:
            new = self.registry.hooks.entered("enqueue", map(self._new, calls), around)
            return self._driver.enqueue_many(self._shards, new)

    def _enqueue(self, wanted: Call) -> Job:
        job = self._new(wanted)
        hooks = self.registry.hooks
        if not hooks.has("enqueue"):
            return self._driver.enqueue(self._shards, job)
        with hooks.around("enqueue", job):
            return self._driver.enqueue(self._shards, job)

    def _new(self, wanted: Call) -> NewJob:
        return self._shards.placed(new_job(wanted, self.name, self._options, self.registry))

    # One job -------------------------------------------------------------------------------

    def get(self, id_or_key: str) -> Job:
        """A snapshot of a job, by id or by the unique key that it holds. Raises JobNotFound."""
        return self._driver.drive(flows.anywhere(self._shards, id_or_key, flows.get))

    def arguments(self, job: Job) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments in a snapshot. Raises PayloadError where they cannot be decoded."""
        return flows.arguments_of(job, self.registry)

    def cancel(self, id_or_key: str) -> Verdict:
        """Forget a job that has not begun. O(log N) where scheduled, O(N) where ready.

        One that is running is `RUNNING`, and is asked to stop: see JobCancelled. A call whose reply is
        lost is made again, and may then say `NOT_FOUND` of what it has done itself; as may `delete`.
        """
        return self._driver.drive(flows.anywhere(self._shards, id_or_key, flows.cancel))

    def reschedule(
        self,
        id_or_key: str,
        delay: timedelta | float | None = None,
        *,
        at: datetime | float | None = None,
    ) -> Verdict:
        """Give a job that has not begun another time: a delay from now, or `at` a moment.

        O(log N) where scheduled, O(N) where ready.
        """
        run_at = run_at_of(delay, at)
        verb = partial(flows.reschedule, run_at=run_at)
        return self._driver.drive(flows.anywhere(self._shards, id_or_key, verb))

    def requeue(self, job_id: str) -> Verdict:
        """Give a dead job another life: ready now, its attempts counted from the start."""
        return self._driver.drive(flows.anywhere(self._shards, job_id, flows.requeue))

    def delete(self, job_id: str) -> Verdict:
        """Forget a job that is over: dead, or completed with its result."""
        return self._driver.drive(flows.anywhere(self._shards, job_id, flows.delete))

    def sweep(self, policy: SweepPolicy | None = None) -> SweepResult:
        """One maintenance pass, as workers do by themselves: promote, recover, trim. Bounded calls."""
        return self._driver.drive(sweep_all(self._shards, policy or SweepPolicy()))

    def result(self, job_id: str, *, timeout: timedelta | float = 0) -> Any:
        """What a job returned that was enqueued with `result_ttl`, waiting up to `timeout`.

        Raises JobFailed if it is dead, JobNotFound if there is no such job (any more), and
        ResultTimeout when the time is over; the job goes on. Asks the server up to 20 times
        a second while it waits.
        """
        pauses = flows.result_pauses(timeout)
        while True:
            job = self.get(job_id)
            if job.state in (State.COMPLETED, State.DEAD):
                return flows.result_of(job, self.registry)
            pause = next(pauses, None)
            if pause is None:
                raise ResultTimeout(f"job {job_id} is {job.state} still")
            time.sleep(pause)

    # Handlers ------------------------------------------------------------------------------

    @overload
    def job(self, fn: Callable[P, R], /) -> JobFunction[P, R]: ...
    @overload
    def job(self, **options: Unpack[HandlerOptions]) -> Callable[[Callable[P, R]], JobFunction[P, R]]: ...
    def job(self, fn: Any = None, /, **options: Any) -> Any:  # type: ignore[misc]  # mypy: as above
        """A decorator: the function may be run by workers, and has `enqueue*` of this queue.

        Takes what `options` takes except `key`; `backoff` may also be a function of the
        attempt and the exception. What a single job says goes before what its handler says.
        """
        return _decorate(self, self.registry, fn, options)

    def close(self) -> None:
        """Close the client's connections. The queue may be used again."""
        self._driver.client.close()


class JobFunction(Handler[P, R]):
    """A handler with the verbs of its queue."""

    def __init__(
        self,
        fn: Callable[P, R],
        options: JobOptions,
        backoff: BackoffFunction | None,
        queue: Queue | None,
    ) -> None:
        super().__init__(fn, options, backoff)
        self._queue = queue
        self._said: Options = {"queue": options.queue} if options.queue else {}

    @property
    def queue(self) -> Queue:
        """The queue that its `queue` option names; else the one it is bound to, or `default`."""
        found = self._queue or default_queue(self._said.get("queue") or "default")
        return found.options(**self._said) if self._said else found

    def options(self, **options: Unpack[Options]) -> JobFunction[P, R]:
        """This handler with options for what is enqueued through it, as `Queue.options` takes them."""
        options_of(options)
        twin = copy.copy(self)
        twin._said = {**self._said, **options}
        return twin

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Run it on a worker, as soon as one is free."""
        return self.queue.enqueue(self, *args, **kwargs)

    def enqueue_in(self, delay: timedelta, /, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Run it on a worker after `delay`."""
        return self.queue.enqueue_in(delay, self, *args, **kwargs)

    def enqueue_at(self, at: datetime | float, /, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Run it on a worker at an aware datetime or POSIX timestamp."""
        return self.queue.enqueue_at(at, self, *args, **kwargs)


_default_queues: dict[str, Queue] = {}


def default_queue(name: str) -> Queue:
    """The queue of this name at the environment's URL, one per process, with the shards last said of it."""
    found, shards = _default_queues.get(name) or Queue(name), Shards.named(name, DEFAULT_PREFIX)
    if found._shards.parts != shards.parts:
        found = copy.copy(found)
        found._shards = shards
    _default_queues[name] = found
    return found


@overload
def job(fn: Callable[P, R], /) -> JobFunction[P, R]: ...
@overload
def job(**options: Unpack[HandlerOptions]) -> Callable[[Callable[P, R]], JobFunction[P, R]]: ...
def job(fn: Any = None, /, **options: Any) -> Any:
    """A decorator like `Queue.job` that binds to a queue later.

    `fn.enqueue(...)` goes to the queue that its `queue` option names, by default `default`, at
    the environment's URL; `queue.enqueue(fn, ...)` of any queue works as well.
    """
    return _decorate(None, shared_registry, fn, options)


def _decorate(queue: Queue | None, registry: Registry, fn: Any, options: dict[str, Any]) -> Any:
    made, function = handler_options(options)

    def decorate(fn: Callable[P, R]) -> JobFunction[P, R]:
        handler = JobFunction(fn, made, function, queue)
        registry.add(handler)
        return handler

    return decorate if fn is None else decorate(fn)
