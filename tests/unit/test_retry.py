"""What happens to a job after it ran: every outcome and its decision."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from redjobs.errors import Bury, JobInterrupted, JobTimeout, Retry, Snooze
from redjobs.jobs import JobError, JobOptions, make_options
from redjobs.retry import (
    MOST_SECONDS,
    UNKNOWN_HANDLER_DELAY_MS,
    BackoffFunction,
    Cancelled,
    Complete,
    Completed,
    Decision,
    Discard,
    Failed,
    GiveBack,
    GiveUp,
    Poison,
    RunAgain,
    Unknown,
    Unreadable,
    Unrun,
    decide,
    default_backoff,
    is_signal,
)

ERROR = JobError(1_700_000_000_000, 1, "ValueError: no such user")
NO_OPTIONS = JobOptions()


class NoJitter(random.Random):
    def random(self) -> float:
        return 0.0


def after(
    exception: BaseException,
    attempt: int = 1,
    options: JobOptions = NO_OPTIONS,
    backoff: BackoffFunction | None = None,
) -> Decision:
    """The decision on a handler that raised this, without jitter."""
    return decide(Failed(exception, ERROR), attempt, options, backoff, NoJitter())


def seconds(decision: Decision) -> float:
    assert isinstance(decision, RunAgain)
    return decision.delay_ms / 1000


# What a handler returned ----------------------------------------------------------------------


def test_a_job_that_returned_is_complete_and_forgotten() -> None:
    assert decide(Completed(42), 1, NO_OPTIONS) == Complete(42, result_ttl_ms=0)


def test_a_result_is_kept_as_long_as_was_said() -> None:
    options = make_options(result_ttl=timedelta(minutes=1, milliseconds=5))
    assert decide(Completed(42), 1, options) == Complete(42, result_ttl_ms=60_005)


def test_it_does_not_matter_how_many_attempts_a_success_took() -> None:
    assert decide(Completed(), 25, make_options(max_attempts=1)) == Complete()


# What never ran -------------------------------------------------------------------------------


def test_a_job_that_was_not_started_goes_back() -> None:
    assert decide(Unrun(), 1, make_options(max_attempts=1)) == GiveBack()


def test_a_cancelled_job_is_forgotten() -> None:
    assert decide(Cancelled(), 1, NO_OPTIONS) == Discard()


def test_a_job_without_a_handler_here_waits_for_a_deploy_and_loses_no_attempt() -> None:
    decision = decide(Unknown(ERROR), 25, make_options(max_attempts=1, backoff=1), rng=NoJitter())
    assert decision == RunAgain(UNKNOWN_HANDLER_DELAY_MS, ERROR, refund=True)


@pytest.mark.row(35)
def test_jobs_without_a_handler_here_do_not_come_back_all_at_once() -> None:
    """Else the worker that does not know them would take them before those that do, again and again."""
    decisions = [decide(Unknown(ERROR), 1, NO_OPTIONS) for _ in range(200)]
    delays = [decision.delay_ms for decision in decisions if isinstance(decision, RunAgain)]
    least, most = UNKNOWN_HANDLER_DELAY_MS / 2, UNKNOWN_HANDLER_DELAY_MS
    assert least <= min(delays) < least * 1.1 and most * 0.9 < max(delays) <= most
    assert len(set(delays)) > 150


@pytest.mark.parametrize("outcome", [Unreadable(ERROR), Poison(ERROR)])
def test_what_no_later_attempt_can_mend_is_given_up_at_once(outcome: Unreadable | Poison) -> None:
    assert decide(outcome, 1, make_options(max_attempts=25)) == GiveUp(ERROR)


# Failures: how often --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "exception",
    [
        ValueError("x"),
        JobTimeout("x"),
        JobInterrupted("x"),
        SystemExit(1),
        KeyboardInterrupt(),
        MemoryError(),
    ],
    ids=lambda exception: type(exception).__name__,
)
def test_whatever_a_handler_raises_it_runs_again(exception: BaseException) -> None:
    assert after(exception) == RunAgain(6_000, ERROR, refund=False)


@pytest.mark.row(33)
def test_the_last_attempt_is_the_last() -> None:
    options = make_options(max_attempts=3)
    assert isinstance(after(ValueError(), 2, options), RunAgain)
    assert after(ValueError(), 3, options) == GiveUp(ERROR)
    assert after(ValueError(), 4, options) == GiveUp(ERROR)


def test_one_attempt_means_never_again() -> None:
    assert after(ValueError(), 1, make_options(max_attempts=1)) == GiveUp(ERROR)


def test_by_default_there_are_twenty_five_attempts() -> None:
    assert isinstance(after(ValueError(), 24), RunAgain)
    assert after(ValueError(), 25) == GiveUp(ERROR)


# Failures: how long to wait -------------------------------------------------------------------


def test_the_default_waits_are_delayed_jobs() -> None:
    waits = [seconds(after(ValueError(), attempt)) for attempt in range(1, 7)]
    assert waits == [6, 21, 86, 261, 630, 1301]


def test_the_default_attempts_last_for_about_twenty_days() -> None:
    total = sum(seconds(after(ValueError(), attempt)) for attempt in range(1, 25))
    assert 20 <= total / 86_400 <= 21


@pytest.mark.row(33)
@pytest.mark.parametrize("attempt", [1, 2, 5, 24])
def test_jitter_adds_up_to_a_tenth_and_takes_nothing_away(attempt: int) -> None:
    rng = random.Random(4711)
    plain = 5 + attempt**4
    waits = [default_backoff(attempt, rng) for _ in range(1_000)]
    assert all(plain <= wait <= plain * 1.1 for wait in waits)
    assert max(waits) - min(waits) > plain * 0.09, "jobs that failed together come back together"


def test_the_default_wait_has_an_end_however_many_attempts_there_are() -> None:
    options = make_options(max_attempts=10**9)
    assert seconds(after(ValueError(), 10**6, options)) == MOST_SECONDS


def test_a_number_is_the_wait_every_time() -> None:
    options = make_options(backoff=timedelta(seconds=90))
    assert [seconds(after(ValueError(), attempt, options)) for attempt in (1, 2, 9)] == [90, 90, 90]


@pytest.mark.row(33)
def test_a_list_gives_the_wait_by_attempt_and_its_last_one_stays() -> None:
    options = make_options(backoff=[1, 5, 30])
    assert [seconds(after(ValueError(), attempt, options)) for attempt in (1, 2, 3, 4, 9)] == [
        1,
        5,
        30,
        30,
        30,
    ]


def test_zero_is_at_once() -> None:
    assert seconds(after(ValueError(), 1, make_options(backoff=0))) == 0


def test_a_function_gets_the_attempt_and_the_exception() -> None:
    def by_kind(attempt: int, exception: BaseException) -> timedelta | float:
        return timedelta(hours=attempt) if isinstance(exception, KeyError) else 2.5

    assert seconds(after(KeyError(), 3, NO_OPTIONS, by_kind)) == 3 * 3600
    assert seconds(after(ValueError(), 3, NO_OPTIONS, by_kind)) == 2.5


def test_what_the_job_says_goes_before_the_handlers_function() -> None:
    assert seconds(after(ValueError(), 1, make_options(backoff=7), lambda *_: 99)) == 7
    assert seconds(after(ValueError(), 1, make_options(backoff=[7]), lambda *_: 99)) == 7


def raises(attempt: int, exception: BaseException) -> float:
    raise RuntimeError("secret")


@pytest.mark.parametrize(
    "backoff",
    [raises, lambda *_: "soon", lambda *_: None, lambda *_: float("nan"), lambda *_: 1e300],
)
def test_a_backoff_function_that_fails_costs_the_job_nothing(backoff: BackoffFunction) -> None:
    # It runs in the worker, which must survive it, and the job gets the default instead.
    decision = after(ValueError(), 2, NO_OPTIONS, backoff)
    assert isinstance(decision, RunAgain) and decision.error is not None
    assert seconds(decision) == 21
    assert decision.error.error.startswith(
        "ValueError: no such user (the delay of its backoff cannot be used"
    )
    assert "secret" not in decision.error.error


# Signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [90, 90.0, timedelta(seconds=90)])
def test_a_handler_may_say_when_to_retry(wait: timedelta | float) -> None:
    decision = after(Retry("rate limited", after=wait), 2, make_options(backoff=5), lambda *_: 7)
    assert decision == RunAgain(90_000, ERROR, refund=False)


def test_a_retry_that_does_not_say_when_takes_the_backoff() -> None:
    assert seconds(after(Retry(), 2)) == 21
    assert seconds(after(Retry(), 2, make_options(backoff=[5, 6]))) == 6
    assert seconds(after(Retry(), 2, NO_OPTIONS, lambda *_: 7)) == 7


def test_a_retry_counts_and_so_it_ends() -> None:
    assert after(Retry(after=1), 3, make_options(max_attempts=3)) == GiveUp(ERROR)


def test_a_snooze_gives_the_attempt_back_and_leaves_no_error() -> None:
    assert after(Snooze(timedelta(hours=1))) == RunAgain(3_600_000, None, refund=True)


def test_a_snooze_never_uses_a_job_up() -> None:
    assert after(Snooze(0), 1, make_options(max_attempts=1)) == RunAgain(0, None, refund=True)


def test_a_handler_may_give_up() -> None:
    assert after(Bury("no such user"), 1, make_options(max_attempts=25)) == GiveUp(ERROR)


@pytest.mark.parametrize("signal", [Retry(after="soon"), Snooze("soon"), Snooze(float("nan"))])  # type: ignore[arg-type]
def test_a_signal_with_an_unusable_delay_is_a_failure_that_says_so(signal: Retry | Snooze) -> None:
    decision = after(signal, 1)
    assert isinstance(decision, RunAgain) and decision.error is not None
    assert (seconds(decision), decision.refund) == (6, False)
    assert f"the delay of its {type(signal).__name__} cannot be used" in decision.error.error
    assert isinstance(after(signal, 25), GiveUp), "it must not run for ever"


def test_signals_are_told_from_failures() -> None:
    assert all(map(is_signal, (Retry(), Snooze(1), Bury())))
    assert not any(map(is_signal, (ValueError(), JobTimeout(), SystemExit())))
