"""`embedded://DIR`: when its server comes, when it goes, and that it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

import redjobs
from redjobs import connect, embedded
from redjobs.embedded.home import Home, release, try_lock
from redjobs.settings import resolve_url
from tests.embedded_home import command_line, home_of_a_server, is_held, keeper_of, kill, server_of, starts
from tests.waiting import wait_until

ROOT = Path(redjobs.__file__).parents[1]
NEVER_S = 3600.0
SOON_S = 0.1


@pytest.fixture
def directory() -> Iterator[Path]:
    with home_of_a_server() as home:
        yield home


@pytest.fixture
def client(directory: Path) -> Iterator[Callable[[], Redis]]:
    """Makes clients, as Queue does."""
    with ExitStack() as stack:

        def make() -> Redis:
            made = connect.connect(resolve_url(f"embedded://{directory}"))
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts Python programs, and ends those that are left."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            **options,  # type: ignore[call-overload]
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


COUNT = """
import sys
from redjobs import connect, embedded
from redjobs.settings import resolve_url
client = connect.connect(resolve_url("embedded://" + sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
client.incr("count")
print(embedded.status(sys.argv[1]).pid, flush=True)
sys.stdin.readline()
"""


def test_processes_that_start_at_once_share_one_server(
    directory: Path, python: Callable[..., subprocess.Popen[str]], client: Callable[[], Redis]
) -> None:
    processes = [python(COUNT, directory) for _ in range(8)]
    assert {hear(process) for process in processes} == {"ready"}
    for process in processes:
        say(process, "go")
    pids = {hear(process) for process in processes}

    assert pids == {str(server_of(directory))}
    assert starts(directory) == 1
    assert client().get("count") == b"8"


# Coming and going


def looks_of_the_keeper(redis: Redis) -> int:
    """How many commands the keeper has sent; its connection is the oldest."""
    keeper_first = sorted(redis.client_list(), key=lambda each: int(each["id"]))
    return int(keeper_first[0]["tot-cmds"])


def test_it_ends_when_its_last_user_has_gone(directory: Path, client: Callable[[], Redis]) -> None:
    embedded.ensure(directory, idle_s=SOON_S)
    redis = client()
    redis.set("key", "kept")
    server = server_of(directory)
    its_keeper = keeper_of(server)
    assert "keeper.py" in command_line(its_keeper)

    # Somebody who is connected is a user, also after a multiple of the idle time (= 4 looks).
    wait_until(lambda: looks_of_the_keeper(redis) > 20, description="the keeper has looked often")
    assert server_of(directory) == server

    redis.close()
    wait_until(lambda: not is_held(directory), description="it has ended")
    assert [command_line(server), command_line(its_keeper)] == ["", ""]
    assert not embedded.status(directory).running
    assert redis.get("key") == b"kept"  # and is back for the next user


def test_nothing_of_it_is_left_to_be_reaped(directory: Path) -> None:
    for _ in range(3):
        embedded.ensure(directory)
        embedded.stop(directory)
    everything = subprocess.check_output(["ps", "-A", "-o", "ppid=,stat="], text=True)
    mine = [line.split()[1] for line in everything.splitlines() if int(line.split()[0]) == os.getpid()]

    assert not [state for state in mine if state.startswith("Z")]


def test_ctrl_c_in_the_terminal_of_the_first_user_does_not_reach_it(
    directory: Path, python: Callable[..., subprocess.Popen[str]]
) -> None:
    first = python(COUNT, directory, start_new_session=True, stderr=subprocess.DEVNULL)
    say(first, "go")
    assert hear(first) == "ready"
    server = int(hear(first))
    os.killpg(first.pid, signal.SIGINT)

    assert first.wait(10) != 0
    assert server_of(directory) == server


def test_stop_and_status_do_not_start_anything(directory: Path) -> None:
    assert not embedded.stop(directory)
    assert embedded.status(directory) == embedded.Status(Home.of(directory).directory, running=False)
    assert not directory.exists()

    embedded.ensure(directory)
    assert embedded.stop(directory)
    assert not embedded.stop(directory)
    assert not embedded.status(directory).running


def test_a_forked_child_does_not_keep_the_lock(directory: Path) -> None:
    home = Home.of(directory)
    home.create()
    lock = try_lock(home.keeper_lock)
    assert lock is not None
    assert try_lock(home.keeper_lock) is None
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(tell, b"forked")
        signal.pause()
    try:
        os.read(told, 6)
        release(lock)
        again = try_lock(home.keeper_lock)
        assert again is not None, "the child holds it"
        release(again)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(told)
        os.close(tell)


# In the foreground

SERVE = """
import sys
from redjobs import embedded
embedded.serve(sys.argv[1], on_ready=lambda status: print(status.pid, flush=True))
"""


def test_serve_keeps_it_alive_without_users(
    directory: Path, python: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(embedded.IDLE_VARIABLE, str(SOON_S))
    process = python(SERVE, directory)
    server = int(hear(process))

    # A look at it would be a use of it. Others that nobody serves end in the meantime.
    for number in range(3):
        other = directory.with_name(f"other-{number}")
        embedded.ensure(other)
        wait_until(lambda other=other: not is_held(other))  # type: ignore[misc]
    assert server_of(directory) == server

    kill(server)
    wait_until(lambda: embedded.status(directory).pid not in (None, server), description="it is restarted")
    process.terminate()
    assert process.wait(10) == 0
    assert not is_held(directory)


def test_serve_leaves_a_server_that_others_use(
    directory: Path, python: Callable[..., subprocess.Popen[str]], client: Callable[[], Redis]
) -> None:
    process = python(SERVE, directory)
    server = int(hear(process))
    client().ping()
    process.send_signal(signal.SIGINT)

    assert process.wait(10) == 0
    assert server_of(directory) == server
