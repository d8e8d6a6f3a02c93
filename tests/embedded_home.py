"""Directories of embedded servers, and a look at their processes from outside."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from redjobs import embedded
from redjobs.embedded import keeper
from redjobs.embedded.home import Home
from tests.waiting import wait_until


@contextlib.contextmanager
def home_of_a_server() -> Iterator[Path]:
    """A name for a directory; in the end its server is stopped and nothing of it is left."""
    # Not pytest's tmp_path: the path of a socket must be short.
    room = Path(tempfile.mkdtemp(prefix="redjobs-"))
    home = room / "home"
    try:
        yield home
        embedded.stop(home)
        wait_until(lambda: not is_held(home), description="all of it has ended")
    finally:
        shutil.rmtree(room)


def is_held(directory: Path) -> bool:
    """Whether a keeper or a server is alive. Unlike `embedded.status`, this is no use of it."""
    return Home.of(directory).is_held()


def starts(directory: Path) -> int:
    """How many times a server was started for this directory."""
    return (directory / keeper.LOG).read_text().count("Server initialized")


def server_of(directory: str | Path) -> int:
    """The process of the server that runs there."""
    found = embedded.status(directory).pid
    assert found, "no server is running"
    return found


def keeper_of(server: int) -> int:
    """The process that started this one."""
    return int(subprocess.check_output(["ps", "-o", "ppid=", "-p", str(server)]))


def command_line(process: int) -> str:
    """What `ps` shows for it; empty when there is no such process, or it is a zombie."""
    command = ["ps", "-ww", "-o", "stat=,command=", "-p", str(process)]  # -ww: not cut to a terminal's width
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return "" if shown.startswith("Z") else shown


def kill(*processes: int) -> None:
    for process in processes:
        os.kill(process, signal.SIGKILL)
