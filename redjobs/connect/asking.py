"""One question to one server, which is no queue's: to a Sentinel, or to any node of a cluster."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from redjobs.manyhosts import Address

#: One that does not answer shall not use up anybody's patience: there are others.
_TIMEOUT_S = 1.0


def chain(error: BaseException) -> list[BaseException]:
    """The error, what it was made of, and what redis-py had made that of."""
    found: list[BaseException] = []
    each: BaseException | None = error
    while each is not None:
        found += [each] if each.__context__ is None else [each, each.__context__]
        each = each.__cause__
    return found


def is_refusal(error: BaseException | None) -> bool:
    """Whether one side does not trust the other, which another attempt would only repeat."""
    refusals = (redis.AuthenticationError, ssl.SSLCertVerificationError)
    return error is not None and any(isinstance(each, refusals) for each in chain(error))


def ask(address: Address, options: Mapping[str, Any], *words: str) -> Any:
    """The reply as the server sends it, over a connection of its own. Raises redis-py's errors."""
    host, port = address
    once: dict[str, Any] = {
        **options,
        "socket_timeout": _TIMEOUT_S,
        "socket_connect_timeout": _TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    client: Any = redis.Redis(host, port, **once)
    client.response_callbacks.clear()  # they differ between the versions of redis-py
    try:
        return client.execute_command(*words)
    finally:
        client.close()
