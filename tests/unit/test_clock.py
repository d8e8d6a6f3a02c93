"""Durations and moments: as people write them, as Redis stores them, and back."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest

from redjobs.clock import duration_ms, format_duration, from_ms, moment_ms, parse_duration
from redjobs.errors import SettingsError


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (timedelta(days=3), 259_200_000),
        (timedelta(microseconds=1_500), 2),
        (timedelta(weeks=1, hours=1), 608_400_000),
        (0, 0),
        (0.25, 250),
        (0.0004, 0),
        (90, 90_000),
        (365 * 86_400, 31_536_000_000),
    ],
)
def test_a_duration_is_stored_as_milliseconds(value: timedelta | float, milliseconds: int) -> None:
    assert duration_ms(value) == milliseconds


@pytest.mark.parametrize("value", [-1, -0.001, timedelta(days=-1), timedelta.min, -(10**400)])
def test_a_negative_delay_is_no_delay(value: timedelta | float) -> None:
    assert duration_ms(value) == 0


@pytest.mark.parametrize("value", ["3", None, True, [3], b"3", datetime.now(UTC)])
def test_what_is_no_duration_is_refused_by_its_type(value: object) -> None:
    with pytest.raises(SettingsError, match=f"not {type(value).__name__}"):
        duration_ms(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e300, 10**400, timedelta.max])
def test_a_delay_that_never_ends_is_refused(value: timedelta | float) -> None:
    with pytest.raises(SettingsError, match="ever end"):
        duration_ms(value)


def test_the_longest_delay_from_now_is_still_a_date() -> None:
    longest = timedelta(days=365 * 4000)
    assert from_ms(moment_ms(datetime.now(UTC)) + duration_ms(longest)).year > 5900


def test_a_moment_is_the_same_in_every_time_zone() -> None:
    berlin = datetime(2030, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    utc = datetime(2030, 7, 1, 10, tzinfo=UTC)
    assert moment_ms(berlin) == moment_ms(utc) == moment_ms(utc.timestamp()) == 1_909_130_400_000


def test_a_moment_survives_the_way_to_redis_and_back() -> None:
    moment = datetime(2030, 7, 1, 10, 30, 15, 123_000, tzinfo=timezone(timedelta(hours=-8)))
    assert from_ms(moment_ms(moment)) == moment
    assert from_ms(moment_ms(moment)).tzinfo is UTC


def test_an_hour_that_comes_twice_is_two_moments() -> None:
    first = datetime(2030, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    assert moment_ms(first.replace(fold=1)) - moment_ms(first) == 3_600_000


class Nowhere(tzinfo):
    """A tzinfo that knows no offset leaves a datetime as naive as none."""

    def utcoffset(self, _: datetime | None) -> None:
        return None

    dst = tzname = utcoffset


@pytest.mark.parametrize("zone", [None, Nowhere()])
def test_a_naive_datetime_is_refused_with_the_remedy(zone: tzinfo | None) -> None:
    with pytest.raises(SettingsError, match=r"no time zone.*tzinfo=ZoneInfo\(.*datetime\.now\(UTC\)"):
        moment_ms(datetime(2030, 1, 1, tzinfo=zone))


@pytest.mark.parametrize("value", ["2030-01-01", None, True, timedelta(days=1)])
def test_what_is_no_moment_is_refused_by_its_type(value: object) -> None:
    with pytest.raises(SettingsError, match=f"not {type(value).__name__}"):
        moment_ms(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, 1_893_456_000_000_000, 10**30])
def test_a_timestamp_in_another_unit_is_refused(value: float) -> None:
    with pytest.raises(SettingsError, match="are these seconds"):
        moment_ms(value)


def test_milliseconds_instead_of_seconds_are_refused() -> None:
    with pytest.raises(SettingsError):
        moment_ms(datetime(2030, 1, 1, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("90", 90),
        ("1.5", 1.5),
        ("15m", 900),
        ("3d", 259_200),
        ("2w", 1_209_600),
        ("1h30m", 5_400),
        ("250ms", 0.25),
        ("1m30s500ms", 90.5),
        (" 1.5H ", 5_400),
        ("0", 0),
    ],
)
def test_people_type_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "  ", "soon", "3 d", "-5s", "5x", "h", "1h30", "1,5h", "5s!", "1e3", "nan"]
)
def test_what_people_mistype_is_refused_with_examples(text: str) -> None:
    with pytest.raises(SettingsError, match="write 90s, 15m, 3d, 1h30m or 250ms"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["9" * 30 + "d", "9" * 400, "9" * 5_000 + "w"])
def test_a_typed_duration_that_never_ends_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="ever end"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0123, "12 ms"),
        (1, "1 s"),
        (12.345, "12.3 s"),
        (60, "1m"),
        (61, "1m 1s"),
        (5_400, "1h 30m"),
        (3_661, "1h 1m"),
        (259_200, "3d"),
        (259_261, "3d 1m"),
        (-5_400, "-1h 30m"),
    ],
)
def test_durations_are_shown_with_at_most_two_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
