"""A worker in a process of its own, without the brakes on children that die like flies.

`python -m tests.chaos.launch JSON`: the URL, the options, and which script is to be broken. Killing
children as fast as they come is what these runs are for: a supervisor that pauses between deaths, or
gives up since none of its children was ever ready, would only make them longer.
"""

from __future__ import annotations

import hashlib
import json
import sys

from redjobs.commands import SCRIPTS
from redjobs.lua import Script
from redjobs.settings import resolve_url
from redjobs.worker import WorkerOptions, brood, supervisor
from redjobs.worker.main import start

#: What is left out of a script that is to be broken.
_LEFT_OUT = {"recover": "if found.exists then redis.call('RPUSH', list, found.id) end"}


def spoil(name: str) -> None:
    """Give this process a broken script, which loses jobs: a run has to notice."""
    whole = SCRIPTS[name].text
    text = whole.replace(_LEFT_OUT[name], "")
    assert text != whole, f"{name}.lua does not read so any more: {_LEFT_OUT[name]}"
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    SCRIPTS[name] = Script(name, text, sha)


def main(told: dict[str, object]) -> int:
    """Run a worker until it is told to stop."""
    assert hasattr(brood, "_DEATHS_AT_ONCE")
    assert hasattr(supervisor, "_MOST_FALSE_STARTS")
    brood._DEATHS_AT_ONCE = supervisor._MOST_FALSE_STARTS = 10**9
    if broken := told["broken"]:
        spoil(str(broken))
    options = told["options"]
    assert isinstance(options, dict)
    logs = {"level": "WARNING", "colour": False}
    return start(resolve_url(str(told["url"])), WorkerOptions.from_dict(options), logs)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
