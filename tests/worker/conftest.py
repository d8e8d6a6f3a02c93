"""Workers with real processes and a real server, and what their jobs wrote down.

- `runs`: what the jobs did. `gate`: a file that a job waits for. `queue`: the queue `default`.
- `burst`: run what is due in this process, and return. `worker`: start one in a process of its own.

A module whose tests say nothing about the server replaces `server` by `valkey`, and so runs once; in it
redjobs works as the users that `redjobs acl` prints (see tests/roles.py).
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from redjobs import JobNotFound, Queue, connect
from redjobs.access import Role
from redjobs.settings import resolve_url
from redjobs.worker import Worker, WorkerOptions
from redjobs.worker.apps import import_apps
from tests.conftest import Pool, lent
from tests.observed import observed
from tests.proxy import Proxy
from tests.roles import as_role
from tests.servers import Server, real_kinds
from tests.worker.processes import HANDLERS, Interpreters, Nursery, WorkerProcess
from tests.worker.runs import RUNS, Runs

Start = Callable[..., WorkerProcess]
Burst = Callable[..., int]

_numbers = itertools.count(1)


def is_gone(queue: Queue, job_id: str) -> bool:
    """Whether a job is over and forgotten."""
    try:
        queue.get(job_id)
    except JobNotFound:
        return True
    return False


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "every_server: is not slow on other servers than Valkey, either")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        here = Path(__file__).parent in item.path.parents
        if here and _is_of_another_server(item) and not item.get_closest_marker("every_server"):
            item.add_marker(pytest.mark.slow)


def _is_of_another_server(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and callspec.params.get("kind", real_kinds()[0]).name != real_kinds()[0].name


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    runs = Runs(tmp_path / "runs")
    monkeypatch.setenv(RUNS, str(runs.path))
    return runs


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that is not there yet."""
    return tmp_path / "gate"


@pytest.fixture
def valkey(pool: Pool, request: pytest.FixtureRequest) -> Iterator[Server]:
    """As `server`, and always a Valkey that knows the roles."""
    yield from lent(pool.get(replace(real_kinds()[0], has_roles=True)), request)


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """A network that can be told to fail, between a worker and the server."""
    assert server.socket is not None
    with Proxy(server, server.socket.with_name(f"proxy-{next(_numbers)}")) as proxy:
        yield proxy


@pytest.fixture
def queue(server: Server) -> Iterator[Queue]:
    queue = observed(server)
    yield queue
    queue.close()


@pytest.fixture
def burst(server: Server, runs: Runs) -> Burst:
    """Run what is due in this process; the number of jobs that failed."""

    def run(**options: Any) -> int:
        import_apps([HANDLERS])
        client = connect.connect_worker(resolve_url(as_role(server.url, Role.WORKER)))
        return Worker(client, WorkerOptions(processes=0, **{"burst": True, **options})).run()

    return run


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def worker(server: Server, tmp_path: Path, runs: Runs, nursery: Nursery) -> Iterator[Start]:
    """Start workers in processes of their own; those that are left at the end are killed.

    With `fresh=True` each process is a Python of its own, that has imported nothing.
    """
    with contextlib.ExitStack() as stack:

        def start(*, fresh: bool = False, **options: Any) -> WorkerProcess:
            url = as_role(options.pop("url", server.url), Role.WORKER)
            starter = Interpreters() if fresh else nursery
            process = WorkerProcess(starter, url, tmp_path, runs, **options)
            stack.callback(process.destroy)
            # Shown where the test fails.
            stack.callback(lambda: print(f"--- log of {process.pid}\n{process.log}"))
            return process

        yield start
    # A process that was killed may not have ended yet; the server shall not serve its calls any more.
    with contextlib.suppress(redis.ConnectionError):
        server.client().client_kill_filter(_type="normal", skipme=True)
