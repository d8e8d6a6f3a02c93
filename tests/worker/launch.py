"""A worker in a process of its own, as the command line starts one: `python -m tests.worker.launch JSON`.

What a test could only wait for, it may shorten: the constants that it names are changed first. And
modules that it names cannot be imported, as where they are not installed. Children have the same where
they are forked, and not where each is a Python of its own.
"""

from __future__ import annotations

import json
import pkgutil
import signal
import sys
from typing import Any

from redjobs.settings import resolve_url
from redjobs.worker import WorkerOptions
from redjobs.worker.main import start


def main(told: dict[str, Any]) -> int:
    # Whoever runs the tests may do so under nohup, which a worker honours.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for name in told["without"]:
        sys.modules[name] = None  # type: ignore[assignment]
    for name, value in told["constants"].items():
        place, _, constant = name.rpartition(".")
        owner = pkgutil.resolve_name(place)
        assert hasattr(owner, constant), f"there is no {name} any more"
        setattr(owner, constant, value)
    server = resolve_url(told["url"])
    return start(server, WorkerOptions.from_dict(told["options"]), {"level": "DEBUG", "colour": False})


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
