"""How fast workers run jobs that do nothing: from the first start to the last."""

from __future__ import annotations

import time

from tests.bench.block import Block, Unproven
from tests.bench.cases.case import Case, Metrics
from tests.bench.programs import usage
from tests.bench.results import Variant
from tests.bench.roster import Peer
from tests.bench.scale import Scale


def _variants(peer: Peer, scale: Scale) -> list[Variant]:
    modes = peer.modes
    every = [Variant(mode, kind) for mode in modes for kind in peer.kinds]
    if (scale.name == "quick" and not peer.own) or (scale.name == "smoke" and peer.limit):
        return every
    twice = [Variant(mode, kind, processes=2) for mode in modes for kind in peer.kinds]
    durable = [Variant(modes[-1] if not peer.own else modes[0], kind, aof=True) for kind in peer.kinds]
    return [*every, *twice, *durable]


def _count(peer: Peer, scale: Scale, variant: Variant) -> int:
    # Processes do not start at the same time, and only what they do together counts.
    seconds = scale.seconds + (variant.processes - 1)
    return scale.jobs(peer.pace[variant.kind] * variant.processes, seconds)


def _rate(by_process: dict[int, list[float]], processes: int) -> float:
    """Jobs per second from the first start to the last; of several processes, while all of them run."""
    everything = sorted(start for starts in by_process.values() for start in starts)
    begin, end = everything[0], everything[-1]
    if processes > 1 and len(by_process) == processes:  # and not a process per job
        begin = max(starts[0] for starts in by_process.values())
        end = min(starts[-1] for starts in by_process.values())
    within = [start for start in everything if begin <= start <= end]
    if len(within) < 2 or end <= begin:
        raise Unproven("the processes did not run jobs at the same time")
    return (len(within) - 1) / (end - begin)


def _drain(block: Block) -> Metrics:
    count = _count(block.peer, block.scale, block.variant)
    block.producer.ask("fill", job=block.hit, first=0, count=count)
    workers = block.work()
    block.wait(lambda: block.board.ran(0, count) > 0, 30, "no job ran")
    began, before, server_before = time.perf_counter(), usage(workers), block.server.cpu_seconds()
    block.wait_for_all(0, count, limit=60 + 20 * block.scale.seconds)
    took, after = time.perf_counter() - began, usage(workers)
    twice = block.ran_twice(0, count)
    by_process = block.board.by_process(0, count)
    processes = block.variant.processes if block.scale.is_timed else 1
    if processes > 1 and len(by_process) == 1:
        raise Unproven("one of the processes ran no job")
    metrics: Metrics = {
        "rate": _rate(by_process, processes),
        "jobs": count,
        "twice": twice,
        "server_cpu": (block.server.cpu_seconds() - server_before) / took,
    }
    metrics["server_us"] = metrics["server_cpu"] * took / count * 1e6
    if before is not None and after is not None:
        metrics["worker_cpu"] = (after.cpu_seconds - before.cpu_seconds) / took
        metrics["worker_us"] = metrics["worker_cpu"] * took / count * 1e6
    return metrics


DRAIN = Case(
    "drain",
    "run jobs that do nothing, jobs/s",
    _variants,
    _count,
    _drain,
    (
        ("rate", "jobs/s"),
        ("worker_us", "CPU µs/job, workers"),
        ("server_us", "server"),
        ("worker_cpu", "CPUs, workers"),
        ("server_cpu", "server"),
        ("twice", "ran twice"),
    ),
)
