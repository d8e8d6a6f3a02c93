"""What a job is: data. Verbs live on the queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

import msgpack

from redjobs.clock import duration_ms, from_ms
from redjobs.errors import PayloadError, SettingsError
from redjobs.ids import check_name, priority_of

D = TypeVar("D")

#: What a job may wait for: seconds, a list of seconds by attempt.
Backoff = float | tuple[float, ...]

MAX_ERRORS = 5
MAX_ERROR_BYTES = 2_000

#: The newest format of job hashes that this version can run: see docs/versions.md for when to raise it.
KNOWN_FORMAT = 1


class State(StrEnum):
    """Where a job is. A live id is in exactly one of these places."""

    #: Planned, or waiting for its retry.
    SCHEDULED = "scheduled"
    #: Due, waiting for a worker.
    READY = "ready"
    #: A worker has it.
    PROCESSING = "processing"
    #: Done; only jobs that keep a result are remembered.
    COMPLETED = "completed"
    #: Given up, kept for people to look at.
    DEAD = "dead"


class Verdict(StrEnum):
    """What an operation found. True where it did what it was asked."""

    CANCELLED = "cancelled"
    RESCHEDULED = "rescheduled"
    REQUEUED = "requeued"
    DELETED = "deleted"
    RUNNING = "already running"
    WAITING = "not over yet"
    DEAD = "dead"
    COMPLETED = "completed"
    #: Its unique key belongs to a newer job by now.
    DUPLICATE = "its key is held by another job"
    NOT_DEAD = "not dead"
    NOT_FOUND = "not found"

    def __bool__(self) -> bool:
        return self in _DONE


_DONE = frozenset({Verdict.CANCELLED, Verdict.RESCHEDULED, Verdict.REQUEUED, Verdict.DELETED})


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What may be said about one job. None: as the handler says, else the default."""

    priority: int | None = None
    key: str | None = None
    max_attempts: int | None = None
    backoff: Backoff | None = None
    timeout: float | None = None
    result_ttl: float | None = None
    queue: str | None = None

    def over(self, base: JobOptions) -> JobOptions:
        """These options, and those of `base` where these say nothing."""
        if self is NO_OPTIONS:  # nearly always
            return base
        if base is NO_OPTIONS:
            return self
        own = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        return replace(base, **own)


#: What holds where neither the job nor its handler says anything. delayed_job's numbers.
DEFAULTS = JobOptions(priority=0, max_attempts=25)

#: Nothing is said; most jobs share this one.
NO_OPTIONS = JobOptions()
_STORED = ("max_attempts", "backoff", "timeout", "result_ttl")


def make_options(
    *,
    priority: int | None = None,
    key: str | None = None,
    max_attempts: int | None = None,
    backoff: timedelta | float | list[float] | tuple[float, ...] | None = None,
    timeout: timedelta | float | None = None,
    result_ttl: timedelta | float | None = None,
    queue: str | None = None,
) -> JobOptions:
    """Checked options, durations in seconds. Raises SettingsError that names the option."""
    if priority is not None and (isinstance(priority, bool) or not isinstance(priority, int)):
        raise SettingsError(f"priority is an integer (lower runs first), not {priority!r}")
    if priority is not None and abs(priority) > 10**15:
        raise SettingsError(f"priority={priority} is out of range: at most 10**15 either way")
    if max_attempts is not None and (
        isinstance(max_attempts, bool) or not isinstance(max_attempts, int) or max_attempts < 1
    ):
        raise SettingsError(f"max_attempts is a number, 1 (never retry) or more, not {max_attempts!r}")
    if key is not None:
        check_key(key)
    return JobOptions(
        priority=priority,
        key=key,
        max_attempts=max_attempts,
        backoff=_backoff(backoff),
        timeout=_seconds("timeout", timeout),
        result_ttl=_seconds("result_ttl", result_ttl),
        queue=None if queue is None else check_name("queue", queue),
    )


def check_key(key: str) -> str:
    """`key` if it can be a unique key: 1 to 512 characters. Raises SettingsError."""
    if not isinstance(key, str) or not 0 < len(key) <= 512:
        raise SettingsError(f"a unique key is a text of 1 to 512 characters, not {key!r:.80}")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise SettingsError(f"the unique key {key!r:.80} holds half of a character (a surrogate)") from None
    return key


