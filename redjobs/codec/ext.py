"""The ext codes, and the scalar types that msgpack does not know.

This is the one place with the codes; `docs/payloads.md` publishes them and a test holds the two
equal. A code is never given a second meaning: jobs wait for days, and are read by later versions.

Scalars are plain bytes, never msgpack inside of msgpack, so that they are leaves to the limits.
Their decoders raise ValueError, ArithmeticError or the like; `decoder` makes those PayloadErrors.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

if TYPE_CHECKING:  # it costs each process 0.4 MB, and few jobs have a time with a zone
    from zoneinfo import ZoneInfo

TUPLE: Final = 1
SET: Final = 2
FROZENSET: Final = 3
INT: Final = 4
DECIMAL: Final = 5
UUID_: Final = 6
DATETIME: Final = 7
DATE: Final = 8
TIME: Final = 9
TIMEDELTA: Final = 10
ENUM: Final = 11
DATACLASS: Final = 12
REGISTERED: Final = 13

CODES: Final = {
    "tuple": TUPLE,
    "set": SET,
    "frozenset": FROZENSET,
    "int": INT,
    "Decimal": DECIMAL,
    "UUID": UUID_,
    "datetime": DATETIME,
    "date": DATE,
    "time": TIME,
    "timedelta": TIMEDELTA,
    "Enum": ENUM,
    "dataclass": DATACLASS,
    "registered": REGISTERED,
}

CONTAINERS: Final = frozenset({TUPLE, SET, FROZENSET, ENUM, DATACLASS, REGISTERED})
"""Codes whose payload is one msgpack array. It counts to depth and items like any other."""

MAX_INT_BYTES: Final = 1_785
"""The longest int. Two reasons: conversion to decimal is quadratic, and Python itself refuses to
print more than 4,300 digits, so that a longer one would break the first `repr` of the arguments."""

MAX_DECIMAL_DIGITS: Final = 4_300
"""Digits of a Decimal when written out without an exponent. `Decimal("1E+999999999")` is eleven
characters, and a gigabyte as soon as somebody calls `int()` or `format(_, "f")` on it."""

_DECIMAL = re.compile(rb"-?(?:\d+(?:\.\d+)?(?:E[+-]\d{1,5})?|Infinity|s?NaN\d*)", re.IGNORECASE)
_ZONE_KEY = re.compile(r"[A-Za-z0-9_+\-/]{1,64}")
_STAMP = re.compile(r"([^\[\]]{1,48})(?:\[([A-Za-z0-9_+\-/]{1,64})\])?(\[fold=1\])?")


class Unencodable(ValueError):
    """A value of a known type that cannot be encoded; the message is the remedy."""


# -- numbers ---------------------------------------------------------------------------------------


def encode_int(value: int) -> bytes:
    """An int outside of msgpack's 64 bits: big endian, two's complement."""
    size = value.bit_length() // 8 + 1
    if size > MAX_INT_BYTES:
        raise Unencodable(f"it has {size:,} bytes, more than {MAX_INT_BYTES:,}: send it as bytes")
    return value.to_bytes(size, "big", signed=True)


def decode_int(data: bytes) -> int:
    if not 0 < len(data) <= MAX_INT_BYTES:
        raise ValueError("int of a wrong size")
    return int.from_bytes(data, "big", signed=True)


def _digits_written_out(value: Decimal) -> int:
    _, digits, exponent = value.as_tuple()
    return len(digits) + (abs(exponent) if isinstance(exponent, int) else 0)


def encode_decimal(value: Decimal) -> bytes:
    if _digits_written_out(value) > MAX_DECIMAL_DIGITS:
        raise Unencodable(
            f"written out it has more than {MAX_DECIMAL_DIGITS:,} digits: round it, or send a str"
        )
    return str(value).encode("ascii")


def decode_decimal(data: bytes) -> Decimal:
    # The pattern is narrower than Decimal(), which takes spaces, underscores and other digits.
    if not _DECIMAL.fullmatch(data):
        raise ValueError("no decimal number")
    value = Decimal(data.decode("ascii"))
    if _digits_written_out(value) > MAX_DECIMAL_DIGITS:
        raise ValueError("decimal number with too many digits")
    return value


# -- dates and times -------------------------------------------------------------------------------
#
# ISO 8601 with the suffixes of RFC 9557: `2026-10-25T02:30:00+01:00[Europe/Berlin][fold=1]`.


@lru_cache(maxsize=512)
def _zone(key: str) -> ZoneInfo | None:
    """The zone, or None where this machine does not know it. Cached, since a miss is slow."""
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(key)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError; not a zone; a directory
        return None


def _offset(value: datetime | time) -> timedelta | None:
    """The offset from UTC. No zone has one with fractions of a second; Python can write it, but
    reads `+00:00:00.5` back as UTC."""
    offset = value.utcoffset()
    if offset is not None and offset.microseconds:
        raise Unencodable("its time zone has an offset with fractions of a second: round that")
    return offset


def _name_of(zone: tzinfo | None) -> str | None:
    """By which a zone is found again on another machine."""
    if zone is None or type(zone) is timezone:
        return None
    from zoneinfo import ZoneInfo

    # A key that is no name of a zone was given to ZoneInfo.from_file: the offset is all we have.
    return zone.key if type(zone) is ZoneInfo and zone.key and _ZONE_KEY.fullmatch(zone.key) else None


def _stamp(value: datetime | time, zone: tzinfo | None) -> bytes:
    key = _name_of(zone)
    suffix = f"[{key}]" if key else ""
    return f"{value.isoformat()}{suffix}{'[fold=1]' if value.fold else ''}".encode("ascii")


def _parse_stamp(data: bytes) -> tuple[str, str | None, int]:
    match = _STAMP.fullmatch(data.decode("ascii"))
    if match is None:
        raise ValueError("no ISO 8601 time")
    return match[1], match[2], 1 if match[3] else 0


def encode_datetime(value: datetime) -> bytes:
    if _offset(value) is None:
        raise Unencodable(
            "it is naive, and the worker's time zone may be another: use"
            " datetime.now(timezone.utc), or value.replace(tzinfo=ZoneInfo('Europe/Berlin'))"
        )
    return _stamp(value, value.tzinfo)


def decode_datetime(data: bytes) -> datetime:
    text, key, fold = _parse_stamp(data)
    fixed = datetime.fromisoformat(text).replace(fold=fold)
    if _offset(fixed) is None:
        raise ValueError("naive datetime")
    zone = _zone(key) if key else None
    if zone is None:
        return fixed
    # The wall clock as it was written, since a time in a gap has no other way to come out equal;
    # unless this machine has other rules for the zone: then the instant counts.
    local = fixed.replace(tzinfo=zone)
    return local if local.utcoffset() == fixed.utcoffset() else fixed.astimezone(zone)


def encode_date(value: date) -> bytes:
    return value.isoformat().encode("ascii")


def decode_date(data: bytes) -> date:
    return date.fromisoformat(data.decode("ascii"))


def encode_time(value: time) -> bytes:
    zone = value.tzinfo
    if _offset(value) is None and zone is not None and not _name_of(zone):
        raise Unencodable("its time zone has no name and, without a date, no offset: send it naive")
    return _stamp(value, zone)


def decode_time(data: bytes) -> time:
    text, key, fold = _parse_stamp(data)
    fixed = time.fromisoformat(text).replace(fold=fold)
    offset = _offset(fixed)
    if key is None:
        return fixed
    zone = _zone(key)
    if zone is not None:
        return fixed.replace(tzinfo=zone)
    if offset is None:  # nothing to fall back to, and a naive time would be a guess
        raise ValueError("time of a zone that this machine does not know")
    return fixed


_MICROSECOND = timedelta(microseconds=1)


def encode_timedelta(value: timedelta) -> bytes:
    return encode_int(value // _MICROSECOND)


def decode_timedelta(data: bytes) -> timedelta:
    return timedelta(microseconds=decode_int(data))


# -- the tables ------------------------------------------------------------------------------------


def encode_uuid(value: UUID) -> bytes:
    return value.bytes


def decode_uuid(data: bytes) -> UUID:
    return UUID(bytes=data)


SCALARS: Final[dict[type, tuple[int, Callable[[Any], bytes]]]] = {
    Decimal: (DECIMAL, encode_decimal),
    UUID: (UUID_, encode_uuid),
    datetime: (DATETIME, encode_datetime),
    date: (DATE, encode_date),
    time: (TIME, encode_time),
    timedelta: (TIMEDELTA, encode_timedelta),
}

SCALAR_DECODERS: Final[dict[int, Callable[[bytes], object]]] = {
    INT: decode_int,
    DECIMAL: decode_decimal,
    UUID_: decode_uuid,
    DATETIME: decode_datetime,
    DATE: decode_date,
    TIME: decode_time,
    TIMEDELTA: decode_timedelta,
}
