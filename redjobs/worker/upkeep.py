"""Heartbeats and sweeps of a worker's queues, by whoever keeps its time."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from redis.exceptions import ResponseError

from redjobs import commands
from redjobs.commands import Command, Swept
from redjobs.keys import Keys
from redjobs.sweeper import SweepResult, sweep_once
from redjobs.worker.logs import counted
from redjobs.worker.options import WorkerOptions
from redjobs.worker.outage import Outage

logger = logging.getLogger("redjobs.worker")

#: A sweep, or salvage, takes no longer at a time; then it is everybody else's turn.
SLICE_SECONDS = 0.1

RunAll = Callable[[Sequence[Command[Any]]], list[Any]]


class Upkeep:
    """When to beat and when to sweep; the intervals are jittered so that workers spread out."""

    def __init__(self, options: WorkerOptions, run_all: RunAll) -> None:
        self._options = options
        self._run_all = run_all
        #: Of a lease that is extended in time more than this is always left.
        self._policy = replace(options.sweep, prompt_ms=round(options.lease * 1000 / 3))
        self.beat_at = 0.0
        # Not at once: the server may just have come back, and others may need their time to beat.
        self.sweep_at = time.monotonic() + random.uniform(options.beat_interval, options.sweep_interval)
        #: A pass that is not over, and what it did.
        self._pass: Iterator[None] | None = None
        self._swept = SweepResult()
        #: Queues that are not swept before this time: their heartbeats were refused.
        self._spared: dict[Keys, float] = {}

    @property
    def next_at(self) -> float:
        """Monotonic time when there is something to do."""
        return min(self.beat_at, self.sweep_at)

    def soon(self) -> None:
        """The server is back: beat now, and let everybody else beat before sweeping."""
        self.beat_at = 0.0
        self.sweep_at = max(self.sweep_at, time.monotonic() + self._options.beat_interval)

    def beat_once(self, workers: Mapping[Keys, Sequence[str]], outage: Outage) -> set[str]:
        """Extend the leases of workers, all queues in one round trip. Returns those without one."""
        self.beat_at = time.monotonic() + self._options.beat_interval
        lease_ms = round(self._options.lease * 1000)
        replies = self._run_all(
            [commands.heartbeat(keys, names, lease_ms) for keys, names in workers.items()]
        )
        lapsed: set[str] = set()
        for (keys, names), reply in zip(workers.items(), replies, strict=True):
            what = f"heartbeats of {keys.queue}"
            if isinstance(reply, ResponseError):
                outage.refused(reply, what)
                self._spared[keys] = math.inf
                continue
            outage.accepted(what)
            if self._spared.get(keys) == math.inf:  # other workers' were, too, and come first
                self._spared[keys] = (
                    time.monotonic() + self._options.answer_seconds + self._options.beat_interval
                )
            lapsed |= {name for name, alive in zip(names, reply, strict=True) if not alive}
        return lapsed

    def sweep_once(self, queues: Iterable[Keys], outage: Outage) -> None:
        """One pass over queues, or a slice of it: it goes on at the next call, which is wanted soon.

        Whoever sweeps has leases to keep: where a heartbeat is due, that comes first.
        """
        now = time.monotonic()
        until = min(now + SLICE_SECONDS, self.beat_at)
        if now >= until:
            return
        running, self._pass = self._pass or self._sweep(list(queues), outage), None
        self.sweep_at = now + self._options.sweep_interval * random.uniform(0.8, 1.2)
        before = self._recovered
        for _ in running:  # what is lost on the way ends the pass
            if time.monotonic() >= until:
                self._pass = running
                self.sweep_at = time.monotonic() + SLICE_SECONDS
                break
        if self._pass is None or self._recovered == before:
            self._tell()

    def _sweep(self, queues: list[Keys], outage: Outage) -> Iterator[None]:
        """One pass over queues; it may be left after any command."""
        for keys in queues:
            what = f"sweeps of {keys.queue}"
            flow, reply = sweep_once(keys, self._policy, self._swept), None
            try:
                while time.monotonic() >= self._spared.get(keys, 0.0):
                    reply = self._run(flow.send(reply))
                    if not (isinstance(reply, Swept) and reply.late):  # what follows that is asked at once
                        yield
            except StopIteration:
                outage.accepted(what)
            except ResponseError as error:  # the other queues are swept all the same
                outage.refused(error, what)

    @property
    def _recovered(self) -> int:
        return self._swept.retired + self._swept.recovered

    def _tell(self) -> None:
        """Log what was done since this was called last."""
        if self._recovered:
            logger.warning(
                "swept: %s, %s recovered (%d had begun)",
                counted(self._swept.retired, "dead worker"),
                counted(self._swept.recovered, "job"),
                self._swept.crashed,
            )
        self._swept.retired = self._swept.recovered = self._swept.crashed = 0

    def _run(self, command: Command[Any]) -> Any:
        (reply,) = self._run_all([command])
        if isinstance(reply, Exception):
            raise reply
        return reply


class OwnLeases(Upkeep):
    """A supervisor's child beats for itself from the moment when its supervisor is gone, and never sweeps."""

    def __init__(self, options: WorkerOptions, run_all: RunAll) -> None:
        super().__init__(options, run_all)
        self._is_ours = False
        self.beat_at = self.sweep_at = float("inf")

    def inherit(self) -> None:
        """Nobody else extends these leases any more."""
        self._is_ours = True
        self.soon()

    def soon(self) -> None:
        """The server is back: beat now."""
        if self._is_ours:
            self.beat_at = 0.0

    def beat_once(self, workers: Mapping[Keys, Sequence[str]], outage: Outage) -> set[str]:
        """As ever, once the supervisor is gone; until then it does nothing."""
        return super().beat_once(workers, outage) if self._is_ours else set()
