"""What a supervisor does with the server for its children: leases, sweeps, and the jobs of the dead."""

from __future__ import annotations

import time
from collections.abc import Sequence

from redis.exceptions import ResponseError

from redjobs.keys import Keys
from redjobs.worker.brood import Child
from redjobs.worker.link import LOST, Link
from redjobs.worker.options import WorkerOptions
from redjobs.worker.outage import Outage
from redjobs.worker.salvage import Salvage
from redjobs.worker.startup import check_server
from redjobs.worker.upkeep import SLICE_SECONDS, Upkeep


class Care:
    """Called in every turn of the supervisor's loop. An outage delays what is due."""

    def __init__(self, options: WorkerOptions, link: Link) -> None:
        self._link = link
        self._upkeep = Upkeep(options, link.run_all)
        self._outage = Outage()
        self._again_at = 0.0
        self._has_checked = False
        #: The lists of children that died.
        self.salvage = Salvage(link)

    @property
    def server_is_gone(self) -> bool:
        """Whether the connection was lost and has not worked since."""
        return self._outage.is_down

    @property
    def server_is(self) -> str:
        """there, gone, or refuses: where it takes no heartbeats, nothing can be claimed."""
        if self._outage.is_down:
            return "gone"
        return "refuses" if self._outage.refuses("heartbeats") else "there"

    @property
    def next_at(self) -> float:
        """Monotonic time when there is something to do."""
        return max(self._again_at, min(self._upkeep.next_at, self.salvage.next_at))

    def take(self, children: Sequence[Child], *, sweep: bool) -> None:
        """Heartbeats, salvage, and a sweep if it is wanted: whatever of it is due."""
        now = time.monotonic()
        if now < self._again_at:
            return
        try:
            if now >= self._upkeep.beat_at or self._outage.is_down:
                self._beat(children)
            # Those that live do not wait for the lists of the dead, however many they are.
            until = min(time.monotonic() + SLICE_SECONDS, self._upkeep.beat_at)
            self.salvage.step(until if children else float("inf"))
            if sweep and now >= self._upkeep.sweep_at:
                queues = {keys for child in children for keys, _ in child.lanes}
                self._upkeep.sweep_once(queues, self._outage)
        except LOST as error:
            self._again_at = now + self._outage.lost(error)
        except ResponseError as error:
            self._again_at = now + self._outage.refused(error)

    def _beat(self, children: Sequence[Child]) -> None:
        if not self._has_checked:
            check_server(self._link.client)
            self._has_checked = True
        workers: dict[Keys, list[str]] = {}
        for child in children:
            for keys, worker in child.lanes:
                workers.setdefault(keys, []).append(worker)
        if not workers:
            self._link.client.ping()
        _tell_lapsed(children, self._upkeep.beat_once(workers, self._outage))
        if self._outage.is_down:
            # Whoever was cut off like us beats first, and is not swept.
            self._upkeep.soon()
        self._outage.over()


def _tell_lapsed(children: Sequence[Child], lapsed: set[str]) -> None:
    for child in children:
        for _, worker in child.lanes:
            if worker in lapsed:
                child.has_lapsed(worker)
