"""Durations and moments, as people write them and as Redis stores them (integer milliseconds)."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from redjobs.errors import SettingsError

_UNIT_SECONDS = {"w": 604_800.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|[wdhms])")

#: Later than any real plan; a larger number is a unit mistake (microseconds, say).
MAX_MS = 253_402_300_799_000  # the last second of year 9999

#: From any now to come, this ends before the year 9999: 4,000 years.
_MAX_DELAY_SECONDS = MAX_MS / 2000


def duration_ms(value: timedelta | float) -> int:
    """Milliseconds of a timedelta or a number of seconds; negative ones are 0.

    Raises SettingsError for a value that is no finite duration.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise SettingsError(f"a delay is a timedelta or a number of seconds, not {type(value).__name__}")
    if not -math.inf < seconds <= _MAX_DELAY_SECONDS:
        raise SettingsError(f"{value!r} is no delay that will ever end")
    return max(0, round(seconds * 1000))


def moment_ms(at: datetime | float) -> int:
    """Epoch milliseconds of an aware datetime or a POSIX timestamp in seconds.

    Raises SettingsError for a naive datetime: nobody can know which zone was meant.
    """
    if isinstance(at, datetime):
        if at.tzinfo is None or at.utcoffset() is None:
            raise SettingsError(
                f"{at!r} has no time zone, so it names no moment; write"
                " datetime(..., tzinfo=ZoneInfo('Europe/Berlin')), or"
                " datetime.now(UTC) + timedelta(...)"
            )
        seconds = at.timestamp()
    elif isinstance(at, int | float) and not isinstance(at, bool):
        seconds = at
    else:
        raise SettingsError(f"run_at is an aware datetime or a POSIX timestamp, not {type(at).__name__}")
    if not 0 <= seconds <= MAX_MS / 1000:
        raise SettingsError(f"{at!r} is outside of the years 1970 to 9999; are these seconds?")
    return round(seconds * 1000)


def from_ms(at_ms: int) -> datetime:
    """The aware datetime (UTC) of epoch milliseconds."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def parse_duration(text: str) -> timedelta:
    """A duration as people type it: `90s`, `3d`, `1h30m`, `250ms`, or plain seconds.

    >>> parse_duration("1h30m")
    datetime.timedelta(seconds=5400)
    """
    text = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        text += "s"
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise SettingsError(f"{text!r} is no duration; write 90s, 15m, 3d, 1h30m or 250ms")
    seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)
    if seconds > _MAX_DELAY_SECONDS:
        raise SettingsError(f"{text!r} is no delay that will ever end")
    return timedelta(seconds=seconds)


def format_duration(seconds: float) -> str:
    """A duration for people, with at most two units.

    >>> format_duration(0.0123), format_duration(5400), format_duration(259200)
    ('12 ms', '1h 30m', '3d')
    """
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole, parts = round(seconds), []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])
