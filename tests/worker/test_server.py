"""The server fails in each way that servers do: gone, killed, full, paused, read-only, with broken keys.

A worker says so once, waits without haste, says once that it is over, and has lost nothing.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError

from redjobs import Queue, State, call
from tests import invariants
from tests.servers import Kind, Server, start
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.conftest import Start
from tests.worker.processes import WorkerProcess
from tests.worker.runs import Runs

#: Far above what an idle worker asks in a second, far below what one asks that spins.
COMMANDS_PER_SECOND = 300


@pytest.fixture
def server(private_server: Server) -> Server:
    """Each test has a server of its own, to do with it what it likes."""
    return private_server


@pytest.fixture
def redis_client(server: Server) -> redis.Redis:
    return server.client()


@pytest.fixture
def idle(worker: Start, queue: Queue, runs: Runs, server: Server) -> Callable[..., WorkerProcess]:
    """A worker that has run something and is asleep."""

    def begin(**options: Any) -> WorkerProcess:
        process = worker(**{"processes": 0, **options})
        job = queue.enqueue(handlers.record, "first")
        process.says("done", job.id)
        runs.path.write_text("")
        return process

    return begin


Idle = Callable[..., WorkerProcess]


def commands_per_second(client: redis.Redis) -> int:
    """How many calls of scripts and pops the server gets, per second."""

    def calls() -> int:
        stats: Any = client.info("commandstats")
        return sum(
            stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval", "brpoplpush")
        )

    before, at = calls(), time.monotonic()
    wait_until(lambda: time.monotonic() > at + 0.4)
    return round((calls() - before) / 0.4)


# Full -----------------------------------------------------------------------------------------


@pytest.fixture
def full(redis_client: redis.Redis) -> Callable[[bool], None]:
    """Let the server refuse whatever needs memory, or not."""

    def switch(on: bool) -> None:
        redis_client.config_set("maxmemory", 1 if on else 0)

    return switch


@pytest.mark.row(24)
def test_a_full_server_refuses_new_jobs_and_is_drained(
    queue: Queue, idle: Idle, runs: Runs, full: Callable[[bool], None], gate: Path
) -> None:
    process = idle()
    queue.enqueue(handlers.wait, str(gate), "holds the worker up")
    runs.wait("start")
    queue.enqueue_many(call(handlers.record, str(number)) for number in range(20))
    queue.options(priority=5).enqueue(handlers.record, "priority")
    queue.options(backoff=0.1).enqueue(handlers.fail_until, 2)
    queue.options(result_ttl=60).enqueue(handlers.give, 7)
    queue.enqueue_in(timedelta(milliseconds=300), handlers.record, "later")
    full(True)
    with pytest.raises(ResponseError, match="used memory > 'maxmemory'"):
        queue.enqueue(handlers.record, "refused")
    gate.touch()
    runs.wait("end", times=25)
    assert process.stop() == 0
    assert sorted(runs.texts()) == sorted(
        ["holds the worker up", *map(str, range(20)), "priority", "2", "", "later"]
    )
    assert process.count("the server is gone") == 0


@pytest.mark.row(24)
def test_a_worker_can_be_started_while_the_server_is_full(
    queue: Queue, worker: Start, runs: Runs, full: Callable[[bool], None]
) -> None:
    queue.enqueue_many(call(handlers.record, str(number)) for number in range(20))
    full(True)
    assert worker(processes=0, burst=True).wait() == 0
    assert len(runs.texts()) == 20


@pytest.mark.row(24)
def test_an_idle_worker_on_a_full_server_waits_and_says_so_once(
    queue: Queue, idle: Idle, runs: Runs, full: Callable[[bool], None], redis_client: redis.Redis
) -> None:
    process = idle()
    full(True)
    process.says("the server refuses a command", "maxmemory")
    assert commands_per_second(redis_client) < COMMANDS_PER_SECOND
    assert process.count("the server refuses a command") == 1
    full(False)
    queue.enqueue(handlers.record, "after")
    runs.wait("end", "after", timeout=4)
    assert process.count("the server is gone") == 0


# Gone, and back -------------------------------------------------------------------------------


class Phoenix:
    """A server that is killed and started again on the same data."""

    def __init__(self, kind: Kind, home: Path, fsync: str) -> None:
        self._kind = kind
        self._home = home
        self._fsync = fsync
        self.server = self._start()

    def _start(self) -> Server:
        return start(self._kind, self._home, "--appendonly", "yes", "--appendfsync", self._fsync)

    def kill(self) -> None:
        os.kill(self.server.pid, signal.SIGKILL)
        self.server.stop()

    def rise(self) -> None:
        (self._home / "socket").unlink(missing_ok=True)
        self.server = self._start()


@pytest.fixture
def phoenix(kind: Kind, request: pytest.FixtureRequest) -> Iterator[Phoenix]:
    home = Path(tempfile.mkdtemp(prefix="redjobs-test-"))
    phoenix = Phoenix(kind, home, getattr(request, "param", "always"))
    yield phoenix
    phoenix.server.stop()
    shutil.rmtree(home)


@pytest.mark.row(16, 18)
@pytest.mark.parametrize(
    "phoenix", ["always", pytest.param("everysec", marks=pytest.mark.slow)], indirect=True
)
@pytest.mark.parametrize("processes", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_a_server_that_is_killed_under_load_loses_no_accepted_job(
    phoenix: Phoenix, worker: Start, runs: Runs, processes: int
) -> None:
    url = phoenix.server.url
    process = worker(url=url, processes=processes, lease=2.0)
    queue = Queue(url=url)
    accepted: list[str] = []
    for round_ in range(2):
        for _ in range(20):
            accepted += [
                job.id for job in queue.enqueue_many(call(handlers.take_seconds, 0.001) for _ in range(5))
            ]
        runs.wait("end", times=round_ * 100 + 10)
        phoenix.kill()
        process.says("ERROR", "the server is gone", times=round_ + 1)
        phoenix.rise()
        process.says("WARNING the server is back", times=round_ + 1)
    wait_until(lambda: {line.job_id for line in runs.lines("end")} >= set(accepted), description="all run")
    wait_until(lambda: not any(b":job:" in key for key in phoenix.server.client().scan_iter()))
    assert process.stop() == 0
    assert process.count("ERROR", "the server is gone") == 2
    assert process.count("WARNING the server is back") == 2
    invariants.check(phoenix.server.client())
    queue.close()


@pytest.mark.row(16)
@pytest.mark.parametrize("processes", [0, 1])
def test_a_worker_that_finds_no_server_says_so_once_and_waits_for_it(
    phoenix: Phoenix, worker: Start, runs: Runs, processes: int
) -> None:
    phoenix.kill()
    process = worker(url=phoenix.server.url, processes=processes)
    process.says("ERROR", "the server is gone")
    process.says("the server is gone", times=processes + 1)  # each child has noticed, too
    phoenix.rise()
    queue = Queue(url=phoenix.server.url)
    queue.enqueue(handlers.record)
    runs.wait("end")
    assert process.count("ERROR", "the server is gone") == 1
    assert process.stop() == 0
    queue.close()


@pytest.mark.row(16)
@pytest.mark.parametrize("processes", [0, 1])
def test_a_burst_that_finds_no_server_waits_for_it_and_does_its_work(
    phoenix: Phoenix, worker: Start, runs: Runs, processes: int
) -> None:
    queue = Queue(url=phoenix.server.url)
    queue.enqueue(handlers.record)
    phoenix.kill()
    process = worker(url=phoenix.server.url, processes=processes, burst=True)
    process.says("the server is gone", times=processes + 1)
    phoenix.rise()
    assert process.wait() == 0
    assert runs.count("end") == 1
    queue.close()


@pytest.mark.row(16)
@pytest.mark.parametrize("processes", [0, 1])
def test_a_server_that_is_gone_is_no_idleness(
    phoenix: Phoenix, worker: Start, runs: Runs, processes: int
) -> None:
    queue = Queue(url=phoenix.server.url)
    process = worker(url=phoenix.server.url, processes=processes, max_idle=1.5)
    queue.enqueue(handlers.record, "before")
    runs.wait("end", "before")
    phoenix.kill()
    process.says("the server is gone")
    at = time.monotonic()
    wait_until(lambda: time.monotonic() > at + 2.5)
    assert process.is_running
    phoenix.rise()
    queue.enqueue(handlers.record, "after")
    runs.wait("end", "after")
    assert process.wait() == 0
    queue.close()


@pytest.mark.row(16)
def test_a_long_job_outlives_the_servers_absence(
    phoenix: Phoenix, worker: Start, runs: Runs, gate: Path
) -> None:
    queue = Queue(url=phoenix.server.url)
    process = worker(url=phoenix.server.url, processes=0)
    job = queue.enqueue(handlers.wait, str(gate))
    runs.wait("start")
    phoenix.kill()
    process.says("the server is gone")
    phoenix.rise()
    process.says("the server is back")
    gate.touch()
    runs.wait("end")
    wait_until(lambda: not phoenix.server.client().exists(queue.keys.job(job.id)))
    assert runs.count("start") == 1
    queue.close()


@pytest.mark.row(16)
def test_a_job_that_ends_while_the_server_is_gone_is_done_once(
    phoenix: Phoenix, worker: Start, runs: Runs, gate: Path
) -> None:
    queue = Queue(url=phoenix.server.url)
    process = worker(url=phoenix.server.url, processes=0)
    job = queue.enqueue(handlers.wait, str(gate))
    runs.wait("start")
    phoenix.kill()
    gate.touch()
    runs.wait("end")
    process.says("the server is gone")
    phoenix.rise()
    process.says("done", job.id)
    assert not phoenix.server.client().exists(queue.keys.job(job.id))
    assert runs.count("start") == 1
    queue.close()


def test_a_timeout_holds_while_the_server_does_not_answer(
    queue: Queue, worker: Start, runs: Runs, server: Server, gate: Path
) -> None:
    process = worker(processes=1, threads=2)
    queue.enqueue(handlers.wait, str(gate), "neighbour")
    runs.wait("start", "neighbour")
    queue.options(timeout=1, max_attempts=1).enqueue(handlers.clean_up, str(gate))
    runs.wait("start", times=2)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        runs.wait("cleanup", "JobTimeout")
    finally:
        os.kill(server.pid, signal.SIGCONT)
    gate.touch()
    runs.wait("end", "neighbour")
    assert runs.count("start", "neighbour") == 1
    assert not process.count("died")


@pytest.mark.slow
def test_a_timeout_holds_while_the_server_is_gone(
    phoenix: Phoenix, worker: Start, runs: Runs, gate: Path
) -> None:
    queue = Queue(url=phoenix.server.url)
    process = worker(url=phoenix.server.url, processes=1, threads=4)
    queue.enqueue(handlers.wait, str(gate), "neighbour")
    for seconds in (3.0, 3.5, 4.0):  # by then the next attempt is a second or two away
        queue.options(timeout=seconds, max_attempts=1).enqueue(handlers.clean_up, str(gate))
    runs.wait("start", times=4)
    phoenix.kill()
    runs.wait("cleanup", "JobTimeout", times=3)
    phoenix.rise()
    process.says("the server is back")
    gate.touch()
    runs.wait("end", "neighbour")
    assert runs.count("start", "neighbour") == 1
    assert not process.count("died")
    queue.close()


@pytest.mark.row(6)
def test_a_worker_can_be_stopped_while_the_server_is_gone(
    phoenix: Phoenix, worker: Start, runs: Runs
) -> None:
    queue = Queue(url=phoenix.server.url)
    for processes in (0, 1):
        process = worker(url=phoenix.server.url, processes=processes, grace=1.0)
        queue.enqueue(handlers.record, str(processes))
        runs.wait("end", str(processes))
        phoenix.kill()
        process.says("the server is gone")
        assert process.stop() == 0
        phoenix.rise()
    queue.close()


# Other troubles -------------------------------------------------------------------------------


@pytest.mark.row(18)
def test_scripts_that_are_flushed_again_and_again(
    queue: Queue, idle: Idle, runs: Runs, redis_client: redis.Redis
) -> None:
    process = idle()
    for first in range(0, 200, 10):
        queue.enqueue_many(call(handlers.record, str(number)) for number in range(first, first + 10))
        redis_client.script_flush()
    runs.wait("end", times=200)
    assert process.stop() == 0
    assert runs.texts("start") == [str(number) for number in range(200)]
    assert "NOSCRIPT" not in process.log


@pytest.mark.row(14)
def test_connections_that_the_server_kills_at_random(
    queue: Queue, idle: Idle, runs: Runs, redis_client: redis.Redis
) -> None:
    process = idle()
    for number in range(100):
        queue.enqueue(handlers.record, str(number))
        redis_client.client_kill_filter(_type="normal", skipme=True)
    runs.wait("end", times=100)
    assert process.stop() == 0
    assert sorted(runs.texts("start"), key=int) == [str(number) for number in range(100)]


#: How a server stands still for a second.
PAUSES: dict[str, Callable[[Any], object]] = {
    "all commands": lambda client: client.client_pause(1000, all=True),
    "all writes": lambda client: client.client_pause(1000, all=False),
    "everything": lambda client: client.execute_command("DEBUG", "SLEEP", "1"),
}


@pytest.mark.row(15)
@pytest.mark.parametrize(
    "pause", ["all commands", *(pytest.param(p, marks=pytest.mark.slow) for p in list(PAUSES)[1:])]
)
def test_a_server_that_pauses_longer_than_a_lease(
    queue: Queue, idle: Idle, worker: Start, runs: Runs, redis_client: redis.Redis, pause: str
) -> None:
    idle(lease=0.5)
    worker(processes=0, lease=0.5)
    queue.enqueue_many(call(handlers.take_seconds, 0.01, str(number)) for number in range(50))
    runs.wait("end", times=5)
    PAUSES[pause](redis_client)
    wait_until(lambda: set(runs.texts()) == {str(number) for number in range(50)})


def _pass_by(seconds: float) -> None:
    at = time.monotonic()
    wait_until(lambda: time.monotonic() > at + seconds, seconds + 5)


@pytest.mark.slow
@pytest.mark.row(15)
@pytest.mark.parametrize("processes", [0, 1])
def test_whoever_lives_keeps_its_jobs_when_a_server_stood_still_longer_than_a_lease(
    queue: Queue, worker: Start, runs: Runs, server: Server, gate: Path, processes: int
) -> None:
    """Of all that was sent to it meanwhile it may carry out a sweep before any heartbeat."""
    often = {"redjobs.worker.options.WorkerOptions.sweep_interval": 0.1}
    # Workers ask a server that is gone every two seconds: a fifth of the lease is more.
    workers = [worker(processes=processes, lease=12.0, constants=often) for _ in range(2)]
    jobs = [queue.options(result_ttl=60).enqueue(handlers.wait, str(gate)) for _ in range(2)]
    runs.wait("start", times=2)
    assert len({line.pid for line in runs.lines("start")}) == 2, "each worker runs one"
    queue.sweep()  # a script that the server does not know yet would have to be sent again
    os.kill(server.pid, signal.SIGSTOP)
    try:
        _pass_by(14.0)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    for process in workers:
        process.says("the server is back")
    _pass_by(4.0)  # with heartbeats and many sweeps
    gate.touch()
    runs.wait("end", times=2)
    wait_until(lambda: all(queue.get(job.id).state is State.COMPLETED for job in jobs), 20)
    swept = [process.count("swept: ") for process in workers]
    told = [(line.job_id, line.attempt) for line in runs.lines("start")]
    assert sorted(told) == sorted((job.id, 1) for job in jobs), swept
    assert [queue.get(job.id).crashes for job in jobs] == [0, 0]
    assert [process.stop() for process in workers] == [0, 0]
    assert swept == [0, 0]


@pytest.mark.row(38)
@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(("min-replicas-to-write", 1, 0), id="no replicas", marks=pytest.mark.slow),
        pytest.param(("replicaof", "127.0.0.1 1", "no one"), id="demoted"),
    ],
)
def test_a_server_that_takes_no_writes_for_a_while(
    queue: Queue, idle: Idle, runs: Runs, redis_client: redis.Redis, trouble: tuple[str, Any, Any]
) -> None:
    name, on, off = trouble
    client: Any = redis_client

    def switch(value: Any) -> None:
        if name == "replicaof":
            client.execute_command("REPLICAOF", *value.split())
        else:
            client.config_set(name, value)

    process = idle()
    switch(on)
    process.says("the server refuses a command")
    assert commands_per_second(redis_client) < COMMANDS_PER_SECOND
    said = [line.partition("refuses")[2] for line in process.log.splitlines() if "refuses" in line]
    switch(off)
    queue.enqueue(handlers.record, "after")
    runs.wait("end", "after")
    assert len({text.partition(":")[2] for text in said}) == len(said), said
    assert process.stop() == 0


BROKEN = [
    "ready",
    "workers",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("scheduled", "levels", "stats", "completed")),
]


@pytest.mark.row(26)
@pytest.mark.parametrize("broken", BROKEN)
def test_a_key_of_a_wrong_type_is_named_once_and_harms_no_other_queue(
    queue: Queue, worker: Start, runs: Runs, server: Server, redis_client: redis.Redis, broken: str
) -> None:
    """The broken queue comes first in the order, so a worker that insists on it would starve the other."""
    bad = Queue("bad", url=server.url)
    process = worker(processes=0, queues=("bad", "default"))
    bad.enqueue(handlers.record, "first")
    runs.wait("end", "first")
    name = getattr(bad.keys, broken)
    redis_client.delete(name)
    redis_client.set(name, "not what it should be")
    queue.enqueue_many(call(handlers.record, str(number)) for number in range(20))
    for number in range(20):
        runs.wait("end", str(number), timeout=5)
    assert commands_per_second(redis_client) < COMMANDS_PER_SECOND
    assert process.count("the server refuses a command", "WRONGTYPE") <= 1
    redis_client.delete(name)
    bad.enqueue(handlers.record, "after")
    runs.wait("end", "after")
    bad.close()


@pytest.mark.parametrize("processes", [0, 1])
def test_a_burst_whose_queue_is_refused_is_not_over(
    queue: Queue, worker: Start, runs: Runs, redis_client: redis.Redis, processes: int
) -> None:
    queue.enqueue(handlers.record)
    redis_client.set(queue.keys.workers, "no set")
    process = worker(processes=processes, burst=True)
    process.says("the server refuses a command", "heartbeats of default")
    redis_client.delete(queue.keys.workers)
    assert process.wait() == 0
    assert runs.count("end") == 1


@pytest.mark.row(26)
def test_broken_wishes_to_cancel_do_not_hold_others_up(
    worker: Start, runs: Runs, server: Server, redis_client: redis.Redis, queue: Queue, gate: Path
) -> None:
    """They are asked for twice a second while a job of their queue runs."""
    bad = Queue("bad", url=server.url)
    often = {"redjobs.worker.tending._CANCELS_SECONDS": 0.05}
    process = worker(processes=0, threads=2, queues=("bad", "default"), constants=often)
    redis_client.set(bad.keys.cancels, "not what it should be")
    bad.enqueue(handlers.wait, str(gate))
    process.says("the server refuses a command", "WRONGTYPE")
    for number in range(30):
        queue.enqueue(handlers.record, str(number))
        runs.wait("end", str(number), timeout=0.5)
    assert process.count("the server refuses a command") == 1
    gate.touch()
    runs.wait("end", times=31)
    bad.close()


@pytest.mark.row(26)
def test_a_job_of_a_wrong_type_does_not_hold_its_neighbours_up(
    queue: Queue, idle: Idle, runs: Runs, redis_client: redis.Redis, gate: Path
) -> None:
    process = idle(lease=1.0)
    queue.enqueue(handlers.wait, str(gate))
    runs.wait("start")
    jobs = queue.enqueue_many(call(handlers.record, str(number)) for number in range(5))
    key = queue.keys.job(jobs[2].id)
    redis_client.delete(key)
    redis_client.set(key, "no hash")
    gate.touch()
    for number in (0, 1, 3, 4):
        runs.wait("end", str(number), timeout=5)
    assert process.count("the server refuses a command") <= 1
    redis_client.delete(key)


def test_outcomes_that_are_refused_are_said_once_while_takes_are_accepted(
    queue: Queue, worker: Start, runs: Runs, redis_client: redis.Redis, gate: Path
) -> None:
    process = worker(processes=0)
    queue.enqueue(handlers.wait, str(gate))
    runs.wait("start")
    redis_client.delete(queue.keys.stats)
    redis_client.set(queue.keys.stats, "not what it should be")
    gate.touch()
    process.says("the server refuses a command (outcomes of default)", "WRONGTYPE")
    before = _failed_calls(redis_client)
    wait_until(lambda: _failed_calls(redis_client) >= before + 4)
    assert process.count("the server refuses a command") == 1
    redis_client.delete(queue.keys.stats)
    wait_until(lambda: redis_client.hget(queue.keys.stats, "completed") == b"1")


def _failed_calls(redis_client: redis.Redis) -> int:
    """How often a script has failed so far."""
    stats: Any = redis_client.info("commandstats")
    return int(stats["cmdstat_evalsha"]["failed_calls"])


def test_a_worker_with_more_open_files_than_select_can_count(
    queue: Queue, idle: Idle, runs: Runs, redis_client: redis.Redis, gate: Path
) -> None:
    """All connections are new afterwards, and have high numbers: what they leave is taken at once."""
    process = idle(threads=2)
    queue.enqueue(handlers.take_all_numbers, 1_200, str(gate))
    runs.wait("start")
    wait_until(lambda: redis_client.info("clients")["blocked_clients"] == 1)
    redis_client.client_kill_filter(_type="normal", skipme=True)
    process.says("the server is back")
    gate.touch()
    queue.enqueue(handlers.record, "after")
    runs.wait("end", "after")
    assert process.stop() == 0
