"""What stands around the jobs: hooks, health checks, a fork server, options of a queue, systemd."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import redjobs
from redjobs import CurrentJob, JobError, Queue
from redjobs.access import Role
from redjobs.inspector import Inspector
from redjobs.registry import registry
from redjobs.settings import redact
from redjobs.worker import deferred, settle, work
from redjobs.worker.health import serve_health
from tests.cli import Cli
from tests.proxy import Proxy
from tests.roles import as_role
from tests.servers import Server
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.conftest import Burst, Start
from tests.worker.processes import Interpreters, WorkerProcess
from tests.worker.runs import Runs


@pytest.fixture
def server(valkey: Server) -> Server:
    return valkey


@pytest.fixture
def clean_hooks() -> Iterator[None]:
    yield
    registry.hooks.clear()
    registry.queue_options.clear()


# Hooks ----------------------------------------------------------------------------------------


class Plugin:
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def enqueue(self, job: Any) -> Iterator[None]:
        self.heard.append(("enqueue", job.name))
        yield
        self.heard.append(("enqueued", job.name))

    def claim(self, job: CurrentJob) -> None:
        self.heard.append(("claim", job.attempt))

    def run(self, job: CurrentJob) -> Iterator[None]:
        self.heard.append(("before", job.name))
        yield
        self.heard.append(("after", job.name))

    def success(self, job: CurrentJob, seconds: float) -> None:
        self.heard.append(("success", seconds >= 0))

    def error(self, job: CurrentJob, exception: Exception) -> None:
        self.heard.append(("error", type(exception).__name__))

    def dead(self, job: CurrentJob, error: JobError) -> None:
        self.heard.append(("dead", error.error.partition(":")[0]))

    def worker_start(self, worker: Any) -> None:
        self.heard.append(("worker_start",))

    def worker_stop(self, worker: Any) -> None:
        self.heard.append(("worker_stop",))


@pytest.mark.usefixtures("clean_hooks")
def test_hooks_hear_a_jobs_whole_life(queue: Queue, burst: Burst) -> None:
    plugin = Plugin()
    redjobs.add_plugin(plugin)
    name = "tests.worker.handlers:record"
    queue.enqueue(handlers.record, "fine")
    burst()
    assert plugin.heard == [
        ("enqueue", name),
        ("enqueued", name),
        ("worker_start",),
        ("claim", 1),
        ("before", name),
        ("after", name),
        ("success", True),
        ("worker_stop",),
    ]
    plugin.heard.clear()
    queue.options(max_attempts=1).enqueue(handlers.fail, "broken")
    burst()
    assert plugin.heard[-3:] == [("error", "ValueError"), ("dead", "ValueError"), ("worker_stop",)]


@pytest.mark.usefixtures("clean_hooks")
def test_a_hook_that_raises_loses_no_job(queue: Queue, burst: Burst, runs: Runs) -> None:
    def breaks(*facts: Any) -> None:
        raise RuntimeError("broken hook")

    for event in ("enqueue", "claim", "run", "success", "worker_start"):
        registry.hooks.add(event, breaks)
    queue.enqueue(handlers.record, "all the same")
    assert burst() == 0
    assert runs.texts() == ["all the same"]


@pytest.mark.usefixtures("clean_hooks")
def test_options_of_a_queue_hold_where_nobody_says_more(queue: Queue, burst: Burst) -> None:
    redjobs.queue_options(queue.name, priority=-5, max_attempts=1)
    job = queue.enqueue(handlers.fail, "once")
    assert job.priority == -5
    assert queue.options(priority=3).enqueue(handlers.record, "own").priority == 3
    burst()
    assert queue.get(job.id).state == "dead"


@pytest.mark.usefixtures("clean_hooks")
@pytest.mark.timeout(30, method="thread")
def test_the_timeout_of_a_queue_holds_where_nobody_says_more(
    queue: Queue, burst: Burst, runs: Runs, gate: Path
) -> None:
    redjobs.queue_options(queue.name, timeout=0.05, max_attempts=1)
    job = queue.enqueue(handlers.clean_up, str(gate))
    own = queue.options(timeout=20).enqueue(handlers.take_seconds, 0.3, "own")
    assert burst() == 1
    assert runs.texts("cleanup") == ["JobTimeout"]
    assert queue.get(job.id).errors[-1].error == "JobTimeout: ran longer than its timeout of 0.05 s"
    assert runs.count("end", "own", own.id) == 1


def test_without_hooks_nothing_is_made_for_them(
    queue: Queue, burst: Burst, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def costs(*_: object) -> CurrentJob:
        raise AssertionError("nobody is there to see it")

    for module in (work, deferred, settle):
        monkeypatch.setattr(module, "CurrentJob", costs)
    queue.enqueue(handlers.give, 1)
    queue.enqueue(handlers.record_async)
    failing = queue.options(max_attempts=1).enqueue(handlers.fail)
    assert burst() == 1
    assert runs.count("end") == 2
    assert queue.get(failing.id).errors[-1].error == "ValueError: no such user"


# Health ---------------------------------------------------------------------------------------


def health(port: int, path: str = "/") -> tuple[int, dict[str, Any]]:
    """What the endpoint says; status 0 while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)
    except OSError:
        return 0, {}


