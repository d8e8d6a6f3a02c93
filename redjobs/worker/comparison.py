"""What the server has in a worker's lists, beside what this worker knows of.

A reply that was lost, or a blocked call of a connection that is gone, leaves jobs there that nobody runs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from redis.exceptions import ResponseError

from redjobs import commands
from redjobs.worker.lane import Lane
from redjobs.worker.link import Link
from redjobs.worker.logs import counted
from redjobs.worker.outage import Outage

logger = logging.getLogger("redjobs.worker")

#: So many lists are asked for in one round trip.
_AT_ONCE = 250


class Comparison:
    """Of all lanes together: with a thousand queues, a round trip for each would keep the jobs waiting."""

    def __init__(self, link: Link, outage: Outage, seconds: float) -> None:
        self._link = link
        self._outage = outage
        self._seconds = seconds
        #: Monotonic time of the next one.
        self.next_at = time.monotonic() + seconds

    def compare(self, lanes: Sequence[Lane]) -> None:
        """Give back what was unknown here at the comparison before, too."""
        self.next_at = time.monotonic() + self._seconds
        for lane, listed in self._listed(lanes):
            self._give_back(lane, lane.compare(listed))

    def find_again(self, lanes: Sequence[Lane]) -> None:
        """The same after an outage: nothing is under way now, so once unknown is enough."""
        for lane, listed in self._listed(lanes):
            lane.strangers = set(listed)
            lane.open = True
            self._give_back(lane, lane.compare(listed))

    def _listed(self, lanes: Sequence[Lane]) -> Iterator[tuple[Lane, list[str]]]:
        for start in range(0, len(lanes), _AT_ONCE):
            some = lanes[start : start + _AT_ONCE]
            replies = self._link.run_all([commands.listed(lane.keys, lane.worker) for lane in some])
            for lane, reply in zip(some, replies, strict=True):
                what = f"comparisons of {lane.keys.queue}"
                if isinstance(reply, ResponseError):
                    lane.rest(self._outage.refused(reply, what))
                    continue
                self._outage.accepted(what)
                yield lane, reply

    def _give_back(self, lane: Lane, strange: list[str]) -> None:
        if not strange:
            return
        known = self._link.run_all([commands.fields(lane.keys, job_id) for job_id in strange])
        # Each by itself, for one may be refused; the newest first, so that the oldest stands foremost again.
        releases = [
            command
            for job_id, fields in reversed([*zip(strange, known, strict=True)])
            for command in commands.release(lane.keys, lane.worker, _token(lane, fields), [job_id])
        ]
        refusals = [each for each in self._link.run_all(releases) if isinstance(each, ResponseError)]
        what = f"returns of {lane.keys.queue}"
        if refusals:
            self._outage.refused(refusals[0], what)
        else:
            self._outage.accepted(what)
        if count := len(strange) - len(refusals):
            logger.warning("gave back %s whose delivery was lost on the way", counted(count, "job"))
            lane.open = True


def _token(lane: Lane, fields: dict[bytes, bytes] | Any) -> str:
    """Under which token this worker has begun a job without knowing; '' where it has not.

    The server knows it of any `begin` whose reply was lost, however many there were. Who may not look at a
    job has not begun it.
    """
    if isinstance(fields, ResponseError) or fields.get(b"worker") != lane.worker.encode():
        return ""
    return str(fields.get(b"token", b"").decode("ascii", "replace"))
