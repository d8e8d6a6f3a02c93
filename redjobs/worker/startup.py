"""What a worker says of itself and of the server when it starts."""

from __future__ import annotations

import contextlib
import logging
import resource
from typing import Any

import redis

from redjobs.settings import Server
from redjobs.version import __version__
from redjobs.worker.logs import counted
from redjobs.worker.options import WorkerOptions

logger = logging.getLogger("redjobs.worker")

_OLDEST = (6, 2)
#: Not more, where the system allows a thousand million: some programs, which jobs may start, look at each.
_MOST_FILES = 65_536


def allow_files() -> None:
    """Let this process and its children open as many files as they may: there is a connection per queue."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(ValueError, OSError):  # the system may have a limit beneath it
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def greet(server: Server, options: WorkerOptions) -> None:
    """One line: who we are, whom we serve, and how; and another where anybody may do as we do."""
    pools = options.pools or ((options.queues, options.processes),)
    shape = "; ".join(f"{' '.join(queues)}: {counted(count or 1, 'process')}" for queues, count in pools)
    each = f"{counted(options.threads, 'thread')} and {options.concurrency} coroutines each"
    logger.info("redjobs %s on %s; %s; %s", __version__, server, shape, each)
    if server.is_open:
        logger.warning(
            "the URL of the server, which is not on this machine, has neither a password nor TLS:"
            " whoever reaches it can read, change and enqueue jobs; `redjobs acl` makes a user for each role"
        )


def check_server(client: redis.Redis) -> None:
    """Warn in plain words of a server that will not keep what redjobs promises.

    Where INFO is not allowed, nothing is known and nothing is said. Raises redis-py's
    ConnectionError or TimeoutError when nothing answers.
    """
    try:
        info: Any = client.info("everything")
    except redis.ResponseError:
        return
    for warning in warnings_for(info):
        logger.warning("%s", warning)


def warnings_for(info: dict[str, Any]) -> list[str]:
    """What is wrong with a server, by its INFO."""
    found = []
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version") or info.get("redis_version", ""))
    if info.get("role", "master") not in ("master", "primary"):
        found.append("the server is a replica: it takes no jobs; give the URL of the primary")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < _OLDEST:
        found.append(f"{name} {version} is too old: 6.2 is the oldest that has what redjobs uses")
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory") and policy != "noeviction":
        found.append(
            f"maxmemory-policy is {policy}: when memory is full the server throws jobs away;"
            " set it to noeviction"
        )
    if "aof_enabled" in info and not info["aof_enabled"]:
        found.append(
            "AOF is off: when the server dies, jobs since its last snapshot are lost; set appendonly to yes"
        )
    return found
