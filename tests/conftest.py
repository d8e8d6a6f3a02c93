"""Servers, clients and queues for all tests, and the check of the data after each of them.

- `server`: a private server; a test that uses it, directly or through another fixture, runs on
  every kind of server. A module with `pytestmark = pytest.mark.fakeredis` runs on fakeredis, too, and
  one with `pytest.mark.roles` also with the users that `redjobs acl` prints: see roles.py.
- `private_server`: one for this test alone, which may fill it up, stop it or kill it.
- `redis`: a client of `server`. `keys`: the keys of a queue that no other test has.

After each test that used `server` the data in it is checked (see invariants.py) and removed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest
from redis import Redis

from redjobs import shards
from redjobs.keys import Keys
from tests import invariants, roles
from tests.servers import FAKE, Kind, Server, fake_server, real_kinds, running

_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Started in the background by a script, and whoever is started from here would ignore Ctrl-C, too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "fakeredis: run this on fakeredis, too")
    config.addinivalue_line("markers", "roles: run this with the users of `redjobs acl`, too")
    config.addinivalue_line("markers", "slow: runs with `-m slow`, and with $REDJOBS_SLOW_TESTS set")
    config.addinivalue_line(
        "markers", "unchecked(reason): this test may leave data that breaks the invariants"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "slow" in config.option.markexpr or os.environ.get("REDJOBS_SLOW_TESTS"):
        return
    skipped = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=skipped)
    items[:] = [item for item in items if item not in skipped]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" in metafunc.fixturenames:
        kinds = list(real_kinds())
        if metafunc.definition.get_closest_marker("roles"):
            kinds.append(replace(kinds[0], has_roles=True))
        if metafunc.definition.get_closest_marker("fakeredis"):
            kinds.append(FAKE)
        metafunc.parametrize("kind", dict.fromkeys(kinds), ids=str)


@pytest.fixture(autouse=True)
def no_shards_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test says of a queue's shards does not hold for the next one."""
    monkeypatch.setattr(shards, "_said", {})


class Pool:
    """The servers that tests share; each is started when a test first needs it."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._servers: dict[Kind, Server] = {}

    def get(self, kind: Kind) -> Server:
        if kind == FAKE:
            return fake_server()
        if kind not in self._servers:
            self._servers[kind] = self._stack.enter_context(running(kind))
        return self._servers[kind]


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    with contextlib.ExitStack() as stack:
        yield Pool(stack)


@pytest.fixture
def server(kind: Kind, pool: Pool, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that is empty when the test begins, and consistent when it ends."""
    yield from lent(pool.get(kind), request)


def lent(shared: Server, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A shared server for one test, and what is checked after it."""
    yield shared
    client = shared.client()
    try:
        _check(client, request)
    finally:
        if shared.kind.has_roles:
            roles.nothing_was_denied(client)
        shared.close_clients()


def _check(redis: Redis, request: pytest.FixtureRequest) -> None:
    unchecked = request.node.get_closest_marker("unchecked")
    try:
        if unchecked is None:
            invariants.check(redis)
        else:
            assert unchecked.args and unchecked.args[0], "`unchecked` needs a reason"
    finally:
        redis.flushall()  # started by us, and no other test has anything in it


@pytest.fixture
def private_server(kind: Kind) -> Iterator[Server]:
    """A server for this test alone. Its data is not checked: call `invariants.check`."""
    with running(kind) as alone:
        yield alone


@pytest.fixture
def redis(server: Server) -> Redis:
    return server.client()


@pytest.fixture
def keys() -> Keys:
    """The keys of a queue that no other test has, and no other run."""
    number = next(_numbers)
    return Keys(f"queue-{number}", f"test-{number}")
