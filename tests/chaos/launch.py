"""A worker in a process of its own, without the brakes on children that die like flies.

`python -m tests.chaos.launch JSON`: the URL and the options. Killing children as fast as they come
is what these runs are for: a supervisor that pauses between deaths, or gives up since none of its
children was ever ready, would only make them longer.
"""

from __future__ import annotations

import json
import sys

from redjobs.settings import resolve_url
from redjobs.worker import WorkerOptions, brood, supervisor
from redjobs.worker.main import start


def main(told: dict[str, object]) -> int:
    """Run a worker until it is told to stop."""
    assert hasattr(brood, "_DEATHS_AT_ONCE")
    assert hasattr(supervisor, "_MOST_FALSE_STARTS")
    brood._DEATHS_AT_ONCE = supervisor._MOST_FALSE_STARTS = 10**9
    options = told["options"]
    assert isinstance(options, dict)
    logs = {"level": "WARNING", "colour": False}
    return start(resolve_url(str(told["url"])), WorkerOptions.from_dict(options), logs)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
