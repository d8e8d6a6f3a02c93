"""What every chapter has: a queue, and a worker for the functions of the chapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from redjobs import Queue, connect
from redjobs.access import Role
from redjobs.settings import resolve_url
from redjobs.worker import Worker, WorkerOptions
from redjobs.worker.apps import import_apps
from tests.observed import observed
from tests.roles import as_role
from tests.servers import Server

Work = Callable[[], int]


@pytest.fixture
def queue(server: Server) -> Iterator[Queue]:
    """A queue on a server that is empty when the test begins."""
    queue = observed(server)
    yield queue
    queue.close()


@pytest.fixture
def work(server: Server, request: pytest.FixtureRequest) -> Work:
    """`redjobs worker --app <this file> --burst`: run what is due; returns how many jobs failed."""
    import_apps([request.module.__name__])

    def work() -> int:
        client = connect.connect_worker(resolve_url(as_role(server.url, Role.WORKER)))
        return Worker(client, WorkerOptions(queues=("*",), burst=True)).run()

    return work


@pytest.fixture(autouse=True)
def empty_inbox(request: pytest.FixtureRequest) -> None:
    """What the functions of a chapter did is in its `inbox`, if it has one."""
    getattr(request.module, "inbox", []).clear()
