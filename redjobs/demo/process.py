"""What all processes of the demo begin and end with."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import NoReturn

from redjobs.errors import RedjobsError


def run(serve: Callable[[], int]) -> NoReturn:
    """Be this process: its log goes to the terminal, and what it returns is the exit code."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    try:
        code = serve()
    except RedjobsError as error:  # a setting, or no server: its message says what to do
        sys.stderr.write(f"{error}\n")
        code = 1
    sys.exit(code)