def port_of(log: str) -> int:
    found = re.search(r"health checks on http://127\.0\.0\.1:(\d+)/", log)
    return int(found[1]) if found else 0


def test_health_is_being_able_to_claim(worker: Start) -> None:
    process = worker(processes=1, health_port=0, constants={"redjobs.worker.health.FRESH_SECONDS": 3.0})
    port = wait_until(lambda: port_of(process.log))
    wait_until(lambda: health(port)[0] == 200, description="it is healthy")
    (child,) = process.children()
    os.kill(child, signal.SIGSTOP)
    wait_until(lambda: health(port)[0] == 503, timeout=20, description="it says that it cannot claim")
    assert health(port)[1]["silent"] == [child]
    os.kill(child, signal.SIGCONT)
    wait_until(lambda: health(port)[0] == 200, timeout=20, description="it is healthy again")
    assert process.stop() == 0


def test_a_worker_whose_slots_are_all_busy_is_healthy(
    worker: Start, queue: Queue, gate: Path, runs: Runs
) -> None:
    fresh = 1.5
    process = worker(processes=1, health_port=0, constants={"redjobs.worker.health.FRESH_SECONDS": fresh})
    port = wait_until(lambda: port_of(process.log))
    queue.enqueue(handlers.wait, str(gate))
    runs.wait("start")
    wait_until(lambda: health(port)[0] == 200, description="it is healthy")
    began, answers = time.monotonic(), set()
    while time.monotonic() < began + 2 * fresh:
        answers.add(health(port)[0])
    gate.touch()
    assert answers == {200}


def test_a_worker_that_stops_is_not_healthy(worker: Start, queue: Queue, gate: Path, runs: Runs) -> None:
    process = worker(processes=1, health_port=0)
    queue.enqueue(handlers.wait, str(gate))
    runs.wait("start")
    port = port_of(process.log)
    process.send(signal.SIGTERM)
    wait_until(lambda: health(port)[1].get("stopping"), description="it says that it stops")
    assert health(port)[0] == 503
    gate.touch()
    assert process.wait() == 0


def test_a_quiet_worker_is_not_healthy_and_lives(worker: Start) -> None:
    process = worker(processes=1, health_port=0)
    port = wait_until(lambda: port_of(process.log))
    wait_until(lambda: health(port)[0] == 200, description="it is healthy")
    process.send(signal.SIGUSR1)
    wait_until(lambda: health(port)[0] == 503, description="it claims no more")
    assert health(port, "/live")[0] == 200


def test_a_worker_whose_server_takes_no_writes_is_not_healthy(worker: Start, queue: Queue) -> None:
    server: Any = queue.redis
    process = worker(processes=1, health_port=0, lease=2.0)
    port = wait_until(lambda: port_of(process.log))
    wait_until(lambda: health(port)[0] == 200, description="it is healthy")
    server.replicaof("127.0.0.1", "1")
    wait_until(lambda: health(port)[1].get("server") == "refuses", description="it is refused")
    assert health(port)[0] == 503
    server.replicaof("NO", "ONE")
    wait_until(lambda: health(port)[0] == 200, description="it is healthy again")


