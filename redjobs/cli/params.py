"""How words on the command line are read: durations, moments, sizes, queues, arguments of a job."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import click

from redjobs.clock import moment_ms, parse_duration
from redjobs.errors import SettingsError
from redjobs.ids import check_name

_SIZES = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


class DurationType(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.5
    """Seconds, written `90s`, `3d`, `1h30m`, `250ms` or as a plain number of seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds."""
        try:
            return value if isinstance(value, float) else parse_duration(str(value)).total_seconds()
        except (SettingsError, OverflowError) as error:
            self.fail(str(error), param, ctx)


class MomentType(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.5
    """A moment: ISO 8601 with an offset, like `2026-03-01T09:00+01:00`."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The aware datetime."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            self.fail(f"{value!r} is no moment; write 2026-03-01T09:00+01:00, or ...Z for UTC", param, ctx)
        if moment.tzinfo is None:
            self.fail(
                f"{value!r} has no offset; write {moment.isoformat()}+01:00, or ...Z for UTC", param, ctx
            )
        try:
            moment_ms(moment)
        except SettingsError as error:
            self.fail(str(error), param, ctx)
        return moment


class SizeType(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.5
    """Bytes, written `300MB`, `1.5G` or as a plain number; a kB has 1,024."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The bytes."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*([kmgt]?)(?:i?b)?", value.strip().lower())
        if match is None or (size := round(float(match[1]) * _SIZES[match[2]])) == 0:
            self.fail(f"{value!r} is no size; write 300MB or 2G", param, ctx)
        return size


DURATION = DurationType()
MOMENT = MomentType()
SIZE = SizeType()


def words(texts: Iterable[str]) -> list[str]:
    """What was given one by one, or with commas between."""
    return [word for text in texts for part in text.split(",") if (word := part.strip())]


def queues_and_weights(texts: Iterable[str]) -> tuple[tuple[str, ...], tuple[tuple[str, int], ...]]:
    """`critical:5,default:2` or `critical default`: names or patterns in order, and weights if any.

    Where one queue has a weight, the others have 1. Raises SettingsError.
    """
    weights: dict[str, int | None] = {}
    for word in words(texts):
        name, colon, weight = word.partition(":")
        check_name("queue", re.sub(r"[*?]", "x", name))
        if colon and (not weight.isdecimal() or not 0 < int(weight) <= 1_000):
            raise SettingsError(f"{word!r}: a weight is a number from 1 to 1000, as in {name}:5")
        if name in weights:
            raise SettingsError(f"queue {name!r} is named twice")
        weights[name] = int(weight) if colon else None
    if not any(weights.values()):
        return tuple(weights), ()
    return tuple(weights), tuple((name, weight or 1) for name, weight in weights.items())


def pool(text: str) -> tuple[str, int]:
    """`critical,mail:2`: queues, and how many processes serve them. Raises SettingsError."""
    queues, colon, count = text.rpartition(":")
    if not colon or not words([queues]) or not count.isdecimal() or not 0 < int(count) <= 1_000:
        raise SettingsError(f"--pool {text!r}: write queues and a number of processes, as in critical,mail:2")
    return queues, int(count)


def call_arguments(texts: Iterable[str]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a job: JSON where a word is JSON, else text; `name=value` by keyword.

    >>> call_arguments(["7", "Ada", "true", "to=[1, 2]", '"a=b"'])
    ([7, 'Ada', True, 'a=b'], {'to': [1, 2]})
    """
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            args.append(_value(text))
        elif name in kwargs:
            raise SettingsError(f"the argument {name} is given twice")
        else:
            kwargs[name] = _value(value)
    return args, kwargs


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
