"""What the keeper of an embedded server does by itself; the rest needs a server to be seen."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from redjobs.embedded import keeper


def test_the_keeper_syncs_what_was_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "appendonlydir"
    directory.mkdir()
    base, appended = directory / "a.1.base.rdb", directory / "a.1.incr.aof"
    base.write_bytes(b"base")
    appended.write_bytes(b"one")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    files = keeper.Synced(str(directory))

    files.bring_up_to_date()
    assert synced == [appended.stat().st_ino]
    files.bring_up_to_date()
    assert len(synced) == 1, "nothing new"
    appended.write_bytes(b"one two")
    files.bring_up_to_date()
    assert len(synced) == 2
    shutil.rmtree(directory)
    files.bring_up_to_date()
