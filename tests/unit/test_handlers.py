"""Decorated functions: which queue they go to, and with which options."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import fakeredis
import pytest

import redjobs
from redjobs import AsyncQueue, HandlerError, Job, Queue, SettingsError
from redjobs import queue as _queue_module
from redjobs.ids import priority_of
from redjobs.registry import Registry

NOON = datetime(2090, 1, 1, 12, tzinfo=UTC)


def remind(user_id: int, template: str = "gentle") -> str:
    return f"{user_id} {template}"


_runners: list[asyncio.Runner] = []


@pytest.fixture(autouse=True)
def event_loop() -> Iterator[None]:
    """One for all calls of a test, as an AsyncQueue wants it."""
    with asyncio.Runner() as runner:
        _runners.append(runner)
        yield
        _runners.pop()


def run(result: Any) -> Any:
    """The result of a call to either kind of handler."""

    async def wait() -> Any:
        return await result

    return _runners[-1].run(wait()) if inspect.iscoroutine(result) else result


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture(params=["sync", "async"])
def queue(request: pytest.FixtureRequest, registry: Registry) -> Any:
    if request.param == "sync":
        return Queue("mail", client=fakeredis.FakeRedis(), registry=registry)
    return AsyncQueue("mail", client=fakeredis.FakeAsyncRedis(), registry=registry)


def test_a_handler_may_be_run_by_workers_of_its_registry(queue: Any, registry: Registry) -> None:
    handler = queue.job(remind)
    assert handler(7) == "7 gentle"
    assert registry.get(f"{__name__}:remind") is handler


def test_with_and_without_parentheses(queue: Any) -> None:
    assert queue.job(remind).name == queue.job()(remind).name == queue.job(timeout=3)(remind).name
    assert queue.job(timeout=3)(remind).defaults.timeout == 3


def test_a_handler_goes_to_its_queue(queue: Any) -> None:
    handler = queue.job(remind)
    for job in (
        run(handler.enqueue(7)),
        run(handler.enqueue_in(timedelta(days=3), 7)),
        run(handler.enqueue_at(NOON, 7)),
    ):
        assert (job.queue, job.name) == ("mail", f"{__name__}:remind")
        assert queue.arguments(job) == ((7,), {})
    assert handler.queue.name == "mail"


def test_the_queue_that_it_names_goes_before_the_one_it_is_bound_to(queue: Any) -> None:
    handler = queue.job(queue="post")(remind)
    assert handler.queue.name == run(handler.enqueue(7)).queue == "post"
    assert run(handler.options(queue="other").enqueue(7)).queue == "other"


def test_its_priority_holds_beside_the_function_of_the_same_name(queue: Any) -> None:
    # Not a decorator here: the module still has the plain function under this name.
    handler = queue.job(priority=5)(remind)
    assert priority_of(run(handler.enqueue(7)).id) == 5
    assert priority_of(run(queue.enqueue(remind, 7)).id) == 5
    assert priority_of(run(queue.enqueue(handler, 7)).id) == 5


def test_options_of_a_handler_add_up_and_change_nothing(queue: Any) -> None:
    handler = queue.job(remind)
    urgent = handler.options(priority=-10)
    keyed = urgent.options(key="reminder:7")
    job: Job = run(keyed.enqueue_in(timedelta(days=3), 7))
    assert (job.priority, job.key) == (-10, "reminder:7")
    assert run(urgent.enqueue_in(timedelta(days=3), 7)).key is None
    assert run(handler.enqueue_in(timedelta(days=3), 7)).priority == 0
    assert keyed(7) == "7 gentle"


@pytest.mark.parametrize("wrong", [{"priority": "high"}, {"prio": 3}, {"timeout": 0}])
def test_wrong_options_are_refused_where_they_are_said(queue: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        queue.job(**wrong)
    with pytest.raises(SettingsError):
        queue.job(remind).options(**wrong)
    with pytest.raises(SettingsError):
        queue.options(**wrong)


def test_a_key_belongs_to_one_job(queue: Any) -> None:
    with pytest.raises(SettingsError, match=r"use \.options\(key=\.\.\.\)"):
        queue.job(key="reminder")


def test_a_backoff_function_stays_with_the_handler(queue: Any) -> None:
    def double(attempt: int, _: BaseException) -> float:
        return 2.0**attempt

    assert queue.job(backoff=double)(remind).backoff is double
    with pytest.raises(SettingsError, match="cannot travel with one job"):
        queue.options(backoff=double)


def test_what_cannot_be_a_job_cannot_be_decorated(queue: Any, registry: Registry) -> None:
    for fn in (lambda: None, print, Queue.enqueue):
        with pytest.raises(HandlerError):
            queue.job(fn)
    assert registry.names == []


# Bound later ----------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that nobody asks, and no queue yet."""
    monkeypatch.setenv("REDJOBS_URL", "redis://nowhere.invalid:6379/3")
    monkeypatch.setattr(_queue_module, "_default_queues", {})
    monkeypatch.setattr(_queue_module, "shared_registry", Registry())


@pytest.mark.usefixtures("environment")
def test_an_unbound_handler_goes_to_the_default_queue_of_the_environment() -> None:
    handler = redjobs.job(remind)
    assert handler.queue.name == "default"
    assert handler.queue.redis.connection_pool.connection_kwargs["host"] == "nowhere.invalid"
    assert handler.queue is redjobs.job(remind).queue, "one for the process, with one pool"


@pytest.mark.usefixtures("environment")
def test_an_unbound_handler_goes_to_the_queue_that_it_names() -> None:
    assert redjobs.job(queue="post")(remind).queue.name == "post"
    assert redjobs.job(queue="post")(remind).options(queue="other").queue.name == "other"


@pytest.mark.usefixtures("environment")
def test_an_unbound_handler_can_be_enqueued_by_any_queue(queue: Any) -> None:
    handler = redjobs.job(priority=5)(remind)
    job: Job = run(queue.enqueue(handler, 7))
    assert (job.queue, job.priority) == ("mail", 5)
