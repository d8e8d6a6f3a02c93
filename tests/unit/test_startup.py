"""What a worker warns of when it starts."""

from __future__ import annotations

import re
from typing import Any

import pytest

from redjobs.settings import resolve_url
from redjobs.worker.options import WorkerOptions
from redjobs.worker.startup import greet, warnings_for

GOOD: dict[str, Any] = {
    "redis_version": "7.2.4",
    "valkey_version": "9.1.2",
    "role": "master",
    "maxmemory": 1_000_000,
    "maxmemory_policy": "noeviction",
    "aof_enabled": 1,
}


def test_a_good_server_is_not_talked_about() -> None:
    assert warnings_for(GOOD) == []


@pytest.mark.row(25)
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"role": "slave"}, "the server is a replica"),
        ({"valkey_version": "6.0.16"}, "Valkey 6.0.16 is too old: 6.2"),
        ({"maxmemory_policy": "allkeys-lru"}, "maxmemory-policy is allkeys-lru: .* noeviction"),
        ({"aof_enabled": 0}, "AOF is off: .* appendonly to yes"),
    ],
)
def test_a_server_that_keeps_no_promises_is(wrong: dict[str, Any], words: str) -> None:
    (warning,) = warnings_for(GOOD | wrong)
    assert re.search(words, warning)


def test_eviction_does_not_matter_without_a_limit() -> None:
    assert warnings_for(GOOD | {"maxmemory": 0, "maxmemory_policy": "allkeys-lru"}) == []


def test_what_the_server_does_not_say_is_not_guessed() -> None:
    assert warnings_for({}) == []


@pytest.mark.parametrize(("url", "warnings"), [("redis://redis.example.org", 1), ("redis://localhost", 0)])
def test_a_server_that_anybody_may_reach_is_told_of_once(
    url: str, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        greet(resolve_url(url, {}), WorkerOptions())
    found = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(found) == warnings
    assert all("neither a password nor TLS" in record.message for record in found)
