"""What a job is: its options, its error history, and the snapshot that is read from Redis."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import msgpack
import pytest

from redjobs.errors import PayloadError, SettingsError
from redjobs.ids import new_id
from redjobs.jobs import (
    DEFAULTS,
    MAX_ERROR_BYTES,
    MAX_ERRORS,
    Job,
    JobError,
    JobOptions,
    State,
    Verdict,
    append_error,
    check_key,
    job_from_fields,
    make_options,
    pack_options,
    unpack_errors,
    unpack_options,
)

# Options --------------------------------------------------------------------------------------


def test_options_say_nothing_unless_told() -> None:
    assert make_options() == JobOptions()
    assert all(value is None for value in dataclasses.asdict(make_options()).values())


def test_durations_become_seconds() -> None:
    made = make_options(
        timeout=timedelta(minutes=2), result_ttl=timedelta(days=1), backoff=timedelta(seconds=90)
    )
    assert (made.timeout, made.result_ttl, made.backoff) == (120, 86_400, 90)


def test_a_list_of_delays_is_kept_by_attempt() -> None:
    assert make_options(backoff=[1, 2.5, 30]).backoff == (1, 2.5, 30)
    assert make_options(backoff=(0,)).backoff == (0,)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"priority": "high"}, "priority is an integer"),
        ({"priority": 1.5}, "priority is an integer"),
        ({"priority": True}, "priority is an integer"),
        ({"priority": 10**15 + 1}, "out of range"),
        ({"priority": -(10**15) - 1}, "out of range"),
        ({"max_attempts": 0}, "max_attempts is a number, 1"),
        ({"max_attempts": -1}, "max_attempts is a number, 1"),
        ({"max_attempts": True}, "max_attempts is a number, 1"),
        ({"max_attempts": 2.5}, "max_attempts is a number, 1"),
        ({"max_attempts": "5"}, "max_attempts is a number, 1"),
        ({"timeout": 0}, "timeout must be longer than 0"),
        ({"timeout": -5}, "timeout must be longer than 0"),
        ({"timeout": "30"}, "timeout: .* not str"),
        ({"timeout": float("inf")}, "timeout: "),
        ({"result_ttl": timedelta(0)}, "result_ttl must be longer than 0"),
        ({"result_ttl": object()}, "result_ttl: .* not object"),
        ({"backoff": []}, "needs at least one delay"),
        ({"backoff": "exponential"}, "backoff: .* not str"),
        ({"backoff": [1, "2"]}, "backoff: .* not str"),
        ({"backoff": lambda attempt, error: 1}, "@redjobs.job\\(backoff=function\\)"),
        ({"key": ""}, "unique key is a text of 1 to 512"),
        ({"key": "k" * 513}, "unique key is a text of 1 to 512"),
        ({"key": 7}, "unique key is a text of 1 to 512"),
        ({"key": b"k"}, "unique key is a text of 1 to 512"),
        ({"key": "half \ud83d"}, "half of a character"),
        ({"queue": "a:b"}, "cannot name a queue"),
        ({"queue": ""}, "cannot name a queue"),
    ],
)
def test_a_wrong_option_is_refused_by_name(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        make_options(**options)


@pytest.mark.parametrize("key", ["a", "k" * 512, "reminder:7", "{}", "\n", "é", "🎉", "!"])
def test_any_text_of_some_length_is_a_unique_key(key: str) -> None:
    assert check_key(key) == key
    assert make_options(key=key).key == key


def test_options_go_before_those_of_the_handler_and_these_before_the_defaults() -> None:
    handler = make_options(max_attempts=5, timeout=30, backoff=[1, 2])
    job = make_options(timeout=60, priority=3)
    merged = job.over(handler).over(DEFAULTS)
    assert merged == JobOptions(priority=3, max_attempts=5, timeout=60, backoff=(1, 2))
    assert JobOptions().over(handler) == handler
    assert handler.over(JobOptions()) == handler


def test_priority_zero_is_said_and_goes_before_the_handlers() -> None:
    assert make_options(priority=0).over(make_options(priority=5)).priority == 0


def test_the_defaults_are_delayed_jobs() -> None:
    assert (DEFAULTS.priority, DEFAULTS.max_attempts) == (0, 25)


def test_what_says_nothing_is_stored_as_nothing() -> None:
    assert pack_options(JobOptions()) == b""
    # Key, priority and queue stand elsewhere: in a field, in the id, in the key's name.
    assert pack_options(make_options(key="a", priority=5, queue="mail")) == b""


@pytest.mark.parametrize(
    "options",
    [
        make_options(max_attempts=3),
        make_options(backoff=2.5),
        make_options(backoff=[1, 2.5]),
        make_options(timeout=30, result_ttl=timedelta(days=2)),
        make_options(max_attempts=1, backoff=0, timeout=0.001, result_ttl=60, key="a", priority=-3),
    ],
)
def test_stored_options_come_back_equal(options: JobOptions) -> None:
    found = unpack_options(pack_options(options), key=options.key, priority=options.priority or 0)
    assert found == options


def test_ordinary_options_stay_small_enough_for_a_compact_hash() -> None:
    packed = pack_options(make_options(max_attempts=10, timeout=30, backoff=[1, 2, 3]))
    assert len(packed) <= 64, "Redis keeps a hash compact while every value has at most 64 bytes"


@pytest.mark.row(35)
def test_options_of_a_newer_version_do_not_matter_here() -> None:
    packed = msgpack.packb({"max_attempts": 3, "colour": "red", "nested": {"a": [1]}})
    assert unpack_options(packed, key="k", priority=2) == JobOptions(priority=2, key="k", max_attempts=3)


@pytest.mark.parametrize(
    "packed",
    [
        b"\xc1",
        b"\x81",
        b"not msgpack",
        b"\xff" * 100,
        msgpack.packb([1, 2]),
        msgpack.packb(7),
        msgpack.packb("max_attempts"),
        msgpack.packb({"max_attempts": 3}) + b"\0",
        msgpack.packb({1: 2}),
        msgpack.packb({"max_attempts": "three"}),
        msgpack.packb({"max_attempts": 0}),
        msgpack.packb({"max_attempts": 2.5}),
        msgpack.packb({"max_attempts": [3]}),
        msgpack.packb({"timeout": "soon"}),
        msgpack.packb({"timeout": float("nan")}),
        msgpack.packb({"timeout": -1}),
        msgpack.packb({"result_ttl": {}}),
        msgpack.packb({"backoff": []}),
        msgpack.packb({"backoff": [1, "2"]}),
        msgpack.packb({"backoff": {"1": 2}}),
        msgpack.packb({"backoff": 1e300}),
        b"\x91" * 2_000 + b"\xc0",
    ],
)
def test_unreadable_options_are_a_payload_error_and_nothing_else(packed: bytes) -> None:
    # A worker that met anything else in them would end, and the next one, and the next.
    with pytest.raises(PayloadError, match="options cannot be read"):
        unpack_options(packed, key=None, priority=0)


# Errors ---------------------------------------------------------------------------------------


def error(number: int, text: str = "ValueError: no such user", traceback: str = "") -> JobError:
    return JobError(1_700_000_000_000 + number, number, f"{text} {number}", traceback)


def history(*errors: JobError) -> bytes:
    packed = b""
    for each in errors:
        packed = append_error(packed, each)
    return packed


def test_errors_are_kept_in_the_order_they_happened() -> None:
    assert unpack_errors(history(error(1), error(2))) == (error(1), error(2))
    assert unpack_errors(b"") == ()


@pytest.mark.parametrize("number", [math.inf, math.nan, 1e30])
def test_numbers_that_nobody_can_have_written_are_no_reason_to_fail(number: float) -> None:
    foreign = msgpack.packb([(number, 1, "what", "where")])
    unpack_errors(foreign)
    assert unpack_errors(append_error(foreign, error(1)))[-1:] == (error(1),)


def test_only_the_newest_errors_are_kept() -> None:
    errors = [error(number) for number in range(1, 20)]
    assert unpack_errors(history(*errors)) == tuple(errors[-MAX_ERRORS:])


@pytest.mark.parametrize("character", ["x", "é", "🎉", "\ud83d"])
def test_an_error_is_bounded_in_bytes_whatever_its_characters(character: str) -> None:
    long = JobError(1, 1, "first" + character * 10_000, character * 10_000 + "last")
    packed = history(*[dataclasses.replace(long, attempt=number) for number in range(20)])
    assert len(packed) <= MAX_ERRORS * (2 * MAX_ERROR_BYTES + 50)
    for kept in unpack_errors(packed):
        assert kept.error.startswith("first"), "the head of a message says what happened"
        assert kept.traceback.endswith("last"), "the tail of a traceback says where"
        assert len(kept.error.encode()) > MAX_ERROR_BYTES - 4


def test_a_history_that_grew_too_long_elsewhere_is_cut_down() -> None:
    packed = msgpack.packb([[1, n, "x" * 100_000, "y" * 100_000] for n in range(50)])
    assert len(append_error(packed, error(1))) <= MAX_ERRORS * (2 * MAX_ERROR_BYTES + 50)


def test_an_error_that_happens_again_to_the_same_attempt_does_not_push_the_others_out() -> None:
    # A job whose handler is unknown is looked at every half a minute, and no attempt is counted.
    unknown = [JobError(at_ms, 3, "UnknownHandler: shop:gone") for at_ms in range(100)]
    assert unpack_errors(history(error(1), error(2), *unknown)) == (error(1), error(2), unknown[-1])


def test_the_same_error_in_the_next_attempt_is_another_one() -> None:
    first, second = JobError(1, 1, "ValueError: x"), JobError(2, 2, "ValueError: x")
    assert unpack_errors(history(first, second)) == (first, second)


@pytest.mark.parametrize(
    "packed",
    [
        b"\xc1",
        b"nonsense",
        msgpack.packb(5),
        msgpack.packb("text"),
        msgpack.packb(None),
        msgpack.packb({"a": 1}),
        msgpack.packb([5]),
        msgpack.packb([[1, 2]]),
        msgpack.packb([["a", "b", "c", "d"]]),
        msgpack.packb([[1, 2, 3, 4]]) + b"\0",
    ],
)
def test_an_unreadable_history_is_empty_and_goes_on(packed: bytes) -> None:
    assert unpack_errors(packed) == ()
    assert unpack_errors(append_error(packed, error(1))) == (error(1),)


@pytest.mark.row(35)
def test_an_entry_of_a_newer_version_is_read_as_far_as_it_is_known() -> None:
    packed = msgpack.packb([[1, 2, "ValueError", "trace", {"locals": 1}]])
    assert unpack_errors(packed) == (JobError(1, 2, "ValueError", "trace"),)


#: An entry as a newer version may write it.
MORE = [1, 2, "ValueError", "trace", {"locals": {"user": 7}}]


@pytest.mark.row(35)
def test_what_a_newer_version_has_put_into_an_entry_outlives_the_next_error() -> None:
    assert msgpack.unpackb(append_error(msgpack.packb([MORE]), error(3)))[0] == MORE
    assert msgpack.unpackb(append_error(msgpack.packb([[*MORE, "x" * 10_000]]), error(3)))[0] == MORE[:4]


@pytest.mark.row(35)
@pytest.mark.parametrize("history", [b"\xc1 in a form of its own", msgpack.packb({"errors": []})])
def test_the_history_of_a_newer_format_is_not_begun_anew(history: bytes) -> None:
    assert append_error(history, error(1), of_format=2) == history


@pytest.mark.row(35)
def test_the_history_of_a_newer_format_is_not_cut() -> None:
    entries = [[n, n, "x" * 5_000, "y" * 5_000] for n in range(9)]
    packed = msgpack.packb(entries)
    for _ in range(3):  # as often as it is looked at
        packed = append_error(packed, error(9), of_format=2)
    assert msgpack.unpackb(packed)[:-1] == entries
    assert unpack_errors(packed)[-1] == error(9)


@pytest.mark.parametrize("more", [[b"x"] * 3, msgpack.Timestamp(1)])
def test_an_entry_of_what_can_hardly_be_packed_again_is_no_reason_to_fail(more: object) -> None:
    packer = msgpack.Packer()
    packed = b"\x91\x95" + b"".join(map(packer.pack, MORE[:4])) + b"\x91" * 800 + packer.pack(more)
    assert unpack_errors(packed)
    for of_format in (1, 2):
        append_error(packed, error(3), of_format=of_format)


def test_an_error_knows_when_it_happened() -> None:
    assert JobError(1_700_000_000_000, 1, "x").at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


# Snapshots ------------------------------------------------------------------------------------

NOW = 1_700_000_000_000


def fields(**more: bytes) -> dict[bytes, bytes]:
    return {b"name": b"shop.mail:send", b"enqueued_at": str(NOW).encode()} | {
        name.encode(): value for name, value in more.items()
    }


def test_the_smallest_job_is_a_name_and_a_time() -> None:
    job_id = new_id()
    assert job_from_fields(job_id, "mail", State.READY, 0, fields()) == Job(
        id=job_id,
        queue="mail",
        name="shop.mail:send",
        state=State.READY,
        enqueued_at_ms=NOW,
        run_at_ms=NOW,
    )


def test_a_full_job_is_read_with_everything() -> None:
    job_id = new_id(-5)
    raw = fields(
        args=b"\x92\x91\x07\x80",
        run_at=str(NOW + 5).encode(),
        attempt=b"2",
        crashes=b"1",
        options=pack_options(make_options(timeout=30)),
        errors=history(error(1)),
        worker=b"web-1.7.abc",
        started_at=str(NOW + 9).encode(),
        key=b"reminder:7",
    )
    job = job_from_fields(job_id, "mail", State.PROCESSING, 0, raw)
    assert (job.attempt, job.crashes, job.priority, job.key) == (2, 1, -5, "reminder:7")
    assert (job.run_at_ms, job.started_at_ms, job.worker) == (NOW + 5, NOW + 9, "web-1.7.abc")
    assert job.options == JobOptions(priority=-5, key="reminder:7", timeout=30)
    assert job.errors == (error(1),)
    assert job.payload == b"\x92\x91\x07\x80"
    assert job.created


def test_a_score_is_what_the_state_makes_of_it() -> None:
    raw = fields(run_at=str(NOW).encode(), completed_at=str(NOW + 7).encode(), result=b"\xc0")
    scheduled, dead, completed = (
        job_from_fields(new_id(), "mail", state, NOW + 1000, raw)
        for state in (State.SCHEDULED, State.DEAD, State.COMPLETED)
    )
    assert scheduled.run_at_ms == NOW + 1000
    assert (dead.run_at_ms, dead.ended_at_ms) == (NOW, NOW + 1000)
    # A completed job's score is when its result expires.
    assert (completed.run_at_ms, completed.ended_at_ms) == (NOW, NOW + 7)
    assert completed.result_payload == b"\xc0"


def test_times_are_shown_in_utc() -> None:
    job = job_from_fields(new_id(), "mail", State.SCHEDULED, NOW + 60_000, fields())
    assert job.run_at - job.enqueued_at == timedelta(minutes=1)
    assert job.run_at.tzinfo is UTC


@pytest.mark.row(35)
def test_fields_of_a_newer_version_do_not_matter_here() -> None:
    raw = fields(colour=b"red", format=b"2", tags=b"\xff\xfe")
    assert job_from_fields(new_id(), "mail", State.READY, 0, raw).name == "shop.mail:send"


def test_unreadable_parts_do_not_hide_the_job_from_people() -> None:
    # The worker buries it; whoever looks for the reason must find it.
    raw = fields(options=b"\xc1", errors=b"\xc1", worker=b"\xff", key=b"\xff")
    job = job_from_fields(new_id(3), "mail", State.DEAD, NOW, raw)
    assert job.options == JobOptions(priority=3, key="\ufffd")
    assert job.errors == ()


@pytest.mark.parametrize("number", [b"soon", b"", b"1.5", b"9" * 5_000, b"\xff"])
def test_numbers_that_are_none_do_not_hide_the_job_from_people(number: bytes) -> None:
    names = ("enqueued_at", "run_at", "attempt", "crashes", "started_at", "completed_at", "format")
    job = job_from_fields(new_id(), "mail", State.PROCESSING, 0, fields(**dict.fromkeys(names, number)))
    assert (job.name, job.attempt, job.started_at_ms, job.format) == ("shop.mail:send", 0, None, 1)


def test_a_job_shows_its_arguments_and_result_to_nobody() -> None:
    raw = fields(args=b"hunter2", result=b"hunter2")
    job = job_from_fields(new_id(), "mail", State.COMPLETED, NOW, raw)
    assert "hunter2" not in repr(job) and "hunter2" not in str(job)


def test_a_snapshot_cannot_be_changed() -> None:
    job = job_from_fields(new_id(), "mail", State.READY, 0, fields())
    with pytest.raises(dataclasses.FrozenInstanceError):
        job.attempt = 3  # type: ignore[misc]


def test_a_verdict_is_true_where_it_was_done() -> None:
    done = {verdict for verdict in Verdict if verdict}
    assert done == {Verdict.CANCELLED, Verdict.RESCHEDULED, Verdict.REQUEUED, Verdict.DELETED}
