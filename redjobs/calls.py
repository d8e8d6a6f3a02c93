"""From a function and its arguments to a job that can be sent: pure, for both drivers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, ParamSpec, TypedDict, Unpack

from redjobs.clock import duration_ms, moment_ms
from redjobs.errors import SettingsError, closest
from redjobs.ids import new_id
from redjobs.jobs import NO_OPTIONS, JobOptions, NewJob, make_options
from redjobs.registry import Registry
from redjobs.retry import BackoffFunction

P = ParamSpec("P")

#: What the keyword forms take together with `kwargs=`, where nothing can be checked.
AnyFn = Callable[..., Any]
AnyArgs = tuple[Any, ...] | list[Any]

_NOW = ""


class Delay(TypedDict, total=False):
    """The units of `enqueue_in` in its keyword form; several add up."""

    weeks: float
    days: float
    hours: float
    minutes: float
    seconds: float


class _Common(TypedDict, total=False):
    priority: int | None
    max_attempts: int | None
    timeout: timedelta | float | None
    result_ttl: timedelta | float | None


class CallOptions(_Common, total=False):
    """What may be said of one call among those of `enqueue_many`."""

    key: str | None
    backoff: timedelta | float | list[float] | tuple[float, ...] | None


class Options(CallOptions, total=False):
    """What may be said of the jobs that are enqueued: see `Queue.options`."""

    queue: str | None


class HandlerOptions(_Common, total=False):
    """What may be said of a handler: see `Queue.job`."""

    queue: str | None
    backoff: timedelta | float | list[float] | tuple[float, ...] | BackoffFunction | None


_UNITS = tuple(Delay.__annotations__)
_OPTIONS = tuple(field.name for field in fields(JobOptions))


def options_of(said: Mapping[str, Any]) -> JobOptions:
    """What `options` was given, checked. Raises SettingsError that names the option."""
    for name in said:
        if name not in _OPTIONS:
            near = closest(name, _OPTIONS)
            hint = f"did you mean {near[0]}? " if near else ""
            raise SettingsError(f"there is no option {name!r}; {hint}There are {', '.join(_OPTIONS)}")
    return make_options(**said)


def handler_options(said: Mapping[str, Any]) -> tuple[JobOptions, BackoffFunction | None]:
    """What a decorator was given, checked."""
    if "key" in said:
        raise SettingsError("key= belongs to one job, not to its handler: use .options(key=...)")
    backoff = said.get("backoff")
    if not callable(backoff):
        return options_of(said), None
    return options_of({name: said[name] for name in said if name != "backoff"}), backoff


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments, to be enqueued together with others by `enqueue_many`.

    >>> from datetime import timedelta
    >>> call(print, "hello").in_(timedelta(days=3)).run_at
    '+259200000'
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] | None = None
    #: '' now, '+N' in N ms, 'N' at N ms: what `NewJob.run_at` holds.
    run_at: str = _NOW
    options: JobOptions = NO_OPTIONS

    def in_(self, delay: timedelta | float) -> Call:
        """The same call, `delay` (a timedelta or seconds) after it is enqueued."""
        return replace(self, run_at=f"+{duration_ms(delay)}")

    def at(self, moment: datetime | float) -> Call:
        """The same call, at an aware datetime or a POSIX timestamp."""
        return replace(self, run_at=str(moment_ms(moment)))

    def with_options(self, **options: Unpack[CallOptions]) -> Call:
        """The same call with options, as `queue.options` takes them; all but `queue`."""
        made = options_of(options)
        if made.queue is not None:
            raise SettingsError("enqueue_many sends to one queue: use queue.options(queue=...)")
        return replace(self, options=made.over(self.options))


def call(fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Call:
    """A call for `enqueue_many`, checked by type checkers like `enqueue`."""
    return Call(fn, args, kwargs)


def call_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """What `enqueue_in` was given, in either form."""
    if args:
        delay, *rest = args
        if not rest or not callable(rest[0]):
            raise SettingsError(
                "enqueue_in takes a delay, the function and its arguments:"
                " enqueue_in(timedelta(days=3), fn, ...) or enqueue_in(days=3, fn=fn, args=(...,))"
            )
        return Call(rest[0], tuple(rest[1:]), kwargs).in_(delay)
    units = {unit: kwargs.pop(unit) for unit in _UNITS if unit in kwargs}
    if not units:
        raise SettingsError("enqueue_in needs a delay: weeks=, days=, hours=, minutes= or seconds=")
    wanted = _keyword_form("enqueue_in", kwargs)
    try:
        delay = timedelta(**units)
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingsError(f"{', '.join(f'{u}={n!r}' for u, n in units.items())}: {error}") from None
    return wanted.in_(delay)


def call_at(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """What `enqueue_at` was given, in either form."""
    if args:
        moment, *rest = args
        if not rest or not callable(rest[0]):
            raise SettingsError(
                "enqueue_at takes a moment, the function and its arguments:"
                " enqueue_at(moment, fn, ...) or enqueue_at(at=moment, fn=fn, args=(...,))"
            )
        return Call(rest[0], tuple(rest[1:]), kwargs).at(moment)
    if "at" not in kwargs:
        raise SettingsError("enqueue_at needs a moment: at=")
    moment = kwargs.pop("at")
    return _keyword_form("enqueue_at", kwargs).at(moment)


def _keyword_form(verb: str, given: dict[str, Any]) -> Call:
    unknown = set(given) - {"fn", "args", "kwargs"}
    if unknown or not callable(given.get("fn")):
        problem = f"does not know {', '.join(sorted(unknown))}" if unknown else "needs fn="
        raise SettingsError(
            f"{verb} in its keyword form {problem}; the function's arguments go into"
            f" args=(...,) and kwargs={{...}}"
        )
    args, kwargs = given.get("args", ()), given.get("kwargs") or {}
    if not isinstance(args, tuple | list):
        raise SettingsError(f"args is a tuple, like args=(7,), and not a {type(args).__name__}")
    if not isinstance(kwargs, Mapping):
        raise SettingsError(f"kwargs is a dict, like kwargs={{'a': 7}}, and not a {type(kwargs).__name__}")
    return Call(given["fn"], tuple(args), kwargs)


def new_job(wanted: Call, queue: str, options: JobOptions, registry: Registry) -> NewJob:
    """The job for a call; `options` are those it is enqueued with.

    Raises HandlerError where the function cannot be a job, and PayloadError where the
    arguments do not fit its signature or cannot be encoded.
    """
    handler = registry.handler_of(wanted.fn)
    kwargs = wanted.kwargs or {}
    handler.check_call(wanted.args, kwargs)
    said = wanted.options.over(options)
    priority = said.priority if said.priority is not None else registry.defaults(handler, queue).priority
    stored = priority or None
    if said.priority != stored or said.queue is not None:
        # What is not stored is not said either: so a job reads the same when it is looked up.
        said = replace(said, priority=stored, queue=None)
    payload = registry.codec.encode_call(wanted.args, kwargs)
    return NewJob(new_id(priority or 0), handler.name, payload, said, wanted.run_at)


def run_at_of(delay: timedelta | float | None, at: datetime | float | None) -> str:
    """`NewJob.run_at` for a delay from now or a moment; exactly one of them is given."""
    if (delay is None) == (at is None):
        raise SettingsError("give either a delay from now, or a moment with at=")
    return f"+{duration_ms(delay)}" if delay is not None else str(moment_ms(at or 0))