def _seconds(name: str, value: timedelta | float | None) -> float | None:
    if value is None:
        return None
    seconds = _duration(name, value)
    if seconds == 0:
        raise SettingsError(f"{name} must be longer than 0, not {value!r}")
    return seconds


def _duration(name: str, value: timedelta | float) -> float:
    try:
        return duration_ms(value) / 1000
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from None


def _backoff(value: timedelta | float | list[float] | tuple[float, ...] | None) -> Backoff | None:
    if value is None:
        return None
    if callable(value):
        raise SettingsError(
            "a backoff function cannot travel with one job; give it to the handler:"
            " @redjobs.job(backoff=function)"
        )
    if isinstance(value, list | tuple):
        if not value:
            raise SettingsError("a backoff list needs at least one delay")
        return tuple(_duration("backoff", delay) for delay in value)
    return _duration("backoff", value)


def pack_options(options: JobOptions) -> bytes:
    """What a job's hash stores of its options: only what was said, b'' for nothing."""
    if options is NO_OPTIONS:
        return b""
    said = {name: _small(value) for name in _STORED if (value := getattr(options, name)) is not None}
    return bytes(msgpack.packb(said)) if said else b""


def _small(value: Backoff) -> object:
    """Whole seconds as integers: a byte instead of nine, so that the hash stays compact."""
    if isinstance(value, tuple):
        return [_small(delay) for delay in value]
    return int(value) if value == int(value) else value


def unpack_options(data: bytes, *, key: str | None, priority: int) -> JobOptions:
    """The options in a job's hash. Unknown names are from a newer version and do not matter here.

    Raises PayloadError where the bytes are no options.
    """
    found = JobOptions(priority=priority or None, key=key)
    if not data:
        return found
    try:
        said = msgpack.unpackb(data).items()
        return make_options(**{name: value for name, value in said if name in _STORED}).over(found)
    except (ValueError, TypeError, AttributeError, SettingsError, msgpack.UnpackException) as error:
        raise PayloadError(f"the stored options cannot be read: {type(error).__name__}") from None


@dataclass(frozen=True, slots=True)
class JobError:
    """One failed attempt."""

    at_ms: int
    attempt: int
    #: `ValueError: no such user`, in one line.
    error: str
    #: Where it happened, innermost last; no values of variables.
    traceback: str = ""

    @property
    def at(self) -> datetime:
        """When it failed, by the worker's clock."""
        return from_ms(self.at_ms)


def append_error(packed: bytes, error: JobError, *, of_format: int = KNOWN_FORMAT) -> bytes:
    """An error history with one more entry, bounded in count and size, newest last.

    What happened again to the same attempt, such as a handler that is still unknown, replaces
    its entry: it would push the others out. The history of a job of a newer format is not ours to
    cut, nor to begin anew where it cannot be read.
    """
    is_ours = of_format <= KNOWN_FORMAT
    history = [list(entry) for entry in msgpack.unpackb(packed)] if unpack_errors(packed) else []
    if packed and not history and not is_ours:
        return packed
    if history and history[-1][1:3] == [error.attempt, error.error]:
        history.pop()
    history.append(_bounded([error.at_ms, error.attempt, error.error, error.traceback]))
    try:
        return bytes(msgpack.packb(list(map(_bounded, history[-MAX_ERRORS:])) if is_ours else history))
    except (ValueError, OverflowError):  # of what we have not written: it is only history
        return bytes(msgpack.packb(history[-1:])) if is_ours else packed


def _bounded(entry: list[Any]) -> list[Any]:
    """An entry, cut to its size; what another version has put behind the four parts stays if it is small."""
    at_ms, attempt, error, traceback, *more = entry
    return [
        int(at_ms),
        int(attempt),
        str(error).encode(errors="replace")[:MAX_ERROR_BYTES].decode(errors="ignore"),
        str(traceback).encode(errors="replace")[-MAX_ERROR_BYTES:].decode(errors="ignore"),
        *(more if more and len(msgpack.packb(more)) <= MAX_ERROR_BYTES else ()),
    ]


