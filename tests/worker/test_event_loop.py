"""The event loop on which coroutines run: which one it is, and what they do to each other there."""

from __future__ import annotations

import sys

import pytest

from redjobs import Queue
from tests.servers import Server
from tests.worker import handlers
from tests.worker.conftest import Burst
from tests.worker.runs import Runs


@pytest.fixture
def server(valkey: Server) -> Server:
    return valkey


def test_uvloop_is_used_where_it_is_installed(queue: Queue, burst: Burst, runs: Runs) -> None:
    pytest.importorskip("uvloop")
    queue.enqueue(handlers.event_loop)
    burst()
    assert runs.texts() == ["uvloop"]


def test_asyncios_own_loop_is_used_where_uvloop_is_not(
    queue: Queue, burst: Burst, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    queue.enqueue(handlers.event_loop)
    burst()
    assert runs.texts() == ["asyncio"]
