"""A worker's log: a line per event for people, or a JSON object per line for machines.

What a handler logs carries the id of its job, without the handler's doing.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime

from redjobs.current import current_id

#: What could steer a terminal: a handler's error text may be anybody's words.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_COLOURS = {"WARNING": "\033[33m", "ERROR": "\033[31m", "CRITICAL": "\033[31m", "DEBUG": "\033[2m"}


class TextFormatter(logging.Formatter):
    """`10:31:07.123 WARNING again shop.jobs:send … in 6 s: ValueError: no such user`."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback below it where the record has one."""
        moment = datetime.fromtimestamp(record.created, UTC).astimezone()
        text = record.getMessage()
        job_id = getattr(record, "job_id", None)
        if job_id is not None:
            text = f"{text}  job={job_id}"
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        text = _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
        line = f"{moment:%H:%M:%S}.{record.msecs:03.0f} {record.levelname:<7} {text}"
        colour = _COLOURS.get(record.levelname) if self._colour else None
        return f"{colour}{line}\033[0m" if colour else line


class JsonFormatter(logging.Formatter):
    """`{"at": …, "level": …, "logger": …, "message": …, "job_id": …}`."""

    def format(self, record: logging.LogRecord) -> str:
        """One object in one line."""
        entry: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        job_id = getattr(record, "job_id", None)
        if job_id is not None:
            entry["job_id"] = job_id
        entry |= getattr(record, "facts", {})
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def _bind_job(record: logging.LogRecord) -> bool:
    job_id = current_id()
    if job_id is not None:
        record.job_id = job_id
    return True


def configure(level: str = "INFO", fmt: str = "text", *, colour: bool | None = None) -> None:
    """Send all logging to stderr; `colour` None: where it is a terminal."""
    handler = logging.StreamHandler(sys.stderr)
    if fmt == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(TextFormatter(colour=sys.stderr.isatty() if colour is None else colour))
    handler.addFilter(_bind_job)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # At DEBUG it would log the arguments of commands, which may be secrets.
    logging.getLogger("redis").setLevel(max(logging.INFO, root.level))
