"""`python -m redjobs.demo` runs the whole demo; with `web`, `worker` or `mail`, that part of it alone."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

from redjobs.demo import keep, main, sink, web
from redjobs.demo.config import from_environ
from redjobs.errors import RedjobsError

_PARTS: dict[str, Callable[[], int]] = {
    "web": lambda: web.serve(from_environ()),
    "worker": keep.keep,
    "mail": lambda: sink.serve(from_environ()),
}

#: With this, `web` brings everything else along: for platforms whose processes share no disk.
ALL_IN_ONE = "DEMO_ALL_IN_ONE"


def _run(words: list[str]) -> int:
    if not words or (words == ["web"] and os.environ.pop(ALL_IN_ONE, "")):
        return main()
    if len(words) > 1 or words[0] not in _PARTS:
        sys.stderr.write("usage: python -m redjobs.demo [web | worker | mail]\n")
        return 2
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    return _PARTS[words[0]]()


def _start(words: list[str]) -> int:
    try:
        return _run(words)
    except RedjobsError as error:  # a setting, or no server: its message says what to do
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(_start(sys.argv[1:]))
