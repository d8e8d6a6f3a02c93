"""From a call to a job: both forms of `enqueue_in` and `enqueue_at`, and what a wrong use says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from redjobs.calls import Call, call, call_at, call_in, handler_options, new_job, options_of, run_at_of
from redjobs.errors import HandlerError, PayloadError, SettingsError
from redjobs.ids import is_id, priority_of
from redjobs.jobs import JobOptions, make_options
from redjobs.registry import Handler, Registry

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
NOON_MS = "1893499200000"
QUEUE = "mail"
THREE_DAYS = timedelta(days=3)


def remind(user_id: int, template: str = "gentle") -> None:
    """A function that can be a job."""


def nothing() -> None:
    """Another one."""


@pytest.fixture
def registry() -> Registry:
    return Registry()


# enqueue_in -----------------------------------------------------------------------------------


def test_after_a_delay_everything_behind_the_function_is_the_functions() -> None:
    made = call_in((THREE_DAYS, remind, 7), {"template": "firm", "days": 3})
    assert made == Call(remind, (7,), {"template": "firm", "days": 3}, run_at="+259200000")


def test_a_number_is_a_delay_in_seconds() -> None:
    assert call_in((90, remind, 7), {}).run_at == "+90000"


@pytest.mark.parametrize(
    ("units", "milliseconds"),
    [
        ({"days": 3}, 259_200_000),
        ({"weeks": 1, "days": 1, "hours": 1, "minutes": 1, "seconds": 1.5}, 694_861_500),
        ({"hours": 0}, 0),
        ({"seconds": -5}, 0),
    ],
)
def test_the_units_of_the_keyword_form_add_up(units: dict[str, float], milliseconds: int) -> None:
    assert call_in((), {"fn": remind, "args": (7,), **units}) == Call(remind, (7,), {}, f"+{milliseconds}")


def test_the_keyword_form_takes_arguments_in_two_bags() -> None:
    made = call_in((), {"days": 3, "fn": remind, "args": [7], "kwargs": {"template": "firm"}})
    assert (made.args, made.kwargs) == ((7,), {"template": "firm"})
    assert call_in((), {"days": 3, "fn": nothing}) == Call(nothing, (), {}, "+259200000")


BOTH_FORMS = r"enqueue_in\(timedelta\(days=3\), fn, \.\.\.\) or enqueue_in\(days=3, fn=fn, args=\(\.\.\.,\)\)"


@pytest.mark.parametrize(
    ("args", "kwargs", "remedy"),
    [
        ((THREE_DAYS,), {}, BOTH_FORMS),
        ((THREE_DAYS,), {"fn": remind}, BOTH_FORMS),
        ((remind, THREE_DAYS, 7), {}, BOTH_FORMS),
        ((remind,), {"days": 3}, BOTH_FORMS),
        ((THREE_DAYS, "shop.mail:remind", 7), {}, BOTH_FORMS),
        (("3 days", remind, 7), {}, "a timedelta or a number of seconds, not str"),
        ((None, remind, 7), {}, "a timedelta or a number of seconds, not NoneType"),
        ((NOON, remind, 7), {}, "a timedelta or a number of seconds, not datetime"),
        ((), {}, "weeks=, days=, hours=, minutes= or seconds="),
        ((), {"fn": remind, "args": (7,)}, "weeks=, days=, hours=, minutes= or seconds="),
        ((), {"day": 3, "fn": remind}, "weeks=, days=, hours=, minutes= or seconds="),
        ((), {"days": 3}, r"needs fn=.*args=\(\.\.\.,\) and kwargs=\{\.\.\.\}"),
        ((), {"days": 3, "fn": "shop.mail:remind"}, "needs fn="),
        ((), {"days": 3, "fn": remind, "user_id": 7}, r"does not know user_id.*args=\(\.\.\.,\)"),
        ((), {"days": 3, "fn": remind, "b": 1, "a": 2}, "does not know a, b"),
        ((), {"days": 3, "fn": remind, "args": 7}, r"args is a tuple, like args=\(7,\), and not a int"),
        ((), {"days": 3, "fn": remind, "args": "hunter2"}, "args is a tuple"),
        ((), {"days": 3, "fn": remind, "kwargs": ["template"]}, "kwargs is a dict"),
        ((), {"days": "three", "fn": remind}, "days='three'"),
        ((), {"days": 3, "hours": None, "fn": remind}, "hours=None"),
        ((), {"days": 1e12, "fn": remind}, "days=1000000000000.0"),
        ((), {"days": float("nan"), "fn": remind}, "days=nan"),
        ((), {"weeks": 500_000, "fn": remind}, "no delay that will ever end"),
    ],
)
def test_a_wrong_enqueue_in_says_how_to_write_it(
    args: tuple[Any, ...], kwargs: dict[str, Any], remedy: str
) -> None:
    with pytest.raises(SettingsError, match=remedy) as caught:
        call_in(args, kwargs)
    assert "hunter2" not in str(caught.value), "arguments may be secrets"


# enqueue_at -----------------------------------------------------------------------------------


def test_at_a_moment_everything_behind_the_function_is_the_functions() -> None:
    made = call_at((NOON, remind, 7), {"template": "firm", "at": "home"})
    assert made == Call(remind, (7,), {"template": "firm", "at": "home"}, run_at=NOON_MS)
    assert call_at((NOON.timestamp(), remind, 7), {}).run_at == NOON_MS


def test_the_keyword_form_of_enqueue_at() -> None:
    made = call_at((), {"at": NOON, "fn": remind, "args": (7,), "kwargs": {"template": "firm"}})
    assert made == Call(remind, (7,), {"template": "firm"}, NOON_MS)
    assert call_at((), {"at": NOON, "fn": nothing}) == Call(nothing, (), {}, NOON_MS)


BOTH_AT = r"enqueue_at\(moment, fn, \.\.\.\) or enqueue_at\(at=moment, fn=fn, args=\(\.\.\.,\)\)"


@pytest.mark.parametrize(
    ("args", "kwargs", "remedy"),
    [
        ((NOON,), {}, BOTH_AT),
        ((NOON,), {"fn": remind}, BOTH_AT),
        ((remind, NOON, 7), {}, BOTH_AT),
        ((remind,), {"at": NOON}, BOTH_AT),
        ((NOON.replace(tzinfo=None), remind, 7), {}, r"no time zone.*tzinfo=ZoneInfo"),
        ((THREE_DAYS, remind, 7), {}, "an aware datetime or a POSIX timestamp, not timedelta"),
        (("noon", remind, 7), {}, "an aware datetime or a POSIX timestamp, not str"),
        ((NOON.timestamp() * 1000, remind, 7), {}, "are these seconds"),
        ((), {}, "needs a moment: at="),
        ((), {"fn": remind, "args": (7,)}, "needs a moment: at="),
        ((), {"at": NOON}, "needs fn="),
        ((), {"at": NOON, "fn": remind, "days": 3}, "does not know days"),
        ((), {"at": NOON, "fn": remind, "args": 7}, "args is a tuple"),
        ((), {"at": NOON, "fn": remind, "kwargs": 7}, "kwargs is a dict"),
        ((), {"at": None, "fn": remind}, "an aware datetime or a POSIX timestamp, not NoneType"),
    ],
)
def test_a_wrong_enqueue_at_says_how_to_write_it(
    args: tuple[Any, ...], kwargs: dict[str, Any], remedy: str
) -> None:
    with pytest.raises(SettingsError, match=remedy):
        call_at(args, kwargs)


# Calls for enqueue_many -----------------------------------------------------------------------


def test_a_call_is_a_value_that_is_changed_by_making_another() -> None:
    plain = call(remind, 7, template="firm")
    later = plain.in_(THREE_DAYS).with_options(key="a", priority=3)
    assert plain == Call(remind, (7,), {"template": "firm"})
    assert later == Call(remind, (7,), {"template": "firm"}, "+259200000", make_options(key="a", priority=3))
    assert later.at(NOON).run_at == NOON_MS


def test_options_of_a_call_add_up() -> None:
    made = call(remind, 7).with_options(key="a", timeout=3).with_options(timeout=5)
    assert made.options == make_options(key="a", timeout=5)


def test_a_call_cannot_leave_for_another_queue() -> None:
    with pytest.raises(SettingsError, match=r"use queue\.options\(queue=\.\.\.\)"):
        call(remind, 7).with_options(queue="other")  # type: ignore[call-arg]


@pytest.mark.parametrize("wrong", ["soon", None])
def test_a_call_refuses_what_is_no_time(wrong: Any) -> None:
    with pytest.raises(SettingsError):
        call(remind, 7).in_(wrong)
    with pytest.raises(SettingsError):
        call(remind, 7).at(wrong)


# Options --------------------------------------------------------------------------------------


def test_an_unknown_option_gets_a_suggestion_and_the_list() -> None:
    with pytest.raises(
        SettingsError, match=r"no option 'max_attempt'; did you mean max_attempts\? There are .*key"
    ):
        options_of({"max_attempt": 3})
    with pytest.raises(SettingsError, match=r"no option 'colour'; There are priority, "):
        options_of({"colour": "red"})


def test_options_are_checked_where_they_are_said() -> None:
    assert options_of({"priority": 3, "key": "a"}) == make_options(priority=3, key="a")
    with pytest.raises(SettingsError, match="priority is an integer"):
        options_of({"priority": "high"})


def test_a_handler_may_have_a_backoff_function() -> None:
    def double(attempt: int, _: BaseException) -> float:
        return 2.0**attempt

    assert handler_options({"backoff": double, "timeout": 3}) == (make_options(timeout=3), double)
    assert handler_options({"backoff": [1, 2]}) == (make_options(backoff=[1, 2]), None)
    assert handler_options({}) == (JobOptions(), None)


def test_a_handler_cannot_hold_a_key() -> None:
    with pytest.raises(SettingsError, match=r"use \.options\(key=\.\.\.\)"):
        handler_options({"key": "a"})


# Jobs -----------------------------------------------------------------------------------------


def test_a_job_has_a_new_id_the_name_and_the_arguments(registry: Registry) -> None:
    job = new_job(call(remind, 7, template="firm").in_(THREE_DAYS), QUEUE, JobOptions(), registry)
    assert is_id(job.id) and job.id != new_job(call(remind, 7), QUEUE, JobOptions(), registry).id
    assert job.name == f"{__name__}:remind"
    assert job.run_at == "+259200000"
    assert registry.codec.decode_call(job.payload) == ((7,), {"template": "firm"})


def test_no_arguments_are_no_bytes(registry: Registry) -> None:
    assert new_job(call(nothing), QUEUE, JobOptions(), registry).payload == b""


def test_the_priority_is_the_calls_else_the_queues_else_the_handlers(registry: Registry) -> None:
    handler = Handler(remind, make_options(priority=5))
    queue, unsaid = make_options(priority=3, key="a"), JobOptions()
    urgent = call(handler, 7).with_options(priority=-1)
    for wanted, options, priority in [
        (call(handler, 7), unsaid, 5),
        (call(handler, 7), queue, 3),
        (urgent, queue, -1),
        (call(handler, 7).with_options(priority=0), queue, 0),
        (call(remind, 7), unsaid, 0),
    ]:
        job = new_job(wanted, QUEUE, options, registry)
        assert (priority_of(job.id), job.options.priority or 0) == (priority, priority)


def test_a_queue_may_have_a_priority_that_everything_else_goes_before(registry: Registry) -> None:
    registry.set_queue_options(QUEUE, priority=7)
    handler = Handler(remind, make_options(priority=5))
    assert priority_of(new_job(call(remind, 7), QUEUE, JobOptions(), registry).id) == 7
    assert priority_of(new_job(call(remind, 7), "other", JobOptions(), registry).id) == 0
    assert priority_of(new_job(call(handler, 7), QUEUE, JobOptions(), registry).id) == 5
    assert priority_of(new_job(call(remind, 7), QUEUE, make_options(priority=0), registry).id) == 0


def test_options_of_the_handler_do_not_travel_with_the_job(registry: Registry) -> None:
    # The worker has the handler: a new timeout holds for jobs that were enqueued before it, too.
    job = new_job(call(Handler(remind, make_options(timeout=9)), 7), QUEUE, make_options(key="a"), registry)
    assert job.options.timeout is None
    assert job.options.key == "a"


def test_what_cannot_be_a_job_fails_here(registry: Registry) -> None:
    with pytest.raises(HandlerError):
        new_job(call(lambda: None), QUEUE, JobOptions(), registry)
    with pytest.raises(PayloadError, match="missing a required argument"):
        new_job(Call(remind), QUEUE, JobOptions(), registry)
    with pytest.raises(PayloadError, match=r"args\[0\]"):
        new_job(Call(remind, (object(),)), QUEUE, JobOptions(), registry)


# When -----------------------------------------------------------------------------------------


def test_reschedule_takes_a_delay_or_a_moment() -> None:
    assert run_at_of(THREE_DAYS, None) == "+259200000"
    assert run_at_of(0, None) == "+0"
    assert run_at_of(None, NOON) == NOON_MS
    assert run_at_of(None, 0) == "0"


@pytest.mark.parametrize(("delay", "at"), [(None, None), (THREE_DAYS, NOON), (0, 0)])
def test_both_or_neither_is_refused(delay: Any, at: Any) -> None:
    with pytest.raises(SettingsError, match="either a delay from now, or a moment with at="):
        run_at_of(delay, at)
