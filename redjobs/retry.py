"""What happens to a job after it ran: pure decisions.

*What happened* is an `Outcome`, *what to do* a `Decision`; the worker turns the decision
into a command. So a policy can be tested without a server, a clock or a process.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from redjobs.clock import duration_ms
from redjobs.errors import Bury, Retry, SettingsError, Signal, Snooze
from redjobs.jobs import DEFAULTS, JobError, JobOptions

#: Gets the attempt that failed (1, 2, …) and the exception; returns how long to wait.
BackoffFunction = Callable[[int, BaseException], timedelta | float]

#: A job whose handler this worker does not know is looked at again after this long at most: long enough
#: not to spin, short enough that a deploy which brings the handler is noticed soon.
UNKNOWN_HANDLER_DELAY_MS = 30_000

#: The default backoff never waits longer; the 25 attempts that are the default stay far below it.
MOST_SECONDS = 30 * 86_400

#: So many crashed workers make a job a poison job.
MAX_CRASHES = 3


@dataclass(slots=True)
class Completed:
    """The handler returned. Not frozen: it is made for nearly every job."""

    result: object = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The handler raised, or a limit stopped it."""

    exception: BaseException
    error: JobError


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The arguments cannot be decoded, or do not fit the handler: no later attempt will differ."""

    error: JobError


@dataclass(frozen=True, slots=True)
class Unknown:
    """No handler of this name here: a deploy may be under way."""

    error: JobError


@dataclass(frozen=True, slots=True)
class Poison:
    """It was there when too many workers crashed; it was not run."""

    error: JobError


@dataclass(frozen=True, slots=True)
class Unrun:
    """It was claimed and not started: somebody else may have it."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """It was stopped because somebody cancelled it."""


Outcome = Completed | Failed | Unreadable | Unknown | Poison | Unrun | Cancelled


@dataclass(frozen=True, slots=True)
class Complete:
    """Forget the job, or keep its result for `result_ttl_ms`."""

    result: object = None
    result_ttl_ms: int = 0


@dataclass(frozen=True, slots=True)
class RunAgain:
    """Later; with `refund` the attempt does not count. `error` None leaves the history."""

    delay_ms: int
    error: JobError | None
    refund: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """To `dead`, with the error as its reason."""

    error: JobError


@dataclass(frozen=True, slots=True)
class GiveBack:
    """To the front of its queue, the attempt refunded."""


@dataclass(frozen=True, slots=True)
class Discard:
    """Forget the job, which was cancelled."""


Decision = Complete | RunAgain | GiveUp | GiveBack | Discard


def default_backoff(attempt: int, rng: random.Random) -> float:
    """delayed_job's seconds, 5 + attempt**4 (at most 30 days), and up to a tenth more.

    The jitter keeps jobs that failed together from coming back together.
    """
    return min(5 + attempt**4, MOST_SECONDS) * (1 + rng.random() / 10)


def decide(
    outcome: Outcome,
    attempt: int,
    options: JobOptions,
    backoff: BackoffFunction | None = None,
    rng: random.Random = random.Random(),  # noqa: B008 - one generator for all is meant
) -> Decision:
    """What to do with a job after `attempt` (1, 2, …); `options` are the job's over its handler's."""
    match outcome:
        case Completed(result):
            return Complete(result, round((options.result_ttl or 0) * 1000))
        case Unrun():
            return GiveBack()
        case Cancelled():
            return Discard()
        case Unknown(error):
            # Not all at once: whoever does not run them takes them faster than those that do.
            return RunAgain(round(UNKNOWN_HANDLER_DELAY_MS * (1 - rng.random() / 2)), error, refund=True)
        case Unreadable(error) | Poison(error):
            return GiveUp(error)
        case Failed():
            return _after_failure(outcome, attempt, options, backoff, rng)


def _after_failure(
    failure: Failed,
    attempt: int,
    options: JobOptions,
    backoff: BackoffFunction | None,
    rng: random.Random,
) -> Decision:
    exception, error = failure.exception, failure.error
    last = attempt >= (options.max_attempts or DEFAULTS.max_attempts or 1)
    if isinstance(exception, Bury) or (last and not isinstance(exception, Snooze)):
        return GiveUp(error)
    try:
        if isinstance(exception, Snooze):
            return RunAgain(duration_ms(exception.after), None, refund=True)
        return RunAgain(_delay_ms(exception, attempt, options, backoff, rng), error)
    except Exception as problem:  # noqa: BLE001 - a backoff function of the user's may raise anything
        error = replace(error, error=f"{error.error} ({_unusable(exception, problem)})")
        again = RunAgain(duration_ms(default_backoff(attempt, rng)), error)
        return GiveUp(error) if last else again


def _unusable(exception: BaseException, problem: Exception) -> str:
    """Why the delay is not the wanted one. What a user's function says may quote secrets."""
    whose = type(exception).__name__ if isinstance(exception, Signal) else "backoff"
    what = str(problem) if isinstance(problem, SettingsError) else type(problem).__name__
    return f"the delay of its {whose} cannot be used: {what}"


def _delay_ms(
    exception: BaseException,
    attempt: int,
    options: JobOptions,
    backoff: BackoffFunction | None,
    rng: random.Random,
) -> int:
    if isinstance(exception, Retry) and exception.after is not None:
        return duration_ms(exception.after)
    chosen = options.backoff
    if isinstance(chosen, tuple):
        return duration_ms(chosen[min(attempt, len(chosen)) - 1])
    if chosen is not None:
        return duration_ms(chosen)
    if backoff is not None:
        return duration_ms(backoff(attempt, exception))
    return duration_ms(default_backoff(attempt, rng))


def is_signal(exception: BaseException) -> bool:
    """Whether the handler raised this on purpose, to say what should happen."""
    return isinstance(exception, Signal)
