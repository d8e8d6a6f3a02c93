"""A server that may throw jobs away: those are lost, and nothing else goes wrong."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest

from redjobs import Queue, connect
from redjobs.access import Role
from redjobs.ids import is_id
from redjobs.settings import resolve_url
from redjobs.worker import startup
from tests import invariants
from tests.roles import as_role
from tests.servers import Server
from tests.worker import handlers
from tests.worker.conftest import Start
from tests.worker.runs import Runs


@pytest.fixture
def server(private_server: Server) -> Server:
    return private_server


@pytest.mark.row(25)
def test_what_the_server_evicts_is_lost_and_holds_nobody_up(
    queue: Queue, worker: Start, runs: Runs, server: Server
) -> None:
    client: Any = server.client()
    # By use, so that the list of ready jobs, which each call touches, is the last to go.
    client.config_set("maxmemory-policy", "allkeys-lfu")
    client.config_set("lfu-log-factor", 0)
    jobs = [queue.enqueue(handlers.record, "x" * 400) for _ in range(1_000)]
    used = client.info("memory")["used_memory"]
    client.config_set("maxmemory", int(used * 0.9))
    client.set("redjobs-test", "room is made for this")
    client.config_set("maxmemory", used * 4)
    kept = {job.id for job in jobs if client.exists(queue.keys.job(job.id))}
    assert 0 < len(kept) < 1_000
    assert sum(map(is_id, map(bytes.decode, client.lrange(queue.keys.ready, 0, -1)))) == 1_000
    process = worker(processes=1, burst=True)
    assert process.wait(20) == 0
    assert {line.job_id for line in runs.lines("end")} == kept
    assert process.count("maxmemory-policy is allkeys-lfu") == 1
    assert process.count("dropped id") == 1_000 - len(kept)
    assert not any(b":job:" in key for key in client.scan_iter())
    client.delete("redjobs-test")
    invariants.check(client)


@pytest.mark.parametrize("processes", [1, 0])
def test_a_server_that_may_throw_jobs_away_is_warned_of_once(
    processes: int, worker: Start, server: Server
) -> None:
    client: Any = server.client()
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("maxmemory", 100_000_000)
    process = worker(processes=processes, burst=True)
    assert process.wait(20) == 0
    assert process.count("maxmemory-policy is allkeys-lru") == 1


@pytest.mark.parametrize("processes", [1, 0])
def test_a_server_that_forgets_what_it_has_accepted_is_warned_of_once(
    processes: int, worker: Start, server: Server
) -> None:
    client: Any = server.client()
    client.config_set("appendonly", "no")
    process = worker(processes=processes, burst=True)
    assert process.wait(20) == 0
    assert process.count("WARNING", "AOF is off", "set appendonly to yes") == 1


@pytest.mark.parametrize("processes", [1, 0])
def test_a_server_that_takes_no_jobs_is_warned_of_once(processes: int, worker: Start, server: Server) -> None:
    client: Any = server.client()
    client.execute_command("REPLICAOF", "127.0.0.1", "1")  # where nobody is
    process = worker(processes=processes)
    process.says("WARNING", "the server is a replica", "give the URL of the primary")
    process.says("the server refuses a command")  # it has started, and can be stopped
    assert process.stop() == 0
    assert process.count("the server is a replica") == 1


def test_a_server_that_is_too_old_is_warned_of(
    server: Server, runs: Runs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(startup, "_OLDEST", (99, 0))
    with contextlib.closing(connect.connect_worker(resolve_url(as_role(server.url, Role.WORKER)))) as client:
        startup.check_server(client)
    (warning,) = [said for said in caplog.messages if "too old" in said]
    assert re.match(r"(Valkey|Redis) \d+\.\d+\.\d+ is too old", warning)
