"""A worker's log: a line per event for people, or a JSON object per line for machines.

What a handler logs carries the id of its job, without the handler's doing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import select
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TextIO

from redjobs.current import current_id

#: What a line says for machines.
Facts = dict[str, object]

#: As this module found it: what wraps it (Sentry does) wants to see each record.
_CALL_HANDLERS = logging.Logger.callHandlers

#: What could steer a terminal: a handler's error text may be anybody's words.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_COLOURS = {"WARNING": "\033[33m", "ERROR": "\033[31m", "CRITICAL": "\033[31m", "DEBUG": "\033[2m"}


class TextFormatter(logging.Formatter):
    """`10:31:07.123 WARNING again shop.jobs:send … in 6 s: ValueError: no such user`, dated or not."""

    def __init__(self, *, colour: bool, dated: bool) -> None:
        super().__init__()
        self._colour = colour
        self._time = "%Y-%m-%d %H:%M:%S" if dated else "%H:%M:%S"

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback below it where the record has one."""
        text = record.getMessage()
        job_id = getattr(record, "job_id", None)
        if job_id is not None:
            text = f"{text}  job={job_id}"
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        line = f"{self._head(record.created, record.levelname)}{_plain(text)}"
        colour = _COLOURS.get(record.levelname) if self._colour else None
        return f"{colour}{line}\033[0m" if colour else line

    def format_all(self, _logger: str, messages: Iterable[str], _facts: Iterable[Facts]) -> list[str]:
        """The lines of records at INFO that are made now."""
        head = self._head(time.time(), "INFO")
        return [f"{head}{_plain(message)}" for message in messages]

    def _head(self, created: float, level: str) -> str:
        moment = datetime.fromtimestamp(created, UTC).astimezone()
        return f"{moment:{self._time}}.{moment.microsecond // 1000:03} {level:<7} "


def _plain(text: str) -> str:
    if text.isprintable():
        return text
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class JsonFormatter(logging.Formatter):
    """`{"at": …, "level": …, "logger": …, "message": …, "job_id": …}`."""

    def format(self, record: logging.LogRecord) -> str:
        """One object in one line."""
        entry = self._entry(record.created, record.levelname, record.name, record.process)
        entry["message"] = record.getMessage()
        job_id = getattr(record, "job_id", None)
        if job_id is not None:
            entry["job_id"] = job_id
        entry |= getattr(record, "facts", {})
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)

    def format_all(self, logger: str, messages: Iterable[str], facts: Iterable[Facts]) -> list[str]:
        """The lines of records at INFO that are made now."""
        entry = self._entry(time.time(), "INFO", logger, os.getpid())
        return [
            json.dumps(entry | {"message": message} | known, default=str)
            for message, known in zip(messages, facts, strict=True)
        ]

    @staticmethod
    def _entry(created: float, level: str, logger: str, process: int | None) -> dict[str, object]:
        return {
            "at": datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds"),
            "level": level.lower(),
            "logger": logger,
            "process": process,
        }


class Console(logging.StreamHandler[TextIO]):
    """All logging, to stderr; a batch of messages in one write."""

    def __init__(self, lines: TextFormatter | JsonFormatter) -> None:
        super().__init__(sys.stderr)
        self._lines = lines
        self.setFormatter(lines)
        self.addFilter(_bind_job)

    def write_all(self, logger: str, messages: Iterable[str], facts: Iterable[Facts]) -> None:
        """A line for each message, as if it had been logged at INFO with its facts.

        A log record costs more than all else that a worker does for a short job.
        """
        try:
            lines = self._lines.format_all(logger, messages, facts)
            with self.lock or contextlib.nullcontext():
                for piece in _pieces(lines):
                    self.stream.write(piece)
                    self.flush()
        except Exception:  # noqa: BLE001 - as every handler does: the log stops no worker
            self.handleError(logging.makeLogRecord({"name": logger, "msg": "%s", "args": ("jobs",)}))

    @property
    def is_ours(self) -> bool:
        """Whether nobody has changed what it shows, and how."""
        return self.formatter is self._lines and self.filters == [_bind_job]


def counted(number: int, what: str) -> str:
    """`1 process`, `2 processes`, `3 jobs`."""
    plural = "es" if what.endswith("s") else "s"
    return f"{number} {what}{plural if number != 1 else ''}"


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    """The lines in pieces that a pipe takes whole: processes that share one never cut each other's lines."""
    piece: list[str] = []
    left = select.PIPE_BUF
    for line in lines:
        size = 1 + (len(line) if line.isascii() else len(line.encode("utf-8", "replace")))
        if piece and size > left:
            yield "\n".join([*piece, ""])
            piece, left = [], select.PIPE_BUF
        piece.append(line)
        left -= size
    yield "\n".join([*piece, ""])


def sole_console(logger: logging.Logger) -> Console | None:
    """The console, where this logger's messages at INFO go there and nowhere else, unchanged.

    Otherwise somebody wants records: a handler or a filter of the app's, or a tool that wraps logging.
    """
    listeners: list[logging.Handler] = []
    above: logging.Logger | None = logger
    while above is not None:
        listeners += above.handlers
        above = above.parent if above.propagate else None
    if len(listeners) != 1 or logger.filters:
        return None
    (console,) = listeners
    if not isinstance(console, Console) or console.level > logging.INFO or not console.is_ours:
        return None
    plain = logging.getLogRecordFactory() is logging.LogRecord and type(logger) is logging.Logger
    return console if plain and logging.Logger.callHandlers is _CALL_HANDLERS else None


def _bind_job(record: logging.LogRecord) -> bool:
    job_id = current_id()
    if job_id is not None:
        record.job_id = job_id
    return True


def configure(level: str = "INFO", fmt: str = "text", *, colour: bool | None = None) -> None:
    """Send all logging to stderr; `colour` None: where it is a terminal. Elsewhere lines have the date."""
    seen = sys.stderr.isatty()
    text = TextFormatter(colour=seen if colour is None else colour, dated=not seen)
    handler = Console(JsonFormatter() if fmt == "json" else text)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # At DEBUG it would log the arguments of commands, which may be secrets.
    logging.getLogger("redis").setLevel(max(logging.INFO, root.level))
