"""Sentinels and a cluster that speak TLS only: jobs run, and every certificate is checked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from redjobs import AsyncQueue, Job, JobNotFound, Queue, ServerUnavailable
from tests import invariants
from tests.certificates import Authority, server_with_tls
from tests.groups import Cluster, Trio, cluster, trio
from tests.waiting import wait_until
from tests.worker.conftest import Start
from tests.worker.handlers import record
from tests.worker.runs import Runs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(server_with_tls() is None, reason="no server here can speak TLS, or no openssl"),
]


class Group:
    """A trio or a cluster, as a user reaches it."""

    def __init__(self, form: str, servers: Trio | Cluster, room: Path, authority: Authority) -> None:
        self._servers = servers
        self.form = form
        self.url = self._trusting(authority)
        #: Who trusts somebody else.
        self.wrong_url = self._trusting(Authority(room / "other", "another authority"))
        self.client = servers.client

    def _trusting(self, authority: Authority) -> str:
        return f"{self._servers.url}?ssl_ca_certs={authority.ca}"

    def fail_over(self) -> None:
        """The server of the queue `default` is killed, and its replica takes over."""
        if isinstance(self._servers, Trio):
            before = self._servers.primary
            before.kill()
            trio = self._servers
            wait_until(lambda: trio.primary is not before, 40, "another primary")
            return
        home = self._servers.home_of("{default}")
        home.kill()
        six = self._servers
        wait_until(lambda: six.home_of("{default}") is not home, 40, "another node has the slot")


@contextmanager
def group(form: str, room: Path) -> Iterator[Group]:
    authority = Authority(room / "ours", "our authority")
    with (trio if form == "sentinel" else cluster)(authority) as servers:
        yield Group(form, servers, room, authority)


@pytest.fixture(scope="module", params=["sentinel", "cluster"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    """Servers for the tests that do them no harm."""
    with group(request.param, tmp_path_factory.mktemp("tls")) as servers:
        yield servers


@pytest.fixture
def fresh(server: Group, tmp_path: Path) -> Iterator[Group]:
    """Servers of the same form, of which a test may kill one."""
    with group(server.form, tmp_path) as servers:
        yield servers


@dataclass
class Mixed:
    """Servers whose first answer is right; the server that it leads to has a certificate of another kind."""

    url: str
    #: A queue on such a server.
    queue: str
    ours: Authority


@pytest.fixture(scope="module", params=["sentinel", "cluster"])
def mixed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mixed]:
    room = tmp_path_factory.mktemp("mixed")
    ours = Authority(room / "ours", "our authority")
    theirs = Authority(room / "theirs", "another authority", "DNS:elsewhere.example")
    ours.trust(theirs)
    if request.param == "sentinel":
        with trio(ours, theirs) as three:
            yield Mixed(three.url, "default", ours)
        return
    with cluster(ours, theirs) as six:
        names = (f"queue-{number}" for number in range(1000))
        yield Mixed(six.url, next(name for name in names if six.home_of(f"{{{name}}}") is six.nodes[2]), ours)


def enqueue(url: str, form: str, text: str) -> Job:
    if form == "sync":
        queue = Queue(url=url)
        try:
            return queue.enqueue(record, text)
        finally:
            queue.close()

    async def enqueues() -> Job:
        async_queue = AsyncQueue(url=url)
        try:
            return await async_queue.enqueue(record, text)
        finally:
            await async_queue.close()

    return asyncio.run(enqueues())


def look(url: str, form: str, name: str) -> Job:
    """Ask for a job that is not there: the first call, and it goes to the server of this queue."""
    if form == "sync":
        queue = Queue(name, url=url)
        try:
            return queue.get("nothing")
        finally:
            queue.close()

    async def looks() -> Job:
        async_queue = AsyncQueue(name, url=url)
        try:
            return await async_queue.get("nothing")
        finally:
            await async_queue.close()

    return asyncio.run(looks())


def test_jobs_run_over_tls_and_after_a_failover_too(fresh: Group, worker: Start, runs: Runs) -> None:
    process = worker(url=fresh.url)
    for each in ("sync", "async"):
        enqueue(fresh.url, each, each)
        runs.wait("end", each, timeout=20)

    fresh.fail_over()
    enqueue(fresh.url, "sync", "after")
    runs.wait("end", "after", timeout=40)
    assert process.stop() == 0
    invariants.check(fresh.client())


@pytest.mark.parametrize("form", ["sync", "async"])
def test_servers_of_another_authority_are_refused(server: Group, form: str) -> None:
    started = time.monotonic()
    with pytest.raises(ServerUnavailable) as caught:
        enqueue(server.wrong_url, form, "never")
    assert "is not trusted" in str(caught.value)
    assert "certificate verify failed" in str(caught.value)
    assert "ssl_ca_certs" in str(caught.value)
    assert time.monotonic() - started < 8, "another attempt would only repeat it"


@pytest.mark.parametrize("form", ["sync", "async"])
@pytest.mark.parametrize(
    ("trusted", "said"), [("ca", "certificate verify failed"), ("trusted", "not valid for '127.0.0.1'")]
)
def test_so_is_the_server_that_was_found(
    mixed: Mixed, form: str, trusted: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who names it is trusted: a Sentinel, or another node. It has another authority, or another name."""
    url = f"{mixed.url}?ssl_ca_certs={getattr(mixed.ours, trusted)}"
    started = time.monotonic()
    with pytest.raises(ServerUnavailable, match="is not trusted") as caught:
        look(url, form, mixed.queue)
    assert said in str(caught.value)
    assert ("not valid for" in str(caught.value)) == (trusted == "trusted")
    assert time.monotonic() - started < 8, "another attempt would only repeat it"
    monkeypatch.setenv("REDJOBS_INSECURE_TLS", "1")
    with pytest.raises(JobNotFound):  # nothing else is wrong
        look(url, form, mixed.queue)


@pytest.mark.parametrize("form", ["sync", "async"])
def test_who_names_the_server_must_have_the_name_in_the_url(server: Group, form: str) -> None:
    with pytest.raises(ServerUnavailable, match=r"not valid for 'localhost'"):
        enqueue(server.url.replace("127.0.0.1", "localhost"), form, "never")


@pytest.mark.parametrize("form", ["sync", "async"])
def test_checks_are_switched_off_by_name_only(
    server: Group, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDJOBS_INSECURE_TLS", "1")
    job = enqueue(server.wrong_url, form, "unchecked")
    queue = Queue(url=server.url)
    assert queue.get(job.id).id == job.id
    queue.close()


def test_a_worker_says_whom_it_does_not_trust(server: Group, worker: Start) -> None:
    process = worker(url=server.wrong_url)
    process.says("no connection to the server", "certificate verify failed")
    assert process.stop() == 0
