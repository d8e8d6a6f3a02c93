"""A child that the system has no room for leaves nothing behind, however often it is tried."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from redjobs.settings import resolve_url
from redjobs.worker import WorkerOptions, brood, forks
from redjobs.worker.brood import Spawner
from redjobs.worker.forks import ForkSpawner
from redjobs.worker.places import Places

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="open files are counted there")


def no_memory(*_: Any) -> NoReturn:
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def open_files() -> list[Path]:
    return sorted(Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("preload", [False, True])
def test_a_child_that_could_not_be_started_leaves_no_file_open(
    preload: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(brood, "start_module", no_memory)
    monkeypatch.setattr(forks, "start_module", no_memory)
    server = resolve_url("redis://nowhere")
    places = Places(WorkerOptions(), ForkSpawner(server, {}, ()) if preload else Spawner(server, {}))
    before = open_files()
    for _ in range(3):
        places.fill()
        places._again_at = 0.0
    assert open_files() == before
    assert (places.wanted, places.children) == (1, [])
    assert caplog.messages == [
        "cannot start a child: Cannot allocate memory; trying again until that changes"
    ]
