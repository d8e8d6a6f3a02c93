"""Which Sentinel is asked, and when, where some of them do not answer or know less than the others."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from redjobs.connect import sentinel
from redjobs.connect.seeking import recognized
from redjobs.connect.sentinel import Sentinels
from redjobs.manyhosts import Address
from redjobs.settings import resolve_url

ONE, TWO, THREE = ((f"sentinel-{number}", 26379) for number in (1, 2, 3))


class Watch:
    """What each Sentinel says; None: it does not answer."""

    def __init__(self) -> None:
        self.says: dict[Address, Address | None] = dict.fromkeys((ONE, TWO, THREE))
        self.asked: list[Address] = []

    def ask(self, address: Address, _options: Any, *_words: str) -> list[bytes]:
        self.asked.append(address)
        named = self.says[address]
        if named is None:
            raise redis.TimeoutError("no answer")
        return [named[0].encode(), str(named[1]).encode()]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    monkeypatch.setattr(sentinel, "ask", watch.ask)
    return watch


@pytest.fixture
def sentinels() -> Sentinels:
    hosts = resolve_url("redis+sentinel://sentinel-1,sentinel-2,sentinel-3/jobs").hosts
    assert hosts is not None
    return Sentinels(hosts, {})


def test_who_names_a_primary_that_is_gone_is_not_asked_for_ever(watch: Watch, sentinels: Sentinels) -> None:
    """It is cut off from the other two, which have chosen another one."""
    watch.says = {ONE: ("old", 1), TWO: ("new", 2), THREE: ("new", 2)}
    assert sentinels.find() == ("old", 1)
    sentinels.failed(("old", 1), 3.0)
    assert sentinels.find() == ("new", 2)
    assert sentinels.find() == ("new", 2)
    assert watch.asked == [ONE, TWO, TWO]


def test_sentinels_that_do_not_answer_hold_up_few_calls(
    watch: Watch, sentinels: Sentinels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The primary is well; each question that nobody answers may take three seconds."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with pytest.raises(redis.ConnectionError):
        sentinels.find()
    now += 5
    assert not sentinels.is_stale()
    now += 6
    assert sentinels.is_stale()
    watch.says[TWO] = ("primary", 1)
    sentinels.find()
    assert not sentinels.is_stale()
    now += 1.1
    assert sentinels.is_stale()


@pytest.mark.parametrize(
    "said",
    [
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    ],
)
def test_what_a_former_primary_says_sends_away_with_every_version_of_redis_py(
    sentinels: Sentinels, said: str
) -> None:
    assert sentinels.sent_away(recognized(redis.ResponseError(said))) is not None
    assert sentinels.sent_away(recognized(redis.ResponseError("NOAUTH"))) is None
