"""Hooks: your code at the moments of a job's life. None of them can lose a job: what it raises is logged.

    @redjobs.on("dead")
    def tell_the_team(job: CurrentJob, error: JobError) -> None: ...

    @redjobs.on("run")
    def traced(job: CurrentJob) -> Iterator[None]:
        with tracer.start_as_current_span(job.name):
            yield

or a class with methods of these names, `redjobs.add_plugin(Plugin())`:

    enqueue(job: NewJob)                around sending it; a generator goes on when it is sent
    claim(job: CurrentJob)              a worker has begun it
    run(job: CurrentJob)                around the handler; a generator goes on when it is over
    success(job: CurrentJob, seconds)   it returned
    error(job: CurrentJob, exception)   it raised
    dead(job: CurrentJob, error)        it was given up
    worker_start(worker)  worker_stop(worker)   in each process that runs jobs
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Final, Literal, TypeVar, overload

from redjobs.current import CurrentJob
from redjobs.errors import JobCancelled, JobInterrupted, JobTimeout, SettingsError
from redjobs.jobs import JobError, NewJob

logger = logging.getLogger("redjobs.hooks")

Event = Literal["enqueue", "claim", "run", "success", "error", "dead", "worker_start", "worker_stop"]
EVENTS: Final[tuple[str, ...]] = (
    "enqueue",
    "claim",
    "run",
    "success",
    "error",
    "dead",
    "worker_start",
    "worker_stop",
)
_AROUND: Final = frozenset({"enqueue", "run"})

#: What is called at each event, which the decorator leaves as it is.
F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E", bound=Callable[[NewJob], Any])
J = TypeVar("J", bound=Callable[[CurrentJob], Any])
S = TypeVar("S", bound=Callable[[CurrentJob, float], Any])
X = TypeVar("X", bound=Callable[[CurrentJob, BaseException], Any])
D = TypeVar("D", bound=Callable[[CurrentJob, JobError], Any])
W = TypeVar("W", bound=Callable[[Any], Any])
T = TypeVar("T")


class Hooks:
    """The hooks of one program, by event."""

    def __init__(self) -> None:
        self._of_event: dict[str, list[Callable[..., Any]]] = {}

    @overload
    def on(self, event: Literal["enqueue"]) -> Callable[[E], E]: ...
    @overload
    def on(self, event: Literal["claim", "run"]) -> Callable[[J], J]: ...
    @overload
    def on(self, event: Literal["success"]) -> Callable[[S], S]: ...
    @overload
    def on(self, event: Literal["error"]) -> Callable[[X], X]: ...
    @overload
    def on(self, event: Literal["dead"]) -> Callable[[D], D]: ...
    @overload
    def on(self, event: Literal["worker_start", "worker_stop"]) -> Callable[[W], W]: ...
    def on(self, event: Event) -> Callable[[F], F]:
        """A decorator that calls a function at each event."""

        def add(fn: F) -> F:
            self.add(event, fn)
            return fn

        return add

    def add(self, event: str, fn: Callable[..., Any]) -> None:
        """Call `fn` at each event. Raises SettingsError for an event that there is not."""
        if event not in EVENTS:
            raise SettingsError(f"there is no hook {event!r}; there are {', '.join(EVENTS)}")
        if inspect.isgeneratorfunction(fn) and event not in _AROUND:
            raise SettingsError(f"a hook of {event!r} cannot be a generator; those of enqueue and run can")
        self._of_event.setdefault(event, []).append(fn)

    def add_plugin(self, plugin: object) -> None:
        """Call the methods of an object that have the names of events."""
        found = [event for event in EVENTS if callable(getattr(plugin, event, None))]
        if not found:
            raise SettingsError(f"{plugin!r} has no method of a hook's name: {', '.join(EVENTS)}")
        for event in found:
            self.add(event, getattr(plugin, event))

    def clear(self) -> None:
        """Forget all hooks: for tests."""
        self._of_event.clear()

    def has(self, event: str) -> bool:
        """Whether anybody listens: what makes unused hooks cost nothing."""
        return event in self._of_event

    def fire(self, event: str, *facts: Any) -> None:
        """Call the hooks of an event."""
        for fn in self._of_event.get(event, ()):
            try:
                fn(*facts)
            except BaseException:
                logger.exception("a hook of %s failed: %r", event, fn)

    @contextlib.contextmanager
    def around(self, event: str, *facts: Any) -> Iterator[None]:
        """Call the hooks of an event, and let those that are generators go on afterwards.

        What happens inside is thrown into them and goes its own way: a hook cannot swallow it.
        """
        entered: list[tuple[Callable[..., Any], Generator[Any, Any, Any]]] = []
        for fn in self._of_event.get(event, ()):
            try:
                started = fn(*facts)
                if inspect.isgenerator(started):
                    next(started)
                    entered.append((fn, started))
            except BaseException as error:
                if _is_the_programs(error, event):
                    self._leave(event, entered, error)
                    raise
                logger.exception("a hook of %s failed: %r", event, fn)
        try:
            yield
        except BaseException as inside:
            self._leave(event, entered, inside)
            raise
        else:
            self._leave(event, entered, None)

    def entered(self, event: str, facts: Iterable[T], around: contextlib.ExitStack) -> Iterable[T]:
        """The same facts; as each passes by, the hooks are called, and go on when `around` ends."""
        if not self.has(event):
            return facts

        def entering() -> Iterator[T]:
            for fact in facts:
                around.enter_context(self.around(event, fact))
                yield fact

        return entering()

    def _leave(
        self,
        event: str,
        entered: list[tuple[Callable[..., Any], Generator[Any, Any, Any]]],
        inside: BaseException | None,
    ) -> None:
        for fn, generator in reversed(entered):
            try:
                if inside is None:
                    next(generator, None)
                else:
                    with contextlib.suppress(StopIteration):
                        generator.throw(inside)
            except BaseException as error:
                if error is not inside:
                    logger.exception("a hook of %s failed: %r", event, fn)


def _is_the_programs(error: BaseException, event: str) -> bool:
    """Whether this only happened to pass through a hook: what stops a job, or who enqueues one."""
    if event == "run":
        return isinstance(error, JobTimeout | JobCancelled | JobInterrupted)
    return not isinstance(error, Exception)
