"""What queues and workers cost when nothing happens: memory, CPU, commands, and the start of a program."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from tests.bench.block import Block
from tests.bench.cases.case import Case, Metrics, each_mode_of_queues, kind_of
from tests.bench.environments import ROOT
from tests.bench.programs import usage, wait_for_silence
from tests.bench.results import Variant
from tests.bench.roster import Peer
from tests.bench.scale import Scale

_DAY = 86_400.0
#: A peer that is slow gets only as many jobs as it runs, or schedules, in this time.
_SECONDS = 8
VALKEY = "Valkey"


def _memory_variants(peer: Peer, scale: Scale) -> list[Variant]:
    if peer.limit:
        return []
    found = [Variant(mode, kind_of(peer)) for mode in peer.modes]
    return [*found, Variant(kind=kind_of(peer), extra=VALKEY)] if peer.own else found


def _memory_count(peer: Peer, scale: Scale, variant: Variant) -> int:
    return min(scale.memory_jobs, peer.pace[variant.kind] * _SECONDS, peer.schedules * _SECONDS)


def _memory(block: Block) -> Metrics:
    count = _memory_count(block.peer, block.scale, block.variant)
    producer, server = block.producer, block.server
    producer.ask("enqueue", job=block.hit, first=2 * count, count=2)
    empty = server.used_memory()
    producer.ask("fill", job=block.hit, first=0, count=count)
    ready = server.used_memory() - empty
    workers = block.work()
    block.wait_for_all(0, count, limit=60 + 10 * _SECONDS)
    wait_for_silence(workers, 5)
    for program in workers:
        program.kill()
    left, keys = server.bytes_of_keys(), server.client.dbsize()
    before = server.used_memory()
    at = time.time() + _DAY
    seconds = producer.ask("plan", job=block.hit, first=count, count=count, at=at, spread=_DAY)
    return {
        "scheduled": (server.used_memory() - before) / count,
        "ready": ready / count,
        "left": left / count,
        "keys": keys,
        "schedule_rate": count / seconds,
        "jobs": count,
    }


def _idle(block: Block) -> Metrics:
    workers = block.work()
    block.warm_up(0)
    wait_for_silence(workers, 10)
    before, began = usage(workers), time.perf_counter()
    time.sleep(block.scale.idle_seconds)
    after, took = usage(workers), time.perf_counter() - began
    commands = block.server.commands(block.scale.idle_seconds)
    metrics: Metrics = {
        "commands": sum(commands.values()),
        "which": ", ".join(f"{name} {rate:.2g}" for name, rate in sorted(commands.items())),
    }
    if before is not None and after is not None:
        metrics["cpu_percent"] = 100 * (after.cpu_seconds - before.cpu_seconds) / took
        metrics["rss_mb"] = max(after.rss_mb)
        metrics["rss_total_mb"] = sum(after.rss_mb)
        metrics["processes"] = len(after.rss_mb)
    return metrics


_IMPORT = (
    "import time; a = time.perf_counter(); import redis; b = time.perf_counter(); from redjobs import Queue;"
    "print((b - a) * 1000, (time.perf_counter() - b) * 1000)"
)


def _startup(block: Block) -> Metrics:
    rounds = 1 if block.scale.name == "smoke" else 11
    of_redis, of_redjobs, of_help, of_nothing = [], [], [], []
    for _ in range(rounds):
        told = _run("-c", _IMPORT).split()
        of_redis.append(float(told[0]))
        of_redjobs.append(float(told[1]))
        began = time.perf_counter()
        _run("-m", "redjobs.cli", "--help")
        of_help.append((time.perf_counter() - began) * 1000)
        began = time.perf_counter()
        _run("-c", "pass")
        of_nothing.append((time.perf_counter() - began) * 1000)
    return {
        "import_ms": statistics.median(of_redjobs),
        "import_redis_ms": statistics.median(of_redis),
        "help_ms": statistics.median(of_help),
        "python_ms": statistics.median(of_nothing),
    }


def _run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout


def _only_redjobs(peer: Peer, _scale: Scale) -> list[Variant]:
    return [Variant()] if peer.own and not peer.limit else []


MEMORY = Case(
    "memory",
    "memory of the server, bytes per job",
    _memory_variants,
    lambda peer, scale, variant: 2 * _memory_count(peer, scale, variant) + 10,
    _memory,
    (
        ("scheduled", "scheduled"),
        ("ready", "ready"),
        ("left", "left of a job that is over"),
        ("keys", "keys left"),
        ("schedule_rate", "scheduled per second"),
    ),
    once=True,
)
IDLE = Case(
    "idle",
    "an idle worker",
    each_mode_of_queues,
    lambda _peer, _scale, _variant: 10,
    _idle,
    (
        ("rss_mb", "MB of its largest process"),
        ("rss_total_mb", "MB of all"),
        ("processes", "processes"),
        ("cpu_percent", "% of a CPU"),
        ("commands", "commands/s"),
    ),
    once=True,
)
STARTUP = Case(
    "startup",
    "start of a program, ms",
    _only_redjobs,
    lambda _peer, _scale, _variant: 10,
    _startup,
    (
        ("import_ms", "redjobs.Queue, after redis"),
        ("import_redis_ms", "import redis"),
        ("help_ms", "redjobs --help"),
        ("python_ms", "python -c pass"),
    ),
    once=True,
)
