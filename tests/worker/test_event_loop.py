"""The event loop on which coroutines run: which one it is, and what they do to each other there."""

from __future__ import annotations

import sys

import pytest

from redjobs import Queue, State
from redjobs.registry import registry
from redjobs.worker.apps import import_apps
from tests.servers import Server
from tests.worker import handlers
from tests.worker.conftest import Burst
from tests.worker.processes import HANDLERS
from tests.worker.runs import Runs

pytestmark = pytest.mark.timeout(30, method="thread")


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


@pytest.mark.parametrize(
    ("how", "said"), [("raises", "ValueError: no such user"), ("returns nothing such", "TypeError: ")]
)
def test_what_is_only_marked_as_a_coroutine_function_fails_like_others(
    queue: Queue, burst: Burst, runs: Runs, monkeypatch: pytest.MonkeyPatch, how: str, said: str
) -> None:
    """As `inspect.markcoroutinefunction` does."""
    job = queue.options(max_attempts=2, backoff=0).enqueue(handlers.almost_async, how)
    import_apps([HANDLERS])
    monkeypatch.setattr(registry.get("tests.worker.handlers:almost_async"), "is_async", True)
    assert burst() == 2
    assert runs.count("start") == 2
    found = queue.get(job.id)
    assert (found.state, found.attempt) == (State.DEAD, 2)
    assert found.errors[-1].error.startswith(said)


def test_what_returns_a_future_is_awaited(
    queue: Queue, burst: Burst, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queue.options(result_ttl=60).enqueue(handlers.almost_async, "returns a future")
    import_apps([HANDLERS])
    monkeypatch.setattr(registry.get("tests.worker.handlers:almost_async"), "is_async", True)
    assert burst() == 0
    assert queue.result(job.id) == 7