def unpack_errors(packed: bytes) -> tuple[JobError, ...]:
    """The error history in a job's hash; an unreadable one is empty, for it is only history."""
    try:
        entries = msgpack.unpackb(packed) if packed else ()
        return tuple(
            JobError(int(at_ms), int(attempt), str(error), str(traceback))
            for at_ms, attempt, error, traceback, *_ in entries
        )
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException):
        return ()


@dataclass(frozen=True, slots=True)
class Job:
    """A snapshot of one job."""

    id: str
    queue: str
    #: Its handler, `module:qualname`.
    name: str
    state: State
    enqueued_at_ms: int
    run_at_ms: int
    attempt: int = 0
    crashes: int = 0
    options: JobOptions = NO_OPTIONS
    errors: tuple[JobError, ...] = ()
    worker: str | None = None
    started_at_ms: int | None = None
    #: False: `enqueue` found the living job that holds the same unique key, and this is it.
    created: bool = True
    #: The arguments and the result as msgpack; they may hold secrets, so no repr shows them.
    payload: bytes = field(default=b"", repr=False)
    result_payload: bytes | None = field(default=None, repr=False)
    #: When it died or completed, where it has.
    ended_at_ms: int | None = None
    #: Which form its hash has. Of a newer one than `KNOWN_FORMAT` only newer workers make anything.
    format: int = 1

    @property
    def priority(self) -> int:
        """Lower runs first."""
        return priority_of(self.id)

    @property
    def key(self) -> str | None:
        """Its unique key, if it has one."""
        return self.options.key

    @property
    def is_newer(self) -> bool:
        """Whether a newer version has written it, in a form that this one does not know."""
        return self.format > KNOWN_FORMAT

    @property
    def enqueued_at(self) -> datetime:
        """When the server accepted it."""
        return from_ms(self.enqueued_at_ms)

    @property
    def run_at(self) -> datetime:
        """When it is due."""
        return from_ms(self.run_at_ms)


def number_in(raw: Mapping[bytes, bytes], name: bytes, default: D) -> int | D:
    """A number in a job's hash. What somebody else has written there is none, and hides no job."""
    try:
        return int(raw[name])
    except (KeyError, ValueError):
        return default


def job_from_fields(job_id: str, queue: str, state: State, score_ms: int, raw: Mapping[bytes, bytes]) -> Job:
    """The snapshot of a job's hash; `score_ms` is its score where its state has one."""
    text = {name: raw[name].decode(errors="replace") for name in (b"name", b"worker", b"key") if name in raw}
    enqueued_at = number_in(raw, b"enqueued_at", 0)
    run_at = score_ms if state is State.SCHEDULED else number_in(raw, b"run_at", enqueued_at)
    ended = score_ms if state is State.DEAD else number_in(raw, b"completed_at", None)
    key, priority = text.get(b"key"), priority_of(job_id)
    try:
        options = unpack_options(raw.get(b"options", b""), key=key, priority=priority)
    except PayloadError:
        # A worker buries this job; people must be able to look at it all the same.
        options = JobOptions(priority=priority or None, key=key)
    return Job(
        id=job_id,
        queue=queue,
        name=text.get(b"name", ""),
        state=state,
        enqueued_at_ms=enqueued_at,
        run_at_ms=run_at,
        attempt=number_in(raw, b"attempt", 0),
        crashes=number_in(raw, b"crashes", 0),
        options=options,
        errors=unpack_errors(raw.get(b"errors", b"")),
        worker=text.get(b"worker"),
        started_at_ms=number_in(raw, b"started_at", None),
        payload=raw.get(b"args", b""),
        result_payload=raw.get(b"result"),
        ended_at_ms=ended,
        format=number_in(raw, b"format", 1),
    )


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job on its way to the server."""

    id: str
    name: str
    payload: bytes
    options: JobOptions
    #: '' now, '+N' in N ms by the server's clock, 'N' at N ms.
    run_at: str


@dataclass(slots=True)
class Claim:
    """A job that a worker has begun. Not frozen: it is made for every job that runs."""

    id: str
    queue: str
    #: The worker incarnation whose list it stands in, and the token that fences it.
    worker: str
    token: str
    name: str
    payload: bytes
    attempt: int
    crashes: int
    enqueued_at_ms: int
    run_at_ms: int
    started_at_ms: int
    options: bytes
    errors: bytes
    key: str | None
    #: A hash of a newer redjobs says so in this field; its job is left to newer workers.
    format: int
