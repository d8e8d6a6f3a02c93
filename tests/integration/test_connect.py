"""The clients: what they send again and what never, and what they check."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from redjobs import connect, embedded
from redjobs.connect import patience
from redjobs.settings import Server, resolve_url
from redjobs.version import __version__
from tests.embedded_home import home_of_a_server, kill, server_of
from tests.talker import Talker


def server_at(url: str, **environ: str) -> Server:
    return resolve_url(url, environ)


@pytest.fixture
def directory() -> Iterator[Path]:
    with home_of_a_server() as home:
        yield home


@pytest.fixture
def talker() -> Iterator[Talker]:
    made = Talker()
    yield made
    made.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three retries without pauses worth mentioning."""
    monkeypatch.setattr(patience, "RETRIES", 3)
    monkeypatch.setattr(patience.Patience, "pause_s", _without_pause(patience.Patience.pause_s))


def _without_pause(judge: Callable[..., float]) -> Callable[..., float]:
    def pause_s(*arguments: Any) -> float:
        judge(*arguments)
        return 0

    return pause_s


class Both:
    """The same call through both clients of those who enqueue."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def get(self, server: Server, *, first: Callable[[], None] = lambda: None) -> Any:
        """GET through a client that is connected; `first` happens after it was connected."""
        if self.kind == "async":
            return asyncio.run(self._get(server, first))
        with contextlib.closing(connect.connect(server)) as client:
            client.ping()
            first()
            return client.get("key")

    async def _get(self, server: Server, first: Callable[[], None]) -> Any:
        client = connect.connect_async(server)
        try:
            await client.exists("key")
            first()
            return await client.get("key")
        finally:
            await client.aclose()


@pytest.fixture(params=["sync", "async"])
def both(request: pytest.FixtureRequest) -> Both:
    return Both(request.param)


# Those who enqueue


def test_what_was_lost_is_sent_again(talker: Talker, both: Both) -> None:
    talker.lose = 2

    assert both.get(server_at(talker.url)) == b"value"
    assert talker.gets == 3


@pytest.mark.usefixtures("quick")
def test_there_is_an_end_to_it(talker: Talker, both: Both) -> None:
    talker.lose = 1000
    with pytest.raises(redis_py.ConnectionError):
        both.get(server_at(talker.url))

    assert talker.gets == 1 + patience.RETRIES


@pytest.mark.usefixtures("quick")
def test_silence_is_a_loss_too(talker: Talker, both: Both) -> None:
    talker.deaf = True
    with pytest.raises(redis_py.TimeoutError):
        both.get(server_at(f"{talker.url}?socket_timeout=0.05"))

    assert talker.gets == 1 + patience.RETRIES


def test_the_clock_ends_it_too(talker: Talker, both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", 0.1)
    talker.deaf = True
    with pytest.raises(redis_py.TimeoutError):
        both.get(server_at(f"{talker.url}?socket_timeout=0.15"))

    assert talker.gets == 1


@pytest.mark.usefixtures("quick")
def test_retries_within_retries_do_not_multiply(
    talker: Talker, both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[object] = []
    kinds: list[Any] = [redis_py.connection.Connection, redis_py.asyncio.Connection]
    for kind in kinds:
        monkeypatch.setattr(kind, "_connect", _counted(kind._connect, attempts))
    talker.dies = True
    with pytest.raises(redis_py.ConnectionError):
        both.get(server_at(talker.url), first=attempts.clear)

    assert len(attempts) == patience.RETRIES


def _counted(wrapped: Callable[[object], Any], attempts: list[object]) -> Callable[[object], Any]:
    def call(connection: object) -> Any:
        attempts.append(connection)
        return wrapped(connection)

    return call


def test_nobody_there(talker: Talker, both: Both) -> None:
    talker.close()
    started = time.monotonic()
    with pytest.raises(redis_py.ConnectionError):
        both.get(server_at(talker.url))

    # Long enough for a server to be restarted, short enough for somebody who waits.
    assert 1 < time.monotonic() - started < 6


def test_a_wrong_password_is_not_tried_again(directory: Path, both: Both) -> None:
    socket_path = embedded.ensure(directory)
    wrong = server_at(f"unix://{socket_path}?password=canary")
    with contextlib.closing(connect.connect(server_at(f"unix://{socket_path}"))) as admin:
        admin.config_set("requirepass", "right")
        try:
            before = admin.info("stats")["total_connections_received"]
            with pytest.raises(redis_py.ConnectionError) as caught:
                both.get(wrong)
            assert admin.info("stats")["total_connections_received"] - before == 1
        finally:
            admin.config_set("requirepass", "")

    told = str(connect.unavailable(wrong, caught.value))
    assert "does not let us in" in told
    assert "canary" not in told


def test_more_coroutines_than_connections(directory: Path) -> None:
    async def run() -> None:
        client = connect.connect_async(server_at(f"embedded://{directory}"))
        counts = await asyncio.gather(*(client.incr("count") for _ in range(1000)))
        assert sorted(counts) == list(range(1, 1001))
        clients = await client.info("clients")
        assert clients["connected_clients"] <= connect.ASYNC_CONNECTIONS + 1  # and the keeper
        await client.aclose()

    asyncio.run(run())


@pytest.mark.row(34)
def test_more_threads_than_connections(directory: Path) -> None:
    client = connect.connect(server_at(f"embedded://{directory}"))
    limited = connect.connect(server_at(f"unix://{embedded.ensure(directory)}?max_connections=2"))
    for each in (client, limited):
        threads = [threading.Thread(target=each.incr, args=("count",)) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert client.get("count") == b"100"
    client.close()
    limited.close()


# Workers


def test_a_worker_sends_everything_once(talker: Talker) -> None:
    with contextlib.closing(connect.connect_worker(server_at(talker.url))) as client:
        client.ping()
        talker.lose = 1
        with pytest.raises(redis_py.ConnectionError):
            client.get("key")
        assert talker.gets == 1

        talker.deaf = True
        with contextlib.closing(
            connect.connect_worker(server_at(f"{talker.url}?socket_timeout=9"), socket_timeout=0.05)
        ) as impatient:
            started = time.monotonic()
            with pytest.raises(redis_py.TimeoutError):
                impatient.get("key")
        assert talker.gets == 2
        assert time.monotonic() - started < 5, "the URL must not change a worker's timeout"

        talker.close()
        with pytest.raises(redis_py.ConnectionError):
            client.get("key")


def test_a_worker_is_not_limited_in_connections(directory: Path) -> None:
    url = f"unix://{embedded.ensure(directory)}?max_connections=2"
    with contextlib.closing(connect.connect_worker(server_at(url))) as client:
        threads = [
            threading.Thread(target=client.blpop, args=("list",), kwargs={"timeout": 5}) for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        for _ in threads:
            client.lpush("list", "x")
        for thread in threads:
            thread.join()
        assert client.llen("list") == 0


# All of them

MAKERS = [connect.connect, connect.connect_async, connect.connect_worker]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("url", ["redis://h", "rediss://h", "unix:///s", "embedded://d"])
def test_what_all_clients_have_in_common(make: Callable[[Server], Any], url: str) -> None:
    pool = make(server_at(url)).connection_pool
    options = pool.connection_kwargs

    assert not options["decode_responses"]
    assert options["protocol"] == 2
    assert options["socket_timeout"] == connect.SOCKET_TIMEOUT_S
    assert options["socket_connect_timeout"] == connect.CONNECT_TIMEOUT_S
    enabled = getattr(pool, "maint_notifications_enabled", lambda: False)
    assert not enabled()
    assert options.get("socket_keepalive", False) == ("unix" not in url and "embed" not in url)
    if url.startswith("rediss"):
        assert (options["ssl_cert_reqs"], options["ssl_check_hostname"]) == ("required", True)


@pytest.mark.row(27)
@pytest.mark.parametrize("make", [connect.connect, connect.connect_worker])
def test_no_right_is_needed_but_those_of_the_commands(
    make: Callable[[Server], redis_py.Redis], directory: Path
) -> None:
    socket_path = embedded.ensure(directory)
    with contextlib.closing(connect.connect(server_at(f"unix://{socket_path}"))) as admin:
        admin.acl_setuser(
            "poor", enabled=True, passwords=["+pw"], keys=["*"], categories=["-@all"], commands=["+get"]
        )
        with contextlib.closing(make(server_at(f"unix://poor@{socket_path}?password=pw"))) as client:
            assert client.get("key") is None
            (poor,) = [each for each in admin.client_list() if each["user"] == "poor"]
            assert poor["resp"] == "2"
        ours = [each["lib-name"] for each in admin.client_list() if each["user"] == "default"]
        assert f"redis-py(redjobs_v{__version__})" in ours


def test_no_maker_connects(directory: Path) -> None:
    for make in MAKERS:
        make(server_at(f"embedded://{directory}"))

    assert not embedded.status(directory).running
    assert not directory.exists()


def test_the_database_of_a_url(directory: Path) -> None:
    socket_path = embedded.ensure(directory)
    with contextlib.closing(connect.connect(server_at(f"unix://{socket_path}?db=3"))) as client:
        client.set("key", "x")
        assert list(client.info("keyspace")) == ["db3"]


@pytest.fixture
def tls() -> Iterator[Talker]:
    """A server whose certificate nobody has signed but itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    with tempfile.TemporaryDirectory() as room:
        certificate, key = f"{room}/cert.pem", f"{room}/key.pem"
        command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
        command += ["-subj", "/CN=somebody-else", "-keyout", key, "-out", certificate]
        subprocess.run(command, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        talker = Talker(context, certificate)
        yield talker
        talker.close()


def test_certificates_are_checked_unless_told_otherwise(tls: Talker, both: Both) -> None:
    url = f"rediss://:canary@localhost:{tls.port}"
    server = server_at(url)
    started = time.monotonic()
    with pytest.raises(redis_py.ConnectionError, match="certificate verify failed") as caught:
        both.get(server)
    assert time.monotonic() - started < 1, "another attempt would only repeat it"
    told = str(connect.unavailable(server, caught.value))
    assert "ssl_ca_certs" in told
    assert "REDJOBS_INSECURE_TLS=1" in told
    assert "canary" not in told

    insecure = server_at(url, REDJOBS_INSECURE_TLS="1")
    assert both.get(insecure) == b"value"


def test_the_name_of_the_host_is_checked(tls: Talker, both: Both) -> None:
    with pytest.raises(redis_py.ConnectionError, match=r"(?i)hostname mismatch"):
        both.get(server_at(f"rediss://localhost:{tls.port}?ssl_ca_certs={tls.certificate}"))


def test_tls_to_a_server_that_speaks_none(talker: Talker, both: Both, quick: None) -> None:
    talker.deaf = True
    server = server_at(f"rediss://127.0.0.1:{talker.port}?socket_connect_timeout=0.05&socket_timeout=0.05")
    with pytest.raises((redis_py.ConnectionError, redis_py.TimeoutError)) as caught:
        both.get(server)
    assert "begins with redis instead of rediss" in str(connect.unavailable(server, caught.value))


# The embedded server


def kill_server(directory: Path) -> None:
    kill(server_of(directory))


def test_a_killed_embedded_server_is_not_noticed(directory: Path, both: Both) -> None:
    server = server_at(f"embedded://{directory}")
    with contextlib.closing(connect.connect(server)) as client:
        client.set("key", "kept")

    assert both.get(server, first=lambda: kill_server(directory)) == b"kept"


def test_a_worker_comes_back_to_a_killed_embedded_server(directory: Path) -> None:
    server = server_at(f"embedded://{directory}")
    with contextlib.closing(connect.connect_worker(server)) as client:
        client.set("key", "kept")
        killer = threading.Timer(0.05, kill_server, (directory,))
        killer.start()
        with pytest.raises(redis_py.ConnectionError):
            client.brpoplpush("nothing", "nowhere", timeout=3)
        killer.join()

        assert client.get("key") == b"kept"


@pytest.mark.row(34)
def test_a_forked_child_has_connections_of_its_own(directory: Path) -> None:
    with contextlib.closing(connect.connect(server_at(f"embedded://{directory}"))) as client:
        mine = client.client_id()
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                client.set("child", client.client_id())
            os._exit(0)
        os.waitpid(child, 0)

        theirs = client.get("child")
        assert theirs is not None
        assert int(theirs) != mine
        assert client.client_id() == mine


def test_an_embedded_server_that_cannot_start(directory: Path, both: Both) -> None:
    directory.write_text("in the way")
    server = server_at(f"embedded://{directory}")
    started = time.monotonic()
    # A worker waits out whatever is a ConnectionError.
    with pytest.raises(redis_py.ConnectionError, match="File exists") as caught:
        both.get(server)
    assert time.monotonic() - started < 1, "another attempt would only repeat it"

    told = str(connect.unavailable(server, caught.value))
    assert told.startswith(f"no embedded server in {directory}")
    directory.unlink()
