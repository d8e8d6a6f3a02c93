"""One job on its way through a worker: from claim to decision."""

from __future__ import annotations

import time
import traceback
from collections.abc import Awaitable, Callable
from types import CoroutineType
from typing import Any

from redjobs.current import CurrentJob, current
from redjobs.errors import JobTimeout, PayloadError, Retry, Signal, Snooze
from redjobs.hooks import Hooks
from redjobs.jobs import KNOWN_FORMAT, Claim, JobError, JobOptions, unpack_errors, unpack_options
from redjobs.registry import Handler, Registry
from redjobs.retry import (
    MAX_CRASHES,
    Completed,
    Decision,
    Failed,
    Outcome,
    Poison,
    RunAgain,
    Unknown,
    Unreadable,
    decide,
)
from redjobs.worker.slots import BURY

#: After its timeout a job has so long to clean up; then its process is killed.
HARD_SECONDS = 0.5

_NO_OPTIONS = JobOptions()
_FAILURES = (Failed, Unreadable, Poison)


class Work:
    """A claim, the call it stands for, and what came of it. One is made for every job that runs."""

    __slots__ = (
        "args",
        "blocked_seconds",
        "cancelled",
        "claim",
        "claimed_at",
        "decision",
        "finished_at",
        "handler",
        "interrupt",
        "interrupted",
        "key",
        "kwargs",
        "lost",
        "options",
        "outcome",
        "started_at",
        "stops",
    )

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        #: Which claim of which job this is.
        self.key = claim.id, claim.token
        self.handler: Handler[..., Any] | None = None
        self.args: tuple[Any, ...] = ()
        self.kwargs: dict[str, Any] = {}
        self.options = _NO_OPTIONS
        self.outcome: Outcome | None = None
        self.decision: Decision | None = None
        #: Monotonic seconds.
        self.claimed_at = time.monotonic()
        self.started_at = 0.0
        self.finished_at = 0.0
        #: How long another one has kept it from running; not counted, up to its timeout again.
        self.blocked_seconds = 0.0
        #: What to raise inside the handler, once somebody wants it to stop.
        self.interrupt: BaseException | None = None
        #: Whether somebody has; whether because the worker stops, or because the job was cancelled.
        self.interrupted = False
        self.stops = False
        self.cancelled = False
        #: The lease under which it was claimed has run out.
        self.lost = False

    @property
    def is_async(self) -> bool:
        """Whether its handler is a coroutine function."""
        return self.handler is not None and self.handler.is_async

    @property
    def has_failed(self) -> bool:
        """Whether this attempt was a failure, as far as it is known."""
        return (
            type(self.outcome) is not Completed
            and isinstance(self.outcome, _FAILURES)
            and not (isinstance(self.outcome, Failed) and isinstance(self.outcome.exception, Snooze))
        )


def prepare(claim: Claim, registry: Registry, max_crashes: int = MAX_CRASHES) -> Work:
    """The work for a claim; its outcome is set already where the job cannot be run here."""
    work = Work(claim)
    # First of all: what the other fields of a newer format mean, nobody here knows.
    if claim.format > KNOWN_FORMAT:
        work.outcome = Unknown(_error(claim, _newer(claim)))
        return work
    if claim.crashes >= max_crashes:
        work.outcome = Poison(_error(claim, _quarantined(claim)))
        return work
    handler = work.handler = registry.get(claim.name)
    if handler is None:
        work.outcome = Unknown(_error(claim, _unknown(claim)))
        return work
    try:
        if claim.payload:
            work.args, work.kwargs = registry.codec.decode_call(claim.payload)
        work.options = registry.defaults(handler, claim.queue)
        if claim.options:
            said = unpack_options(claim.options, key=claim.key, priority=0)
            work.options = said.over(work.options)
        handler.check_call(work.args, work.kwargs)
    except PayloadError as error:
        work.outcome = Unreadable(_error(claim, f"PayloadError: {error}"))
    return work


def _quarantined(claim: Claim) -> str:
    known = [error.error for error in unpack_errors(claim.errors)]
    last = f"; the last one: {known[-1]}" if known else ""
    return f"Quarantined: {claim.crashes} workers crashed, or lost their lease, while it was running{last}"


def _newer(claim: Claim) -> str:
    return f"UnknownFormat: the job is of format {claim.format}, this worker knows {KNOWN_FORMAT}"


