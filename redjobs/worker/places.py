"""The places of a supervisor's children: how many are wanted, who is missing, and who is replaced by whom."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass, replace

from redjobs.worker.brood import Child, Deaths, Spawner
from redjobs.worker.options import WorkerOptions

logger = logging.getLogger("redjobs.worker")

#: After one that could not be started, the next attempt waits so long.
_AGAIN_SECONDS = 1.0


@dataclass(slots=True)
class Pool:
    """Children that do the same."""

    options: WorkerOptions
    wanted: int

    def missing(self, children: list[Child]) -> int:
        """How many more are wanted than there are."""
        ours = [child for child in children if child.options is self.options]
        return self.wanted - sum(not child.dismissed and child.replaces is None for child in ours)


class Places:
    """Fills them. `children` is everybody who lives, those that are to leave included."""

    def __init__(self, options: WorkerOptions, spawner: Spawner) -> None:
        # One that has nothing to do while others are busy is no reason to leave: all of them decide that.
        shared = replace(options, max_idle=None)
        self._pools = [Pool(replace(shared, queues=queues), count) for queues, count in options.pools] or [
            Pool(shared, options.processes)
        ]
        self._spawner = spawner
        self.children: list[Child] = []
        #: Who starts is to claim nothing.
        self.is_quiet = False
        #: Children that are to be replaced one by one, for a reload.
        self._outdated: deque[Child] = deque()
        self._deaths = Deaths()
        self._again_at = 0.0
        #: Why the last one could not be started; '' if it could.
        self._trouble = ""

    @property
    def wanted(self) -> int:
        """How many children there should be."""
        return sum(pool.wanted for pool in self._pools)

    def fill(self) -> None:
        """Start those that are missing, and the next successor.

        Where the system has no memory, process or file left for one, those that live go on.
        """
        if time.monotonic() < self._again_at:
            return
        try:
            self._spawn_missing()
            self._replace_outdated()
        except OSError as error:
            self._could_not(error.strerror or type(error).__name__)

    def _could_not(self, why: str) -> None:
        if why != self._trouble:
            logger.error("cannot start a child: %s; trying again until that changes", why)
        self._trouble = why
        self._again_at = time.monotonic() + _AGAIN_SECONDS

    def _spawn_missing(self) -> None:
        if time.monotonic() < self._deaths.next_birth_at:
            return
        for pool in self._pools:
            for _ in range(pool.missing(self.children)):
                self._spawn(pool.options)

    def _replace_outdated(self) -> None:
        if self._outdated and not any(child.replaces for child in self.children):
            old = self._outdated[0]
            if old in self.children and not old.dismissed:
                self._spawn(old.options).replaces = old
            self._outdated.popleft()

    def _spawn(self, options: WorkerOptions) -> Child:
        child = self._spawner.spawn(options)
        if self._trouble:
            logger.warning("children can be started again")
            self._trouble = ""
        if self.is_quiet:
            child.tell("quiet")
        self.children.append(child)
        return child

    def renew(self) -> None:
        """New code: replace the children one by one."""
        self._spawner.renew()
        self._outdated = deque(child for child in self.children if not child.dismissed)

    def leave_as_they_are(self) -> None:
        """The new code is no good: the old children go on."""
        self._outdated.clear()

    def vacate(self, child: Child, *, done: bool) -> None:
        """A child has ended. `done`: as there was nothing left to do, and nobody need follow it."""
        self.children.remove(child)
        heirs = [heir for heir in self.children if heir.replaces is child]
        for heir in heirs:
            heir.replaces = None
        # Who has a successor leaves it the place: that one finds out itself.
        if done and not (heirs or child.dismissed):
            next(pool for pool in self._pools if pool.options is child.options).wanted -= 1

    def died(self) -> None:
        """Who dies now and then is replaced at once; too many deaths wait for each other."""
        self._deaths.count(children=self.wanted)
