"""The only place that makes redis-py clients.

    connect(server)         for those who enqueue: what is lost on the way is sent again
    connect_async(server)   the same for coroutines
    connect_worker(server)  for workers: nothing is sent twice
    near(client, key)       where the server is a cluster, the client of the node that has this key

Sending again is safe for redjobs' own scripts, which are idempotent. It is not for a blocking pop:
each reply that is lost would strand a job, and redis-py repeats calls on its own, ten times for one
constructor and never for another. So what happens is written out here and not left to defaults,
which also differ between the versions of redis-py (5.2.1 and later) that redjobs works with.

Nothing is connected before the first command, and no connection crosses a fork (redis-py's pools
begin anew in the child).
"""

from __future__ import annotations

import inspect
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import redis
import redis.asyncio
from redis import connection as sync_connection
from redis.asyncio import connection as async_connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from redjobs import embedded
from redjobs.connect import seeking
from redjobs.connect.asking import chain
from redjobs.connect.cluster import (
    AsyncClusterClient,
    ClusterClient,
    Neighbours,
    SlotFinder,
    Topology,
    is_cluster,
    near,
)
from redjobs.connect.own import AsyncEmbeddedConnection, EmbeddedConnection
from redjobs.connect.patience import LOST, PatientAsyncRetry, PatientRetry
from redjobs.connect.sentinel import Sentinels
from redjobs.errors import ServerUnavailable, SettingsError
from redjobs.settings import INSECURE_TLS, Server, embedded_is_installed, redact
from redjobs.version import __version__

CONNECT_TIMEOUT_S = 3.0
SOCKET_TIMEOUT_S = 5.0
ASYNC_CONNECTIONS = 64
"""Of one asynchronous client. More coroutines than that wait for one another."""
POOL_TIMEOUT_S = 20.0

__all__ = ["check_client", "connect", "connect_async", "connect_worker", "is_cluster", "near", "unavailable"]


def connect(server: Server) -> redis.Redis:
    """A client for those who enqueue: what was lost is sent again, for a bounded time."""
    options = _sync_options(server)
    options.setdefault("socket_timeout", SOCKET_TIMEOUT_S)
    options |= {"retry": PatientRetry(server.can_fail_over), "retry_on_error": list(LOST)}
    if "max_connections" in options:  # threads that exceed it wait instead of failing
        return _client(redis.BlockingConnectionPool, options | {"timeout": POOL_TIMEOUT_S})
    return _client(redis.ConnectionPool, options | {"max_connections": _NO_LIMIT})


def connect_async(server: Server) -> redis.asyncio.Redis:
    """`connect` for coroutines; for one event loop."""
    options = _async_options(server)
    options.setdefault("socket_timeout", SOCKET_TIMEOUT_S)
    options.setdefault("max_connections", ASYNC_CONNECTIONS)
    options |= {"retry": PatientAsyncRetry(server.can_fail_over), "retry_on_error": list(LOST)}
    options |= {"timeout": POOL_TIMEOUT_S}

    def make(client: type[redis.asyncio.Redis], more: dict[str, Any]) -> redis.asyncio.Redis:
        pool: Any = redis.asyncio.BlockingConnectionPool(**options, **more)
        return client.from_pool(pool)

    topology = options.pop("topology", None)
    if topology is None:
        return make(redis.asyncio.Redis, {})
    central: Any = make(AsyncClusterClient, {"finder": SlotFinder(topology, None)})
    central.neighbours = Neighbours(topology, lambda finder: make(redis.asyncio.Redis, {"finder": finder}))
    return central  # type: ignore[no-any-return]


def connect_worker(server: Server, *, socket_timeout: float = SOCKET_TIMEOUT_S) -> redis.Redis:
    """A client for a worker: every command is sent once, and what fails is the caller's to judge.

    `socket_timeout` may be shorter than that of others, not longer; the URL cannot change it.
    """
    options = _sync_options(server)
    options |= {
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "socket_timeout": min(socket_timeout, SOCKET_TIMEOUT_S),
        # A worker has as many connections as it has threads: a limit could only stop it.
        "max_connections": _NO_LIMIT,
    }
    return _client(redis.ConnectionPool, options)


def check_client(client: Any) -> None:
    """Refuse a client of the user's own that cannot work; raises SettingsError."""
    get_encoder = getattr(client, "get_encoder", None)
    if get_encoder is None:
        raise SettingsError(
            f"client must be a redis-py client such as redis.Redis(), not {type(client).__name__}"
        )
    if not hasattr(client, "connection_pool"):
        raise SettingsError(
            "redjobs brings its own client for a cluster: give it the url redis+cluster://host1,host2"
        )
    if get_encoder().decode_responses:
        raise SettingsError(
            "this client has decode_responses=True, but what redjobs stores is bytes: make "
            "another client without it for redjobs, or give redjobs the url"
        )


def unavailable(server: Server, error: Exception) -> ServerUnavailable:
    """What to raise when the first command fails: what is wrong, and the ways to get going."""
    errors = chain(error)
    for each in errors:
        if isinstance(each, ServerUnavailable):
            return ServerUnavailable(str(each))
    where = f"{server} (from {server.source})"
    problem = (str(error) or type(error).__name__).replace(server.url, redact(server.url))
    if any(isinstance(each, redis.AuthenticationError) for each in errors):
        return ServerUnavailable(f"the server at {where} does not let us in: {problem}")
    if any(isinstance(each, ssl.SSLCertVerificationError) for each in errors):
        return ServerUnavailable(
            f"the certificate of the server at {where} is not trusted: {problem}\n"
            f"Name the certificate authority in the URL, ?ssl_ca_certs=/path/ca.pem. Where it is "
            f"self-signed and you accept that, ${INSECURE_TLS}=1 leaves it unchecked"
        )
    return ServerUnavailable(
        f"no server answers at {where}: {problem}\n"
        f"{_another_language(server, errors)}"
        f"Three ways to get going:\n"
        f"  1. name a running Redis or Valkey:  export REDJOBS_URL=redis://HOST:6379/0\n"
        f"  2. let redjobs run its own:  pip install 'redjobs[embedded]'  and  "
        f"export REDJOBS_URL=embedded://.redjobs\n"
        f"  3. start one:  redjobs server   or   docker run -p 6379:6379 valkey/valkey"
    )


