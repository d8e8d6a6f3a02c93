"""What a command prints: nothing that a terminal would obey, tables, JSON, times for people."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TextIO

import click

from redjobs.clock import format_duration, from_ms

#: Cells of a table that are cut where the terminal is narrow have at least this many characters.
_NARROWEST = 12
#: So many take long enough for somebody to wonder.
_MANY = 5_000


def printable(text: object) -> str:
    r"""The text with everything escaped that a terminal might obey, and without line breaks.

    >>> printable("\x1b]0;title\x07 bell, \u202e reversed")
    '\\x1b]0;title\\x07 bell, \\u202e reversed'
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: object) -> str:
    """As `printable`, but the lines stay apart."""
    return "\n".join(map(printable, str(text).split("\n")))


def say(text: str = "", *, err: bool = False, **style: Any) -> None:
    """Print lines; `style` is click's, and seen on a terminal only."""
    shown = text if err else _writable(text)
    click.echo(click.style(shown, **style) if style else shown, err=err, color=color_wish())


def is_terminal(*, err: bool = False) -> bool:
    """Whether stdout, or stderr, is one. A program may be started without them."""
    stream: TextIO | None = sys.stderr if err else sys.stdout
    return stream is not None and stream.isatty()


def with_progress(steps: Iterable[int], total: int, label: str) -> None:
    """Take all steps, each of so many of `total`; where there are many, a terminal shows how far it is."""
    if total < _MANY or not is_terminal(err=True):
        for _ in steps:
            pass
        return
    with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
        for step in steps:
            bar.update(step)


def _writable(text: str) -> str:
    """With what stdout has no bytes for escaped, as stderr does it by itself."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def color_wish() -> bool | None:
    """No colours where the environment wants none; None: as the terminal can."""
    return False if os.environ.get("NO_COLOR") else None


def say_json(value: Any) -> None:
    """Print one JSON value, in one line where a program reads it; ASCII only, so nothing is obeyed."""
    indent = 2 if is_terminal() else None
    click.echo(json.dumps(value, indent=indent, ensure_ascii=True, default=repr))


def plain(value: Any) -> Any:
    """The value if it is one of JSON, or else how Python writes it."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return repr(value)
    return value


def say_table(head: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[int] = ()) -> None:
    """Print aligned columns, those in `right` to the right. On a terminal the last one is cut to fit."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(head), *cells]) for i in range(len(head))]
    to_right = set(right)
    if is_terminal():
        room = shutil.get_terminal_size().columns
        widths[-1] = min(widths[-1], max(_NARROWEST, room - sum(widths[:-1]) - 2 * (len(head) - 1)))
    say(_line(head, widths, to_right), dim=True)
    for row in cells:
        say(_line(row, widths, to_right))


def _line(row: Sequence[str], widths: Sequence[int], to_right: set[int]) -> str:
    cells = []
    for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
        shown = cell if len(cell) <= width else cell[: width - 1] + "…"
        cells.append(shown.rjust(width) if i in to_right else shown.ljust(width))
    return "  ".join(cells).rstrip()


# Times and numbers ------------------------------------------------------------------------------


def count(number: int) -> str:
    """1234567 as 1,234,567."""
    return f"{number:,}"


def some(number: int, thing: str) -> str:
    """`1 job`, `2 jobs`, `1,000 jobs`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def age(milliseconds: int) -> str:
    """A duration, `-` for none."""
    return format_duration(milliseconds / 1000) if milliseconds > 0 else "-"


def distance(at_ms: int, now_ms: int) -> str:
    """`in 3d`, `12 s ago`."""
    if at_ms > now_ms:
        return f"in {format_duration((at_ms - now_ms) / 1000)}"
    return f"{format_duration((now_ms - at_ms) / 1000)} ago"


def local_time(at_ms: int) -> str:
    """A moment in this machine's time zone, with its offset."""
    try:
        moment: datetime = from_ms(at_ms).astimezone()
    except (ValueError, OverflowError, OSError, TypeError):
        return f"{printable(at_ms)} ms"
    return moment.isoformat(sep=" ", timespec="milliseconds")
