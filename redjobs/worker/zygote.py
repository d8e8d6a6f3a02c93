"""The fork server of `--preload`: imports the app once, then forks children that share its memory.

`python -m redjobs.worker.zygote CHANNEL CRASHES` (file descriptors). It has one thread and no
connection, so a fork is safe. It is the parent of its children, so it tells the supervisor how each
of them ended.
"""

from __future__ import annotations

import array
import contextlib
import faulthandler
import json
import os
import select
import signal
import socket
import sys
import traceback
from typing import Any, NoReturn

from redjobs.errors import SettingsError
from redjobs.worker.apps import import_apps
from redjobs.worker.brood import CANNOT_IMPORT, other_version, server_from_dict
from redjobs.worker.child import serve
from redjobs.worker.logs import configure
from redjobs.worker.options import WorkerOptions
from redjobs.worker.seat import Channel

_MESSAGE_BYTES = 65_536
_FDS = 4


def main(channel_fd: int, crashes_fd: int) -> int:
    """Import the app, then fork a child for every request, until the supervisor is gone."""
    # An import that crashes or hangs leaves its last words where the supervisor finds them.
    faulthandler.enable(crashes_fd)
    # A signal to all processes is for the supervisor to act on; this one ends when that one does.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sock = socket.socket(fileno=channel_fd)
    words, _ = _receive(sock)
    if not words:
        return 0
    told = json.loads(words)
    if text := other_version(told):
        _send(sock, say="fatal", text=text)
        return CANNOT_IMPORT
    configure(**told["logs"])
    try:
        import_apps(told["apps"])
    except BaseException as error:  # noqa: BLE001 - whatever an app's import raises
        text = str(error) if isinstance(error, SettingsError) else traceback.format_exc()
        _send(sock, say="fatal", text=text)
        return CANNOT_IMPORT
    _send(sock, say="imported")
    _serve(sock)
    return 0


def _serve(sock: socket.socket) -> None:
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    while True:
        readable, _, _ = select.select([sock.fileno(), wake_read], [], [])
        if wake_read in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wake_read, 4096)
            _report_ends(sock)
        if sock.fileno() in readable:
            words, fds = _receive(sock)
            if not words:
                return
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                sock.close()
                _be_child(fds)
            for fd in fds:
                os.close(fd)
            _send(sock, say="forked", pid=pid)


def _be_child(fds: list[int]) -> NoReturn:
    page, channel_fd, board_fd, crashes_fd = fds
    code = 1
    try:
        faulthandler.enable(crashes_fd)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Not from where it stands, which is shared with whoever has written it.
        told = json.loads(os.pread(page, os.fstat(page).st_size, 0))
        os.close(page)
        options = WorkerOptions.from_dict(told["options"])
        channel = Channel(socket.socket(fileno=channel_fd))
        code = serve(channel, board_fd, server_from_dict(told["server"]), options)
    except BaseException:  # noqa: BLE001 - nothing may return into the fork server's loop
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _report_ends(sock: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _send(sock, say="ended", pid=pid, status=status)


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """One message with the descriptors that came with it; empty once the other side is gone."""
    fds = array.array("i")
    try:
        data, ancillary, _, _ = sock.recvmsg(_MESSAGE_BYTES, socket.CMSG_SPACE(_FDS * fds.itemsize))
    except ConnectionResetError:  # it was killed, and left words of ours unread
        return b"", []
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    return data, list(fds)


def _send(sock: socket.socket, **message: Any) -> None:
    with contextlib.suppress(OSError):
        sock.send(json.dumps(message).encode())


if __name__ == "__main__":
    code = main(*map(int, sys.argv[1:3]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
