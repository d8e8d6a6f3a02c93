"""A worker's log, for people and for machines."""

from __future__ import annotations

import json
import logging
import re
import sys

import pytest

from redjobs.current import CurrentJob
from redjobs.jobs import Claim
from redjobs.worker.logs import JsonFormatter, TextFormatter, configure
from redjobs.worker.work import Work


def record(message: str, level: int = logging.INFO, **more: object) -> logging.LogRecord:
    """A log record with extra attributes."""
    made = logging.LogRecord("shop", level, "shop.py", 1, message, (), None)
    made.__dict__.update(more)
    return made


def test_a_line_for_people_names_the_job() -> None:
    line = TextFormatter(colour=False, dated=False).format(record("sent", job_id="VPabc"))
    assert line.endswith("INFO    sent  job=VPabc")
    assert "\033" not in line


def test_where_nobody_looks_on_a_line_has_its_date() -> None:
    sent = record("sent")
    sent.created = 1_800_000_000.25
    line = TextFormatter(colour=False, dated=True).format(sent)
    assert re.match(r"2027-01-15 \d\d:\d\d:00\.250 INFO ", line)
    assert line.endswith(TextFormatter(colour=False, dated=False).format(sent)) and line[11:] != line


def test_into_a_file_the_log_has_dates(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    configure()
    logging.getLogger("shop").warning("sent")
    assert re.match(r"20\d\d-\d\d-\d\d ", capfd.readouterr().err)


def test_colour_is_for_what_matters() -> None:
    formatter = TextFormatter(colour=True, dated=False)
    assert formatter.format(record("bad", logging.ERROR)).startswith("\033[31m")
    assert "\033" not in formatter.format(record("fine"))


def test_a_line_for_machines_is_one_object() -> None:
    entry = json.loads(JsonFormatter().format(record("two\nlines", job_id="VPabc", facts={"took_ms": 3})))
    assert entry["message"] == "two\nlines"
    assert entry["job_id"] == "VPabc"
    assert entry["took_ms"] == 3
    assert entry["level"] == "info"


@pytest.mark.parametrize("formatter", [TextFormatter(colour=False, dated=False), JsonFormatter()])
def test_a_traceback_is_kept(formatter: logging.Formatter) -> None:
    made = record("failed", logging.ERROR)
    try:
        int("no number")
    except ValueError:
        made.exc_info = sys.exc_info()
    assert "ValueError: invalid literal" in formatter.format(made)


def test_a_jobs_own_logger_adds_to_what_the_handler_says_with_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    claim = Claim(
        id="VPabc",
        queue="default",
        worker="a-worker",
        token="a-token",
        name="shop.jobs:restock",
        payload=b"",
        attempt=1,
        crashes=0,
        enqueued_at_ms=0,
        run_at_ms=0,
        started_at_ms=0,
        options=b"",
        errors=b"",
        key=None,
        format=1,
    )
    log = CurrentJob(Work(claim)).log
    log.warning("low", extra={"stock": 3})
    log.warning("out")
    low, out = caplog.records
    assert (low.name, low.__dict__["job_id"], low.__dict__["stock"]) == ("shop.jobs", "VPabc", 3)
    assert out.__dict__["job_id"] == "VPabc"
