"""A worker is killed while it runs a job: after how long does the job run again?"""

from __future__ import annotations

import os
import signal
import time

from tests.bench.block import Block, Unproven
from tests.bench.cases.case import Case, Metrics, kind_of
from tests.bench.results import Variant
from tests.bench.roster import Peer
from tests.bench.scale import Scale

WORKER, CHILD = "worker killed", "its child killed"


def _variants(peer: Peer, scale: Scale) -> list[Variant]:
    if peer.limit:
        return []
    killed = (CHILD,) if scale.name == "smoke" else (WORKER, CHILD)
    return [Variant(kind=kind_of(peer), extra=extra) for extra in killed]


def _crash(block: Block) -> Metrics:
    """Two workers stand ready where the first one dies whole: one takes over."""
    limit = block.scale.recovery_seconds
    (worker, *_) = block.work(1)
    block.warm_up(0)
    block.producer.ask("enqueue", job=block.nap, first=1, count=1)
    block.wait(lambda: block.board.runs(1) == 1, 30, "the job does not start")
    time.sleep(0.3)  # in the midst of it, and not while peers still note that it has started
    pid = block.board.process(1)
    if block.variant.extra == WORKER:
        worker.kill()
        block.work(1)
        killed_at = time.time()
    else:
        if pid == worker.pid:
            raise Unproven("its workers have no child processes")
        killed_at = time.time()
        os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + limit
    while block.board.runs(1) == 1:
        if time.monotonic() > until:
            return {"seconds": None, "over": limit}
        time.sleep(0.005)
    return {"seconds": block.board.starts(1, 1)[0] - killed_at}


CRASH = Case(
    "crash",
    "SIGKILL while a job runs: seconds until it runs again",
    _variants,
    lambda _peer, _scale, _variant: 10,
    _crash,
    (("seconds", "seconds"),),
    parallel=True,
    once=True,
)
