"""What is said of a server that is gone, by those who have to say it and by those who leave it to others."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import redis

from redjobs.worker.outage import Outage

FULL = redis.ConnectionError("Error 24 connecting to unix socket: /run/redis.sock. Too many open files.")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Clock:
    clock = Clock()
    monkeypatch.setattr("redjobs.worker.outage.time", SimpleNamespace(monotonic=lambda: clock.now))
    caplog.set_level(logging.INFO, "redjobs.worker")
    return clock


def test_a_child_says_nothing_of_a_short_one(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(logging.DEBUG)
    for _ in range(9):
        outage.lost(FULL)
        clock.now += 1.0
    outage.over()
    assert caplog.messages == []


@pytest.mark.parametrize("some_get_through", [False, True])
def test_a_child_says_once_what_lasts(
    clock: Clock, caplog: pytest.LogCaptureFixture, some_get_through: bool
) -> None:
    outage = Outage(logging.DEBUG)
    for _ in range(30):
        outage.lost(FULL)
        clock.now += 1.0
        if some_get_through:
            outage.over()
    outage.over()
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(said) == 1
    assert "Too many open files" in said[0]
    assert caplog.messages[1:] == ([] if some_get_through else ["the server is back after 30.0 s"])


def test_the_next_one_is_said_again(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(logging.DEBUG)
    for _ in range(2):
        for _ in range(15):
            outage.lost(FULL)
            clock.now += 1.0
        outage.over()
        clock.now += 60.0
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 2


def test_who_says_it_at_once_says_it_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage()
    for _ in range(30):
        outage.lost(FULL)
        clock.now += 1.0
    assert caplog.messages == [f"the server is gone ({FULL}); waiting for it"]
