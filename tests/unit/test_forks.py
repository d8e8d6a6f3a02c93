"""Whether a process has ended whose parent is gone: its pid alone does not say so."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from redjobs.settings import resolve_url
from redjobs.worker.forks import ForkSpawner, _ForkServer, _started

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="--preload is known there")


def test_one_that_lives_is_the_same_and_another_one_is_not() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert _started(process.pid) == _started(process.pid)
        assert _started(process.pid) != _started(os.getpid())
        process.kill()


def test_one_that_nobody_cares_for_has_ended() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert _started(process.pid) is not None
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert _started(process.pid) is None
    assert _started(process.pid) is None


def test_a_pid_that_is_another_processs_by_now() -> None:
    spawner = ForkSpawner(resolve_url("redis://nowhere"), {}, ())
    ours, theirs = socket.socketpair()
    gone = _ForkServer(1, ours, crashes_fd=-1)
    child: Any = SimpleNamespace(pid=os.getpid())
    assert not spawner._is_orphan(child), "not forked yet"
    spawner._forked[child.pid] = gone, _started(child.pid)
    assert not spawner._is_orphan(child)
    spawner._forked[child.pid] = gone, "before"
    assert spawner._is_orphan(child)
    spawner._servers.append(gone)
    assert not spawner._is_orphan(child), "its parent will say it"
    ours.close()
    theirs.close()
