"""The server is there and refuses: its disk is full, it loads, it is busy. A worker waits, and goes on."""

from __future__ import annotations

import contextlib
import resource
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from redjobs import Queue, call
from tests.servers import Kind, Server, running
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.conftest import Start
from tests.worker.runs import Runs


@pytest.fixture
def server(kind: Kind) -> Iterator[Server]:
    """A server of its own that keeps its data in a file."""
    with running(kind, "--appendonly", "yes", "--appendfsync", "everysec") as alone:
        yield alone


@contextlib.contextmanager
def full_disk(server: Server) -> Iterator[None]:
    """No file of the server may grow any more."""
    client: Any = server.client()
    log = server.append_only_file
    _, most = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (log.stat().st_size, most))
    # Accepted, and kept in memory until there is room; unless something that the worker said came first.
    with contextlib.suppress(redis.ResponseError):
        client.set("redjobs-test", "")
    yield
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (most, most))
    wait_until(lambda: client.info("persistence")["aof_last_write_status"] == "ok")


@contextlib.contextmanager
def failing_snapshots(server: Server) -> Iterator[None]:
    """A directory stands where the snapshot should be written."""
    assert server.socket is not None
    client: Any = server.client()
    obstacle = server.socket.with_name("dump.rdb")
    obstacle.mkdir()
    client.config_set("save", "3600 1")
    client.bgsave()
    wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
    yield
    obstacle.rmdir()
    client.bgsave()
    wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "ok")


@contextlib.contextmanager
def long_script(server: Server) -> Iterator[None]:
    """Somebody's script that does not end."""
    client: Any = server.client()
    client.config_set("lua-time-limit", 100)
    with in_background(lambda: server.client().eval("while true do end", 0)):
        wait_until(lambda: refuses(client, "BUSY"))
        yield
        client.script_kill()


@contextlib.contextmanager
def loading(server: Server) -> Iterator[None]:
    """The server reads its data, which takes a second or two."""
    client: Any = server.client()
    client.mset({f"redjobs-test-{number}": "x" * 100 for number in range(100)})
    client.config_set("loading-process-events-interval-bytes", 1024)
    client.config_set("key-load-delay", 10_000)
    busy: Any = server.client()
    with in_background(lambda: busy.execute_command("DEBUG", "RELOAD")):
        wait_until(lambda: refuses(client, "load"))
        yield
        wait_until(lambda: not refuses(client, "load"))


@contextlib.contextmanager
def in_background(do: Callable[[], object]) -> Iterator[None]:
    """A call that the server is busy with, and that may fail."""

    def attempt() -> None:
        with contextlib.suppress(redis.RedisError):
            do()

    thread = threading.Thread(target=attempt)
    thread.start()
    yield
    thread.join()


def refuses(client: Any, why: str) -> bool:
    try:
        client.get("redjobs-test")
    except redis.RedisError as error:
        return why in str(error)
    return False


TROUBLES = [
    pytest.param((full_disk, "MISCONF"), id="full disk"),
    pytest.param((failing_snapshots, "MISCONF"), id="failing snapshots", marks=pytest.mark.slow),
    pytest.param((long_script, "BUSY"), id="long script", marks=pytest.mark.slow),
    pytest.param((loading, "gone"), id="loading", marks=pytest.mark.slow),
]


@pytest.mark.row(38)
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_worker_says_what_the_matter_is_once_and_goes_on_when_it_is_over(
    queue: Queue, worker: Start, runs: Runs, server: Server, trouble: tuple[Any, str], gate: Path
) -> None:
    begin, word = trouble
    process = worker(processes=0)
    jobs = queue.enqueue_many(
        [call(handlers.wait, str(gate)), *(call(handlers.record, str(n)) for n in range(10))]
    )
    runs.wait("start")
    with begin(server):
        gate.touch()
        process.says(word)
        if word != "gone":
            with pytest.raises(redis.ResponseError, match=word):
                queue.enqueue(handlers.record, "refused")
    queue.enqueue(handlers.record, "after")
    runs.wait("end", "after")
    assert {line.job_id for line in runs.lines("end")} > {job.id for job in jobs}
    assert runs.count("start") == 12
    assert process.count(word) == 1
    assert process.stop() == 0