def test_a_worker_whose_server_is_gone_lives_and_can_claim_nothing(
    worker: Start, queue: Queue, gate: Path, runs: Runs, proxy: Proxy
) -> None:
    """Whoever restarts it for that interrupts what it runs."""
    process = worker(processes=1, health_port=0, url=proxy.url)
    job = queue.enqueue(handlers.wait, str(gate))
    runs.wait("start", job_id=job.id)
    port = wait_until(lambda: port_of(process.log))
    wait_until(lambda: health(port)[0] == 200, description="it is healthy")
    proxy.refuse()
    wait_until(lambda: health(port)[0] == 503, description="it cannot claim")
    status, told = health(port, "/live")
    assert (status, told["alive"], told["healthy"], told["server"]) == (200, True, False, "gone")
    proxy.accept()
    wait_until(lambda: health(port)[0] == 200, description="it is healthy again")
    gate.touch()
    runs.wait("end", job_id=job.id)
    assert process.stop() == 0


@pytest.mark.parametrize(("age", "live"), [(0, 200), (30, 200), (61, 503)])
def test_a_supervisor_that_judges_no_more_is_not_healthy_at_once_and_then_not_alive(
    age: float, live: int
) -> None:
    judged_at = time.monotonic() - age
    server = serve_health("127.0.0.1", 0, lambda: {"healthy": True, "judged_at": judged_at})
    try:
        port = server.server_address[1]
        assert health(port)[0] == (200 if age == 0 else 503)
        assert health(port, "/live?from=kubelet")[0] == health(port, "/live")[0] == live
    finally:
        server.shutdown()
        server.server_close()


def test_check_worker_knows_this_hosts_worker(worker: Start, server: Server, queue: Queue) -> None:
    cli = Cli(server, queue.keys)
    assert cli("check", "worker", code=1).stdout.startswith("no healthy worker of")
    process = worker(processes=1, prefix=queue.keys.prefix)
    inspector = Inspector(queue.redis, queue.keys.prefix)
    wait_until(lambda: inspector.workers(queue.name), timeout=20)
    assert cli.json("check", "worker")["healthy"] is True
    assert cli("check", "worker", "--name", "another", code=1).exit_code == 1
    assert process.stop() == 0


def test_check_worker_knows_within_the_lease_that_a_worker_was_killed(
    worker: Start, server: Server, queue: Queue
) -> None:
    cli = Cli(server, queue.keys)
    process = worker(processes=1, lease=1.0, prefix=queue.keys.prefix)
    wait_until(lambda: cli("check", "worker", code=None).exit_code == 0, timeout=20)
    process.destroy()
    wait_until(lambda: cli("check", "worker", code=None).exit_code == 1)
    assert "its lease has run out" in cli("check", "worker", code=1).stdout


# Open files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [0, 1])
def test_a_worker_may_open_as_many_files_as_the_system_lets_it(
    server: Server, queue: Queue, tmp_path: Path, runs: Runs, processes: int
) -> None:
    """It has a connection for each queue, and shells often start with few files."""
    few = Interpreters("sh", "-c", 'ulimit -Sn 100; ulimit -Hn 500; exec "$@"', "sh")
    process = WorkerProcess(few, as_role(server.url, Role.WORKER), tmp_path, runs, processes=processes)
    try:
        queue.enqueue(handlers.count_files)
        runs.wait("end", "500")
        assert process.stop() == 0
    finally:
        process.destroy()


# A fork server --------------------------------------------------------------------------------


def test_preloaded_children_run_jobs_die_and_are_replaced(
    worker: Start, queue: Queue, runs: Runs, gate: Path
) -> None:
    # Whoever waits for the supervisor's next look waits in vain: it hears of each end at once.
    constants = {"redjobs.worker.supervisor._LOOK_SECONDS": 3600.0}
    process = worker(processes=2, preload=True, lease=300.0, constants=constants)
    job = queue.enqueue(handlers.wait, str(gate))
    (line,) = runs.wait("start", job_id=job.id)
    os.kill(line.pid, signal.SIGKILL)
    again = runs.wait("start", job_id=job.id, times=2)[1]
    assert again.pid != line.pid
    assert queue.get(job.id).crashes == 1
    gate.touch()
    runs.wait("end", job_id=job.id)
    assert process.stop() == 0


