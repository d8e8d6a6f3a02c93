"""Context variables: what one job sets, as frameworks do for a tenant or a user, holds in no other one."""

from __future__ import annotations

import contextvars
import decimal
from collections.abc import Iterator
from typing import Any

import pytest

from redjobs import CurrentJob, Queue, call
from redjobs.registry import registry
from tests.servers import Server
from tests.worker import handlers
from tests.worker.conftest import Burst
from tests.worker.runs import Runs

PLACES = pytest.mark.parametrize(
    ("handler", "options"),
    [
        pytest.param(handlers.as_tenant, {"threads": 1}, id="main thread"),
        pytest.param(handlers.as_tenant, {"threads": 2}, id="threads"),
        pytest.param(handlers.as_tenant_async, {"concurrency": 1}, id="coroutines in line"),
        pytest.param(handlers.as_tenant_async, {"concurrency": 8}, id="coroutines at once"),
    ],
)


@pytest.fixture
def server(valkey: Server) -> Server:
    return valkey


@pytest.fixture
def hooks() -> Iterator[None]:
    yield
    registry.hooks.clear()


@PLACES
def test_what_a_job_sets_holds_in_no_other_one(
    queue: Queue, burst: Burst, runs: Runs, handler: Any, options: dict[str, int]
) -> None:
    usual = decimal.getcontext().prec
    queue.enqueue_many(call(handler, f"tenant-{number}") for number in range(20))
    assert burst(**options) == 0
    assert set(runs.texts("found")) == {"nobody"}
    assert set(runs.texts("precision")) == {str(usual)}
    assert decimal.getcontext().prec == usual
    assert set(runs.texts()) == {f"tenant-{number}" for number in range(20)}


@PLACES
def test_what_the_app_sets_at_its_start_holds_in_all_of_them(
    queue: Queue, burst: Burst, runs: Runs, hooks: None, handler: Any, options: dict[str, int]
) -> None:
    registry.hooks.add("worker_start", lambda _: handlers.tenant.set("the house"))
    queue.enqueue_many(call(handler, f"tenant-{number}") for number in range(5))
    assert contextvars.copy_context().run(burst, **options) == 0
    assert runs.texts("found") == ["the house"] * 5


@PLACES
def test_what_a_hook_sets_around_a_job_holds_in_this_one(
    queue: Queue, burst: Burst, runs: Runs, hooks: None, handler: Any, options: dict[str, int]
) -> None:
    def run(job: CurrentJob) -> Iterator[None]:
        before = handlers.tenant.get()
        handlers.tenant.set(f"{before} {job.id}")
        yield

    registry.hooks.add("run", run)
    jobs = queue.enqueue_many(call(handler, "somebody") for _ in range(5))
    assert burst(**options) == 0
    assert set(runs.texts("found")) == {f"nobody {job.id}" for job in jobs}
