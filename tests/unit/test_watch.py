"""Which files have changed since they were imported: what `--reload` goes by."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from redjobs.registry import Registry
from redjobs.worker.apps import app_files, import_apps
from redjobs.worker.watch import FileWatch

CHANGES_ITSELF = """
import os, time
os.utime(__file__, (time.time() + 1, time.time() + 1))
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An app that was written a minute ago."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "watched_app", raising=False)
    path = tmp_path / "watched_app.py"
    path.touch()
    os.utime(path, (time.time() - 60, time.time() - 60))
    return path


def watch(files: dict[str, float]) -> FileWatch:
    watched = FileWatch()
    watched.watch(files)
    return watched


def test_what_has_not_changed_is_not_reloaded(app: Path) -> None:
    import_apps(["watched_app"], Registry())
    assert not watch(app_files(["watched_app"])).changed()


def test_what_changes_before_the_supervisor_hears_of_the_file_has_changed(app: Path) -> None:
    import_apps(["watched_app"], Registry())
    files = app_files(["watched_app"])
    os.utime(app)
    assert watch(files).changed()


def test_what_changes_while_it_is_imported_is_imported_again(app: Path) -> None:
    app.write_text(CHANGES_ITSELF)
    import_apps(["watched_app"], Registry())
    assert watch(app_files(["watched_app"])).changed()
