"""Every order of calls up to a depth, over the real scripts: nothing is lost, taken away or done twice.

`python -m tests.interleavings` searches deeper.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interleavings.breakages import MISSING, Missing
from tests.interleavings.moves import Moves
from tests.interleavings.scene import Scene
from tests.interleavings.scenes import KNOWN, SCENES
from tests.interleavings.search import Found, search
from tests.interleavings.store import Breakage, Store
from tests.interleavings.world import Server as ModelServer
from tests.servers import Server, real_kinds, running


@pytest.fixture(scope="module")
def one_server() -> Iterator[Server]:
    """A server for these tests alone; the scripts behave the same on each kind, as other tests see to."""
    with running(real_kinds()[-1]) as server:
        yield server


def look(server: Server, wanted: Scene, *breakages: Breakage, more: int = 0) -> Found:
    """Search a scene to its depth, and `more`."""
    store = Store(server, *breakages)
    try:
        return search(Moves(ModelServer(store), wanted), wanted.depth + more)
    finally:
        store.close()


@pytest.mark.row(11, 30, 31)
@pytest.mark.parametrize("wanted", SCENES, ids=lambda each: each.name)
def test_nothing_breaks(one_server: Server, wanted: Scene) -> None:
    found = look(one_server, wanted)
    assert not found.broken, str(found)
    assert found.worlds > 50
    assert found.fates >= set(wanted.reaches)


@pytest.mark.row(31)
@pytest.mark.parametrize("missing", MISSING, ids=lambda each: each.name)
def test_each_protection_would_be_missed(one_server: Server, missing: Missing) -> None:
    found = look(one_server, missing.scene, *missing.breakages, more=2)
    assert missing.says in found.broken, str(found)


@pytest.mark.row(12)
@pytest.mark.parametrize(("wanted", "says", "why"), KNOWN, ids=lambda each: getattr(each, "name", ""))
def test_what_is_known_not_to_hold(one_server: Server, wanted: Scene, says: str, why: str) -> None:
    found = look(one_server, wanted)
    assert says in found.broken, f"it holds now, so say so: {why}"