def _unknown(claim: Claim) -> str:
    return (
        f"UnknownHandler: no handler {claim.name!r} here; is its module given with --app,"
        " and is this worker's code as new as that of the program which enqueued it?"
    )


def if_killed(work: Work) -> tuple[float, int]:
    """When the process is to be killed if this work goes on, and what becomes of its job then.

    Monotonic seconds (0: never), and the retry's delay in ms (or `slots.BURY`): decided now,
    since afterwards nobody is left who knows the handler.
    """
    limit = work.options.timeout
    if limit is None:
        return 0.0, 0
    killed = failed(work, JobTimeout(f"killed: it ran longer than its timeout of {limit:g} s"))
    backoff = work.handler.backoff if work.handler else None
    decision = decide(killed, work.claim.attempt, work.options, backoff)
    delay_ms = decision.delay_ms if isinstance(decision, RunAgain) else BURY
    return time.monotonic() + limit + HARD_SECONDS, delay_ms


def execute(work: Work, call: Callable[[], object], hooks: Hooks) -> None:
    """Run the handler and set the outcome. Never raises, whatever the handler does.

    Called in a context that is this job's alone: nothing that is set there need be taken back.
    SystemExit, KeyboardInterrupt and their like are a job's failure too: a job does not end a worker.
    """
    current.set(work)
    work.started_at = time.monotonic()
    try:
        if hooks.has("run"):
            with hooks.around("run", CurrentJob(work)):
                work.outcome = Completed(_plain(call()))
        else:
            work.outcome = Completed(_plain(call()))
    except BaseException as exception:  # noqa: BLE001 - see above
        work.outcome = failed(work, exception)
    finally:
        work.finished_at = time.monotonic()


def _plain(result: object) -> object:
    """What a plain handler returned; a coroutine that nobody awaited is no result."""
    if isinstance(result, CoroutineType):
        result.close()
        raise TypeError(
            "the handler returned a coroutine: a decorator hides that it is `async def`;"
            " let the decorator's wrapper be `async def` too"
        )
    return result


async def execute_async(work: Work, call: Awaitable[object], hooks: Hooks) -> None:
    """As `execute`, for a coroutine."""
    current.set(work)
    work.started_at = time.monotonic()
    try:
        if hooks.has("run"):
            with hooks.around("run", CurrentJob(work)):
                work.outcome = Completed(await call)
        else:
            work.outcome = Completed(await call)
    except BaseException as exception:  # noqa: BLE001 - a job does not end a worker
        work.outcome = failed(work, exception)
    finally:
        work.finished_at = time.monotonic()


def failed(work: Work, exception: BaseException) -> Failed:
    """The outcome of a handler that raised; the record holds no argument of the job."""
    said = _said(exception)
    if isinstance(exception, Signal):
        text = said or f"{type(exception).__name__} was raised"
        if isinstance(exception, Retry):
            text = f"Retry: {text}"
        return Failed(exception, _error(work.claim, _scrub(text, work)))
    lines = traceback.TracebackException.from_exception(exception, compact=True)
    text = f"{type(exception).__name__}: {said}" if said else type(exception).__name__
    where = "".join(lines.stack.format()[-8:])
    return Failed(exception, _error(work.claim, _scrub(text, work), _scrub(where, work)))


def _said(exception: BaseException) -> str:
    try:
        return str(exception)
    except Exception as problem:  # noqa: BLE001 - whatever a user's __str__ raises
        return f"(its text cannot be shown: {type(problem).__name__})"


def _error(claim: Claim, text: str, where: str = "") -> JobError:
    return JobError(round(time.time() * 1000), claim.attempt, text, where)


def _scrub(text: str, work: Work) -> str:
    """The text without the job's own arguments: they may be secrets, and errors like to quote them."""
    for secret in _texts([*work.args, *work.kwargs.values()]):
        text = text.replace(secret, "***")
    return text


def _texts(values: list[Any]) -> list[str]:
    """All strings of some length in the arguments, longest first."""
    found: set[str] = set()
    while values:
        value = values.pop()
        if isinstance(value, bytes):
            value = value.decode("utf-8", "ignore")
        if isinstance(value, str) and len(value) >= 4:
            found.add(value)
        elif isinstance(value, dict):
            values += [*value, *value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            values += value
    return sorted(found, key=len, reverse=True)
