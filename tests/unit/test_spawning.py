"""A child that the system has no room for leaves nothing behind, however often it is tried."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections import deque
from pathlib import Path
from typing import Any, NoReturn

import pytest

from redjobs.settings import resolve_url
from redjobs.worker import WorkerOptions, brood, forks
from redjobs.worker.brood import Spawner
from redjobs.worker.forks import ForkSpawner
from redjobs.worker.places import Places
from redjobs.worker.seat import Channel

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


def test_a_request_that_could_not_be_made_gives_nobody_anothers_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who is in the line of those that were asked for gets the pid of the next one that is forked."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server = forks._ForkServer(0, ours, os.dup(0))
    with theirs, contextlib.closing(Channel(ours)) as child:
        before = open_files()
        monkeypatch.setattr(os, "dup", no_memory)
        with pytest.raises(OSError, match="memory"):
            server.ask(child, {}, (0, 1, 2))
        assert (server.asked, server.unsent) == (deque(), deque())
        assert open_files() == before
    os.close(server.crashes_fd)