def _another_language(server: Server, errors: list[BaseException]) -> str:
    """A hint where somebody listens who may not speak as the URL says."""
    if server.is_tls and any(isinstance(each, redis.TimeoutError | ssl.SSLError) for each in errors):
        return "If it does not speak TLS there, the URL begins with redis instead of rediss\n"
    if not server.is_tls and any(isinstance(each, ConnectionResetError) for each in errors):
        return "If it speaks TLS there, the URL begins with rediss instead of redis\n"
    return ""


# How a client is made


_NO_LIMIT = 2**31


def _client(pool: Callable[..., Any], options: dict[str, Any]) -> redis.Redis:
    def make(client: type[redis.Redis], more: dict[str, Any]) -> redis.Redis:
        return client.from_pool(pool(**options, **more))  # whose close() closes the pool, too

    topology = options.pop("topology", None)
    if topology is None:
        return make(redis.Redis, {})
    central: Any = make(ClusterClient, {"finder": SlotFinder(topology, None)})
    central.neighbours = Neighbours(topology, lambda finder: make(redis.Redis, {"finder": finder}))
    return central  # type: ignore[no-any-return]


def _sync_options(server: Server) -> dict[str, Any]:
    if server.directory is not None:
        _check_installed()
        options: dict[str, Any] = {"connection_class": EmbeddedConnection, "directory": server.directory}
    else:
        options = dict(sync_connection.parse_url(_plain_url(server)))  # type: ignore[no-untyped-call]
    options |= _common_options(server, options, redis.ConnectionPool)
    if server.hosts:
        kind = seeking.SeekingTlsConnection if server.is_tls else seeking.SeekingConnection
        options |= {"connection_class": kind, **_finder(server, options)}
    return options


def _async_options(server: Server) -> dict[str, Any]:
    if server.directory is not None:
        _check_installed()
        options: dict[str, Any] = {
            "connection_class": AsyncEmbeddedConnection,
            "directory": server.directory,
        }
    else:
        options = dict(async_connection.parse_url(_plain_url(server)))
    options |= _common_options(server, options, redis.asyncio.ConnectionPool)
    if server.hosts:
        kind = seeking.AsyncSeekingTlsConnection if server.is_tls else seeking.AsyncSeekingConnection
        options |= {"connection_class": kind, **_finder(server, options)}
    return options


def _plain_url(server: Server) -> str:
    """A URL that redis-py can read."""
    hosts = server.hosts
    return hosts.url if hosts else server.url


def _finder(server: Server, options: Mapping[str, Any]) -> dict[str, Any]:
    """Who knows where the server is; asks with the TLS options of the URL."""
    hosts = server.hosts
    assert hosts is not None
    theirs = {name: value for name, value in options.items() if name.startswith("ssl_")}
    theirs["ssl"] = server.is_tls
    if server.is_sentinel:
        return {"finder": Sentinels(hosts, theirs)}
    theirs |= {name: options[name] for name in ("username", "password") if name in options}
    return {"topology": Topology(hosts, theirs)}


def _common_options(server: Server, given: Mapping[str, Any], pool: type) -> dict[str, Any]:
    options: dict[str, Any] = {
        "socket_connect_timeout": given.get("socket_connect_timeout", CONNECT_TIMEOUT_S),
        # RESP3 would cost a round trip and a right (HELLO) more, and in redis-py 8 brings
        # maintenance notifications, which disable its guard against replies of earlier calls.
        "protocol": 2,
        "decode_responses": False,
    }
    options |= _name_of_this_library()
    if "maint_notifications_config" in inspect.signature(pool).parameters:
        from redis.maint_notifications import MaintNotificationsConfig  # redis-py 6.4 and later

        options["maint_notifications_config"] = MaintNotificationsConfig(enabled=False)
    if server.scheme.startswith("redis"):
        options["socket_keepalive"] = True
        options["socket_keepalive_options"] = _keepalive()
    if server.is_tls:
        # Older versions of redis-py do not compare the host's name by themselves.
        options["ssl_cert_reqs"] = "required" if server.verify_tls else "none"
        options["ssl_check_hostname"] = server.verify_tls
    return options


def _name_of_this_library() -> dict[str, Any]:
    # Shown by CLIENT LIST. `client_name` would be the usual way, but a server that does not
    # permit CLIENT SETNAME refuses the connection then; this one is only a wish.
    try:
        from redis.driver_info import DriverInfo
    except ImportError:  # before redis-py 7
        return {"lib_name": f"redis-py(redjobs_v{__version__})"}
    return {"driver_info": DriverInfo().add_upstream_driver("redjobs", __version__)}


def _keepalive() -> dict[int, int]:
    """Notice within 45 seconds that the server's machine is gone, instead of in two hours."""
    idle = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
    return {idle: 30, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3} if idle else {}


def _check_installed() -> None:
    if not embedded_is_installed():
        raise SettingsError(embedded.NOT_INSTALLED)
