"""Starts workers by forking: `python -m tests.worker.nursery FD`. Importing is most of what a start takes.

It has everything imported, one thread and no connection. A worker that it starts forks its children
in the same way; from `redjobs.worker.child.main` on they do what they always do.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import sys
import traceback
from typing import Any, NoReturn

from redjobs.worker import brood, child, supervisor, worker
from tests.worker import handlers, launch

_MESSAGE_BYTES = 65_536

assert handlers and supervisor and worker  # imported, so that those who are forked have them


def main(fd: int) -> None:
    """Start and poll workers as it is told, until the other side is gone."""
    sock = socket.socket(fileno=fd)
    while True:
        data, fds, *_ = socket.recv_fds(sock, _MESSAGE_BYTES, 1)
        if not data:
            return
        told = json.loads(data)
        if told["do"] == "start":
            pid = os.fork()
            if pid == 0:
                sock.close()
                _be_worker(told, fds[0])
            os.close(fds[0])
            sock.send(json.dumps(pid).encode())
        else:
            pid, status = os.waitpid(told["pid"], os.WNOHANG)
            sock.send(json.dumps(os.waitstatus_to_exitcode(status) if pid else None).encode())


def _be_worker(told: dict[str, Any], log_fd: int) -> NoReturn:
    code = 1
    try:
        os.setsid()
        for number in (1, 2):
            os.dup2(log_fd, number)
        os.environ.update(told["env"])
        os.chdir(told["cwd"])
        brood.start_module = fork_module
        code = launch.main(told["told"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def fork_module(module: str, *fds: int) -> int:
    """In place of `brood.start_module`: the same function, in a fork of the supervisor."""
    assert module == child.__name__
    # As Popen does: until its handlers are its own, a signal to both would be told to the supervisor twice.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        # What the supervisor shares with its other children is not this one's to keep open.
        kept = sorted({0, 1, 2, *fds})
        for below, above in itertools.pairwise([*kept, os.sysconf("SC_OPEN_MAX")]):
            os.closerange(below + 1, above)
        code = child.main(*fds)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(int(sys.argv[1]))
