"""Break everything for a while, and see that nothing is lost: what scripts/chaos runs.

Real workers on a real server, killed, frozen, cut off and paused at random; each job writes down
that it ran, outside of the server; at the end the queues are drained and the checker compares. The
seed decides what happens when; give it again to have the same things happen.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
from pathlib import Path

from tests.chaos.campaign import Progress, Settings, run
from tests.chaos.nemesis import MIXES
from tests.chaos.verdict import figures, judge, table


def main() -> int:
    """0 where everything held, 1 where something did not, 130 where Ctrl-C came before the verdict."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--mix", choices=sorted(MIXES), default="all", help="what goes wrong (all)")
    parser.add_argument("--seconds", type=float, default=120.0, help="for how long (120)")
    parser.add_argument("--kills", type=int, default=0, help="instead: until so many were killed")
    parser.add_argument("--rate", type=float, help="acts per second, on average")
    parser.add_argument("--seed", type=int, help="what happens when; a new one by default")
    parser.add_argument("--server", choices=("valkey", "redis"), default="valkey")
    parser.add_argument("--fsync", choices=("always", "everysec"), default="always")
    parser.add_argument("--lease", type=float, default=2.0, help="of the workers, in seconds (2)")
    parser.add_argument("--supervisors", type=int, default=2)
    parser.add_argument("--processes", type=int, default=3, help="children of each (3)")
    parser.add_argument("--poison", action="store_true", help="one job in a hundred kills its process")
    parser.add_argument("--json", action="store_true", help="figures instead of a table")
    parser.add_argument("--keep", type=Path, help="a directory for logs, record and data")
    told = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if told.seed is None else told.seed
    settings = Settings(
        seed=seed,
        mix=told.mix,
        seconds=told.seconds,
        kills=told.kills,
        rate=told.rate,
        server=told.server,
        fsync=told.fsync,
        lease=told.lease,
        supervisors=told.supervisors,
        processes=told.processes,
        poison=told.poison,
        # Elsewhere the server or the supervisor may be frozen or gone when a child dies.
        timed=told.mix == "kills",
        max_crashes=3 if told.poison else Settings.max_crashes,
    )
    # The proxy's, of connections whose other side was just killed.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    print(f"seed {seed}", file=sys.stderr, flush=True)
    progress = Progress(sys.stderr)
    try:
        seen = run(settings, progress.say, told.keep)
    except KeyboardInterrupt:
        print(f"\ninterrupted: there is no verdict (seed {seed})", file=sys.stderr)
        return 130
    progress.end()
    verdict = judge(seen)
    print(json.dumps(figures(seen, verdict), indent=2) if told.json else table(seen, verdict))
    return 0 if verdict.is_valid else 1


if __name__ == "__main__":
    sys.exit(main())
