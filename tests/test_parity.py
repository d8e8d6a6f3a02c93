"""`Queue` and `AsyncQueue` are the same queue: one for ordinary code, one for coroutines."""

from __future__ import annotations

import inspect
import re
import typing
from typing import Any

import fakeredis
import pytest

from redjobs import AsyncQueue, Queue
from redjobs.aio import AsyncJobFunction
from redjobs.aiodriver import AsyncDriver
from redjobs.drivers import Driver
from redjobs.queue import JobFunction

PAIRS = [(Queue, AsyncQueue), (JobFunction, AsyncJobFunction), (Driver, AsyncDriver)]
pairs = pytest.mark.parametrize(("sync", "asynchronous"), PAIRS, ids=["queue", "handler", "driver"])

#: What asks the server, and so is awaited.
AWAITED = {
    Queue: {
        "enqueue",
        "enqueue_in",
        "enqueue_at",
        "enqueue_many",
        "get",
        "cancel",
        "reschedule",
        "requeue",
        "delete",
        "sweep",
        "result",
        "close",
    },
    JobFunction: {"enqueue", "enqueue_in", "enqueue_at"},
    Driver: {"run", "drive", "announce", "enqueue", "enqueue_many"},
}


def public(kind: type) -> list[str]:
    """The public names that a class defines itself, in their order."""
    return [name for name in vars(kind) if not name.startswith("_")]


def as_if_sync(annotation: object) -> str:
    """An annotation of the asynchronous side, as it stands on the other."""
    return re.sub(r"\bAsync(Queue|JobFunction)\b", r"\1", str(annotation).replace("redis.asyncio.", "redis."))


def signature(fn: Any) -> tuple[Any, ...]:
    """Name, kind, default and annotation of each parameter, and what is returned."""
    target: Any = fn.fget if isinstance(fn, property) else fn
    found = inspect.signature(target)
    return (
        *((p.name, p.kind, p.default, as_if_sync(p.annotation)) for p in found.parameters.values()),
        as_if_sync(found.return_annotation),
    )


@pairs
def test_both_have_the_same_names_in_the_same_order(sync: type, asynchronous: type) -> None:
    assert public(asynchronous) == public(sync)


def test_both_queues_have_the_same_attributes() -> None:
    sync, asynchronous = Queue(client=fakeredis.FakeRedis()), AsyncQueue(client=fakeredis.FakeAsyncRedis())
    assert list(vars(asynchronous)) == list(vars(sync))


@pairs
def test_both_take_the_same_arguments(sync: type, asynchronous: type) -> None:
    for name in public(sync):
        assert signature(vars(asynchronous)[name]) == signature(vars(sync)[name]), name


def test_both_queues_are_made_in_the_same_way() -> None:
    assert signature(AsyncQueue.__init__) == signature(Queue.__init__)


@pairs
def test_both_have_the_same_overloads(sync: type, asynchronous: type) -> None:
    counted = 0
    for name in public(sync):
        one, other = vars(sync)[name], vars(asynchronous)[name]
        if not isinstance(one, property):
            overloads = typing.get_overloads(one)
            assert [*map(signature, typing.get_overloads(other))] == [*map(signature, overloads)], name
            counted += len(overloads)
    assert counted == (10 if sync is Queue else 0), "they were not looked at"


@pairs
def test_exactly_what_asks_the_server_is_awaited(sync: type, asynchronous: type) -> None:
    awaited = {name for name in public(asynchronous) if inspect.iscoroutinefunction(vars(asynchronous)[name])}
    assert awaited == AWAITED[sync]
    assert not [name for name in public(sync) if inspect.iscoroutinefunction(vars(sync)[name])]


@pairs
def test_both_say_what_everything_is(sync: type, asynchronous: type) -> None:
    for name in public(sync):
        assert inspect.getdoc(vars(sync)[name]), name
        assert inspect.getdoc(vars(asynchronous)[name]), name


def test_what_is_said_once_is_pointed_at() -> None:
    for name in public(Queue):
        one, other = inspect.getdoc(vars(Queue)[name]) or "", inspect.getdoc(vars(AsyncQueue)[name]) or ""
        assert other == one or f"`Queue.{name}`" in other, f"AsyncQueue.{name} says something of its own"