def test_preloaded_children_may_have_a_very_long_list_of_queues(
    worker: Start, queue: Queue, runs: Runs
) -> None:
    """Of more than 64 KiB."""
    exclude = tuple(f"queue-with-a-long-name-{number}" for number in range(4000))
    process = worker(fresh=True, processes=2, preload=True, queues=("default",), exclude=exclude)
    queue.enqueue(handlers.record, "long")
    runs.wait("end", "long")
    assert process.stop() == 0
    assert process.count("died") == 0


def test_a_preloaded_app_that_cannot_be_imported_ends_the_worker(worker: Start) -> None:
    process = worker(processes=1, preload=True, apps=("tests.worker.no_such_app",))
    assert process.wait(20) == 2
    assert "no module 'tests.worker.no_such_app'" in process.log


# systemd --------------------------------------------------------------------------------------


def test_systemd_is_told(worker: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(15)
        process = worker(fresh=True, processes=1, lease=1.0)
        heard: set[bytes] = set()
        while heard != {b"READY=1", b"WATCHDOG=1"}:
            heard.add(manager.recv(100))
        process.send(signal.SIGTERM)
        while manager.recv(100) != b"STOPPING=1":
            pass
        assert process.wait() == 0


def test_systemd_is_told_that_it_lives_while_the_server_is_gone(
    worker: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: Proxy
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(15)
        process = worker(fresh=True, processes=1, lease=1.0, url=proxy.url)
        while manager.recv(100) != b"READY=1":
            pass
        proxy.refuse()
        process.says("the server is gone")
        manager.setblocking(False)
        with contextlib.suppress(BlockingIOError):  # what it was told before
            while manager.recv(100):
                pass
        manager.settimeout(2.0)  # as systemd would wait
        assert [manager.recv(100) for _ in range(5)] == [b"WATCHDOG=1"] * 5
        assert process.stop() == 0


# Logs -----------------------------------------------------------------------------------------


def test_a_job_is_one_line_with_all_that_matters(
    queue: Queue, burst: Burst, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "redjobs")
    job = queue.enqueue(handlers.record, "the secret")
    burst()
    (record,) = (one for one in caplog.records if job.id in one.getMessage())
    assert re.fullmatch(
        rf"done tests\.worker\.handlers:record {job.id} queue=default attempt=1 took=.+ late=.+",
        record.getMessage(),
    )
    facts = record.__dict__["facts"]
    assert facts["job_id"] == job.id and facts["event"] == "done" and facts["attempt"] == 1
    assert facts["took_ms"] >= 0 and facts["late_ms"] >= 0
    assert "secret" not in caplog.text


# The log --------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("say", [handlers.say, handlers.say_async])
def test_what_a_handler_logs_names_its_job(
    worker: Start, queue: Queue, say: Callable[[str], object], threads: int
) -> None:
    process = worker(processes=1, threads=threads)
    jobs = [queue.enqueue(say, text) for text in ("one", "two")]
    for job, text in zip(jobs, ("one", "two"), strict=True):
        process.says("WARNING", text, f"job={job.id}")


def test_a_handler_knows_when_its_job_was_enqueued_and_has_a_logger_for_it(
    worker: Start, queue: Queue, runs: Runs
) -> None:
    process = worker(processes=1)
    job = queue.options(result_ttl=60).enqueue_in(timedelta(milliseconds=50), handlers.say_what_it_is, "x")
    (line,) = runs.wait("end", job_id=job.id)
    assert line.text == queue.get(job.id).enqueued_at.isoformat() == job.enqueued_at.isoformat()
    process.says("WARNING", "x", f"job={job.id}")


def test_the_first_line_says_what_works_where(worker: Start, server: Server) -> None:
    process = worker(processes=2, threads=3, queues=("critical", "default"))
    url = redact(as_role(server.url, Role.WORKER))
    process.says(f"redjobs {redjobs.__version__} on {url}", "critical default", "2 processes", "3 threads")
