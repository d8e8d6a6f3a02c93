"""A supervisor's child: `python -m redjobs.worker.child CHANNEL BOARD CRASHES` (file descriptors).

Everything else it is told over the channel, so that no password stands in a process list.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
import traceback

from redjobs import connect
from redjobs.errors import SettingsError
from redjobs.settings import Server
from redjobs.worker.apps import app_files, import_apps
from redjobs.worker.brood import CANNOT_IMPORT, other_version, server_from_dict
from redjobs.worker.logs import configure
from redjobs.worker.options import WorkerOptions
from redjobs.worker.seat import Channel, Seat
from redjobs.worker.slots import Slots
from redjobs.worker.worker import Worker


def main(channel_fd: int, board_fd: int, crashes_fd: int) -> int:
    """Be told what to do, do it, and say why it ends."""
    # A segfault leaves its last words where the supervisor finds them.
    faulthandler.enable(crashes_fd)
    # Before and after the worker's own handlers: what signals all processes is meant for the supervisor,
    # which tells this one; by itself it would kill one that starts, or that is just about to end.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=channel_fd))
    told = channel.wait()
    if text := other_version(told):
        channel.send(say="fatal", text=text)
        return CANNOT_IMPORT
    configure(**told["logs"])
    options = WorkerOptions.from_dict(told["options"])
    server = server_from_dict(told["server"])
    try:
        import_apps(options.apps)
    except BaseException as error:  # noqa: BLE001 - whatever an app's import raises
        text = str(error) if isinstance(error, SettingsError) else traceback.format_exc()
        channel.send(say="fatal", text=text)
        return CANNOT_IMPORT
    return serve(channel, board_fd, server, options)


def serve(channel: Channel, board_fd: int, server: Server, options: WorkerOptions) -> int:
    """Run jobs, the app being imported."""
    seat = Seat(channel, Slots(board_fd, options.threads + options.concurrency))
    client = connect.connect_worker(server, socket_timeout=options.answer_seconds)
    worker = Worker(client, options, seat=seat)
    if options.reload:
        channel.send(say="imported", files=app_files(options.apps))
    failed = worker.run(lambda: channel.send(say="ready"))
    seat.leave(worker.leaving, failed)
    return 0


if __name__ == "__main__":
    code = main(*map(int, sys.argv[1:4]))
    # Threads of handlers that do not end must not keep the process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
