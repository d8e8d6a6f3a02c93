"""Search deeper than the tests do: `python -m tests.interleavings --more 2 "a death" frozen`."""

from __future__ import annotations

import argparse
import sys

from tests.interleavings.moves import Moves
from tests.interleavings.scenes import SCENES
from tests.interleavings.search import search
from tests.interleavings.store import Store
from tests.interleavings.world import Server
from tests.servers import real_kinds, running


def main() -> int:
    """Print what each search has seen; 1 if one has found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.interleavings", description=__doc__)
    parser.add_argument("scenes", nargs="*", help="names of scenes; all of them by default")
    parser.add_argument("--more", type=int, default=2, help="moves beyond the depth of the tests")
    told = parser.parse_args()
    unknown = set(told.scenes) - {scene.name for scene in SCENES}
    if unknown:
        parser.error(f"there is no scene {', '.join(sorted(unknown))}")
    broken = 0
    for kind in real_kinds():
        with running(kind) as server:
            for scene in SCENES:
                if told.scenes and scene.name not in told.scenes:
                    continue
                store = Store(server)
                found = search(Moves(Server(store), scene), scene.depth + told.more)
                store.close()
                broken += bool(found.broken)
                states, calls = store.size
                size = f"{found.orders:.2g} orders; {states} states, {calls} calls"
                print(f"{kind}, {scene.name}: {found}; {size}", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
