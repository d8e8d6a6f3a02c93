"""The fork server's children: which is which, and whether one has ended whose parent is gone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from redjobs.settings import resolve_url
from redjobs.worker import WorkerOptions, zygote
from redjobs.worker.forks import ForkSpawner, _ForkServer, _started
from redjobs.worker.seat import Channel

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


def small_socketpair() -> tuple[socket.socket, socket.socket]:
    """A pair that holds a message or two."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    ours.setblocking(False)
    return ours, theirs


def test_each_of_many_children_gets_its_own_pid() -> None:
    """Though the fork server has no time for them until all are asked for, and its socket is full at once."""
    spawner = ForkSpawner(resolve_url("redis://nowhere"), {}, ())
    ours, theirs = small_socketpair()
    spawner._servers.append(_ForkServer(1, ours, crashes_fd=-1))
    children = [spawner.spawn(WorkerOptions(queues=("mail",) * 200)) for _ in range(20)]
    zygote._send(theirs, say="imported")
    for pid in range(1001, 1021):
        for child in children:
            spawner._listen(spawner._servers[0])
            spawner._christen(child)
        _, fds = zygote._receive(theirs)
        theirs_of_child = Channel(socket.socket(fileno=fds[1]))
        theirs_of_child.send(say="my pid", pid=pid)
        zygote._send(theirs, say="forked", pid=pid)
        for fd in (fds[0], *fds[2:]):
            os.close(fd)
        theirs_of_child.close()
    spawner._listen(spawner._servers[0])
    for child in children:
        spawner._christen(child)
        assert child.channel.receive() == [{"say": "my pid", "pid": child.pid}]
        child.close()
    ours.close()
    theirs.close()


def test_one_that_is_dismissed_forks_what_it_was_asked_for() -> None:
    spawner = ForkSpawner(resolve_url("redis://nowhere"), {}, ())
    ours, theirs = small_socketpair()
    spawner._servers.append(_ForkServer(1, ours, crashes_fd=-1))
    children = [spawner.spawn(WorkerOptions()) for _ in range(2)]
    spawner.renew()
    zygote._send(theirs, say="imported")
    for pid in (1001, 1002):
        spawner._listen(spawner._servers[0])
        words, fds = zygote._receive(theirs)
        assert words
        for fd in fds:
            os.close(fd)
        zygote._send(theirs, say="forked", pid=pid)
    spawner._listen(spawner._servers[0])
    assert zygote._receive(theirs) == (b"", [])
    for child in children:
        child.close()
    ours.close()
    theirs.close()
