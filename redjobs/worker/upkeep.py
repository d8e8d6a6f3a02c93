"""Heartbeats and sweeps of a worker's queues, by whoever keeps its time."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from redis.exceptions import ResponseError

from redjobs import commands
from redjobs.commands import Command
from redjobs.keys import Keys
from redjobs.sweeper import SweepResult, sweep_once
from redjobs.worker.link import run_flow
from redjobs.worker.logs import counted
from redjobs.worker.options import WorkerOptions
from redjobs.worker.outage import Outage

logger = logging.getLogger("redjobs.worker")

RunAll = Callable[[Sequence[Command[Any]]], list[Any]]


class Upkeep:
    """When to beat and when to sweep; the intervals are jittered so that workers spread out."""

    def __init__(self, options: WorkerOptions, run_all: RunAll) -> None:
        self._options = options
        self._run_all = run_all
        self.beat_at = 0.0
        self.sweep_at = time.monotonic() + options.sweep_interval * random.random()

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
                continue
            outage.accepted(what)
            lapsed |= {name for name, alive in zip(names, reply, strict=True) if not alive}
        return lapsed

    def sweep_once(self, queues: Iterable[Keys], outage: Outage) -> SweepResult:
        """One pass over queues."""
        interval = self._options.sweep_interval
        self.sweep_at = time.monotonic() + interval * random.uniform(0.8, 1.2)
        total = SweepResult()
        for keys in queues:
            what = f"sweeps of {keys.queue}"
            try:
                total.add(run_flow(self._run, sweep_once(keys, self._options.sweep)))
            except ResponseError as error:  # the other queues are swept all the same
                outage.refused(error, what)
            else:
                outage.accepted(what)
        if total.retired or total.recovered:
            logger.warning(
                "swept: %s, %s recovered (%d had begun)",
                counted(total.retired, "dead worker"),
                counted(total.recovered, "job"),
                total.crashed,
            )
        return total

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
