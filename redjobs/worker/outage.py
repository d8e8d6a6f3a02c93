"""The server is gone or refuses: said once, waited for with growing pauses, said once when over."""

from __future__ import annotations

import logging
import random
import time
from collections import Counter

from redjobs.connect.asking import is_refusal
from redjobs.errors import reason_of

logger = logging.getLogger("redjobs.worker")

_FIRST_SECONDS = 0.05
_MOST_SECONDS = 2.0
#: Losses that go on for so long are said aloud by everybody whom they befall.
_LONG_SECONDS = 10.0


class Outage:
    """Whether there is trouble, and how long to wait before the next attempt."""

    def __init__(self, level: int = logging.ERROR) -> None:
        #: How loud a loss is: a child of a supervisor leaves it to that one to say so, at first.
        self._level = level
        #: When the last loss was, and the first of those that have come one after the other.
        self._lost_at = self._losing_since = float("-inf")
        self._is_said = True
        self._failures: Counter[str] = Counter()
        self._since: float | None = None
        #: What the server refuses now, and why it says so.
        self._refusals: dict[str, str] = {}

    @property
    def is_down(self) -> bool:
        """Whether the connection was lost and has not worked since."""
        return self._since is not None

    def lost(self, error: Exception) -> float:
        """The connection is gone. Returns the seconds to wait."""
        if self._since is None:
            self._since = time.monotonic()
            if is_refusal(error):  # it is there, and waiting alone will not help
                text = "no connection to the server: %s; trying again until that changes"
                logger.log(self._level, text, reason_of(error))
            else:
                logger.log(self._level, "the server is gone (%s); waiting for it", reason_of(error))
        self._insist(error)
        return self._pause("")

    def _insist(self, error: Exception) -> None:
        """Its supervisor may have a connection all the same, and nothing to say. Nor is there peace while
        some commands get through: of many connections only the last ones may fail."""
        now = time.monotonic()
        if now > self._lost_at + _LONG_SECONDS:
            self._losing_since, self._is_said = now, self._level >= logging.ERROR
        self._lost_at = now
        if not self._is_said and now > self._losing_since + _LONG_SECONDS:
            self._is_said = True
            text = "for %.0f s this process has not got all the connections that it needs: %s"
            logger.error(text, now - self._losing_since, reason_of(error))

    def refused(self, error: Exception, what: str = "") -> float:
        """The server answers, and not as it should: full, read-only, no permission.

        `what` was refused: one queue's trouble is not another's. Each reason is said once.
        """
        text = reason_of(error)
        if text not in self._refusals.values():
            logger.error("the server refuses a command%s: %s", what and f" ({what})", text)
        self._refusals[what] = text
        return self._pause(what)

    def refuses(self, what: str) -> bool:
        """Whether something of this kind is refused now."""
        return any(each.startswith(what) for each in self._refusals)

    def accepted(self, what: str) -> None:
        """What was refused is not any more."""
        if what in self._refusals:
            del self._refusals[what], self._failures[what]

    def over(self) -> None:
        """A round trip has worked."""
        self._failures[""] = 0
        self._refusals.pop("", None)
        if self._since is not None:
            away = time.monotonic() - self._since
            level = logging.WARNING if away > _LONG_SECONDS else min(self._level, logging.WARNING)
            logger.log(level, "the server is back after %.1f s", away)
            self._since = None

    def _pause(self, what: str) -> float:
        self._failures[what] += 1
        longest = min(_MOST_SECONDS, _FIRST_SECONDS * 2.0 ** min(self._failures[what], 6))
        return longest * random.uniform(0.5, 1.0)
