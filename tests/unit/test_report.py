"""What a worker says of the jobs that it settled: a line for each, whoever listens."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import select
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from redjobs.jobs import Claim, JobError
from redjobs.retry import Completed, Failed, GiveUp
from redjobs.worker import report
from redjobs.worker.logs import configure, sole_console
from redjobs.worker.work import Work

_TIME = re.compile(r"\d\d:\d\d:\d\d\.\d{3}|\"at\": \"[^\"]+\"")


class Stream(io.StringIO):
    """Knows what was written at once."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def write(self, text: str) -> int:
        self.pieces.append(text)
        return super().write(text)

    def lines(self) -> list[str]:
        """Without their times."""
        return [_TIME.sub("", line) for line in self.getvalue().splitlines()]


class Records(logging.Handler):
    """An app's own handler."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def stderr() -> Iterator[Stream]:
    """Where `start` lets the log go; logging is afterwards as it was."""
    root, redis = logging.getLogger(), logging.getLogger("redis")
    handlers, level, redis_level = root.handlers[:], root.level, redis.level
    yield Stream()
    root.handlers[:] = handlers
    root.setLevel(level)
    redis.setLevel(redis_level)
    report.logger.handlers.clear()
    report.logger.filters.clear()


def start(stream: Stream, level: str = "INFO", fmt: str = "text") -> None:
    """The log of a worker."""
    with contextlib.redirect_stderr(stream):
        configure(level, fmt)


def work(number: int, name: str = "shop.jobs:send") -> Work:
    """A job that is done."""
    claim = Claim(
        f"id{number}", "mail", "w", "t", name, b"", 1, 0, 1_000, 1_000, 1_012 + number, b"", b"", None, 1
    )
    made = Work(claim)
    made.outcome = Completed(None)
    made.started_at, made.finished_at = 10.0, 10.003
    return made


def dead(number: int) -> Work:
    """A job that is given up."""
    made = work(number)
    error = JobError(1_000, 1, "ValueError: no such user")
    made.outcome, made.decision = Failed(ValueError("no such user"), error), GiveUp(error)
    return made


def _more_handlers() -> None:
    report.logger.addHandler(Records())


def _filter() -> None:
    report.logger.addFilter(lambda _: True)


@pytest.mark.parametrize("fmt", ["text", "json"])
def test_lines_are_the_same_whether_records_are_wanted_or_not(stderr: Stream, fmt: str) -> None:
    settled = [work(1), work(2, "bad\x1b:name"), dead(3), work(4)]
    start(stderr, "INFO", fmt)
    assert sole_console(report.logger) is not None
    report.jobs(settled)
    alone = stderr.lines()
    assert len(alone) == len(settled)
    assert [f"id{n}" in line for n, line in enumerate(alone, 1)] == [True] * 4, "in their order"

    records = Records()
    report.logger.addHandler(records)
    report.jobs(settled)
    assert stderr.lines()[len(alone) :] == alone
    told: list[Any] = [record.__dict__["facts"]["job_id"] for record in records.records]
    assert told == ["id1", "id2", "id3", "id4"], "one record per job"
    if fmt == "json":
        assert json.loads(stderr.getvalue().splitlines()[0])["event"] == "done"


@pytest.mark.parametrize("change", [_more_handlers, _filter])
def test_whoever_listens_gets_records(stderr: Stream, change: Callable[[], None]) -> None:
    start(stderr)
    change()
    assert sole_console(report.logger) is None


def test_a_tool_that_wraps_logging_gets_records(stderr: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    start(stderr)
    plain = logging.Logger.callHandlers

    def wrapped(self: logging.Logger, record: logging.LogRecord) -> None:
        plain(self, record)

    monkeypatch.setattr(logging.Logger, "callHandlers", wrapped)
    assert sole_console(report.logger) is None


def test_below_the_level_nothing_is_said(stderr: Stream) -> None:
    start(stderr, "WARNING")
    report.jobs([work(1), dead(2)])
    (line,) = stderr.lines()
    assert "dead" in line


def test_a_pipe_takes_each_write_whole(stderr: Stream) -> None:
    start(stderr)
    report.jobs([work(number) for number in range(200)])
    assert len(stderr.lines()) == 200
    assert 1 < len(stderr.pieces) < 50
    for piece in stderr.pieces:
        assert piece.endswith("\n")
        assert len(piece.encode()) <= select.PIPE_BUF
