"""The record of what jobs did: whole, whoever is killed while it writes."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from tests.chaos.record import AGAIN, DONE, LINE, RECORD, Record, Recorder


def test_what_is_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record"
    monkeypatch.setenv(RECORD, str(path))
    record, recorder = Record(path), Recorder()
    first, second = recorder.started("VP7h1xU7kOfMke6GDC5T.-5", 1), recorder.started("other", 12)
    recorder.ended(second, DONE)
    recorder.ended(first, AGAIN)
    recorder.started("third", 1)
    record.read()
    assert [(run.job, run.attempt, run.pid, run.how) for run in record.runs] == [
        ("VP7h1xU7kOfMke6GDC5T.-5", 1, os.getpid(), AGAIN),
        ("other", 12, os.getpid(), DONE),
        ("third", 1, os.getpid(), ""),
    ]
    assert (record.done, record.runs[2].ended) == ({"other"}, None)
    record.close()


def test_no_line_crosses_a_page_where_a_kill_would_cut_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record"
    monkeypatch.setenv(RECORD, str(path))
    recorder = Recorder()
    for job in ("a", "VP7h1xU7kOfMke6GDC5T.-5", "one-of-thirty-characters-and-more"):
        recorder.ended(recorder.started(job, 1), DONE)
    assert mmap.PAGESIZE % LINE == 0
    assert {len(line) for line in path.read_bytes().splitlines()} == {LINE - 1}
