"""The server is gone or refuses: said once, waited for with growing pauses, said once when over."""

from __future__ import annotations

import logging
import random
import time

logger = logging.getLogger("redjobs.worker")

_FIRST_SECONDS = 0.05
_MOST_SECONDS = 2.0


class Outage:
    """Whether there is trouble, and how long to wait before the next attempt."""

    def __init__(self, level: int = logging.ERROR) -> None:
        #: How loud a loss is: a child of a supervisor leaves it to that one to say so.
        self._level = level
        self._failures = 0
        self._since: float | None = None
        self._refusal = ""

    @property
    def is_down(self) -> bool:
        """Whether the connection was lost and has not worked since."""
        return self._since is not None

    def lost(self, error: Exception) -> float:
        """The connection is gone. Returns the seconds to wait."""
        if self._since is None:
            self._since = time.monotonic()
            logger.log(self._level, "the server is gone (%s); waiting for it", type(error).__name__)
        return self._pause()

    def refused(self, error: Exception) -> float:
        """The server answers, and not as it should: full, read-only, no permission."""
        # redis-py and some servers quote arguments behind the reason; they may be secrets.
        text = str(error).split(" with args beginning with")[0].split(", args: ")[0]
        if text != self._refusal:
            self._refusal = text
            logger.error("the server refuses a command: %s", text)
        return self._pause()

    def over(self) -> None:
        """A round trip has worked."""
        self._failures = 0
        self._refusal = ""
        if self._since is not None:
            away = time.monotonic() - self._since
            logger.log(min(self._level, logging.WARNING), "the server is back after %.1f s", away)
            self._since = None

    def _pause(self) -> float:
        self._failures += 1
        longest = min(_MOST_SECONDS, _FIRST_SECONDS * 2.0 ** min(self._failures, 6))
        return longest * random.uniform(0.5, 1.0)
