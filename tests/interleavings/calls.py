"""Calls by name: what is on its way to the server must be compared, sorted and remembered."""

from __future__ import annotations

import functools
from typing import Any

from redjobs import commands
from redjobs.commands import Command, Finished
from redjobs.jobs import Claim, JobOptions, NewJob
from redjobs.keys import Keys

KEYS = Keys("queue", "model")
#: An ordinary job, one of another priority, and one that wants the unique key of the first.
A, B, C = "VAAAAAAAAAAAAAAAAAAA", "VBBBBBBBBBBBBBBBBBBB.5", "VCCCCCCCCCCCCCCCCCCC"
UNIQUE = "invoice"
#: Two processes, and the names they take when they begin anew.
NAMES = (("w1", "w1x", "w1xx"), ("w2", "w2x", "w2xx"))

#: A verb, most often a worker's name, and the rest: ("begin", "w1", "t1", ("A", "B")).
Call = tuple[Any, ...]

LEASE_MS = 500  # less than a tick of the model's clock, as is every other duration
_ERRORS = b"\x90"


def key_of(job: str) -> str:
    """The unique key that a job has: the same one for all that have one."""
    return "" if job == B else UNIQUE


@functools.cache
def command(call: Call) -> Command[Any]:
    """What is sent for a call."""
    built: Command[Any] = _BUILDERS[call[0]](*call[1:])
    return built


def _claim(job: str, worker: str, token: str) -> Claim:
    key = key_of(job) or None
    return Claim(job, "model", worker, token, "", b"", 1, 0, 0, 0, 0, b"", b"", key, 1)


def _enqueue(job: str, run_at: str) -> Command[Any]:
    options = JobOptions(priority=5 if job == B else None, key=key_of(job) or None)
    return commands.enqueue(KEYS, [NewJob(job, "shop:mail", b"args", options, run_at)])


def _enqueue_both() -> Command[Any]:
    jobs = [_enqueue(A, ""), _enqueue(B, "")]
    first, second = jobs
    # One call with both: the second command's own keys and arguments behind the first one's.
    return Command(first.script, first.keys + second.keys[4:], first.args + second.args[2:], first.parse)


def _take(worker: str, count: int) -> Command[Any]:
    return commands.take(KEYS, worker, count, [5])


def _complete(worker: str, token: str, job: str) -> Command[Any]:
    return commands.complete(KEYS, worker, token, [Finished(job, key_of(job) or None)])


def _keep(worker: str, token: str, job: str) -> Command[Any]:
    return commands.complete(KEYS, worker, token, [Finished(job, key_of(job) or None, LEASE_MS, b"42")])


def _release(worker: str, token: str, job: str) -> Command[Any]:
    return commands.release(KEYS, worker, token, [job])[0]


def _recover(worker: str, job: str, charge: bool) -> Command[Any]:
    return commands.recover(KEYS, worker, [job], charge=lambda _: charge)[0]


_BUILDERS: dict[str, Any] = {
    "enqueue": _enqueue,
    "register": lambda worker: commands.heartbeat(KEYS, [worker], LEASE_MS, register=True),
    "beat": lambda worker: commands.heartbeat(KEYS, [worker], LEASE_MS),
    "take": _take,
    "begin": lambda worker, token, ids, solo: commands.begin(KEYS, worker, token, ids, solo),
    "complete": _complete,
    "keep": _keep,
    "retry": lambda worker, token, job: commands.retry(KEYS, _claim(job, worker, token), LEASE_MS),
    "bury": lambda worker, token, job: commands.bury(KEYS, _claim(job, worker, token), _ERRORS),
    "discard": lambda worker, token, job: commands.discard(KEYS, _claim(job, worker, token)),
    "release": _release,
    "fields": lambda job: commands.fields(KEYS, job),
    "listed": lambda worker: commands.listed(KEYS, worker),
    "retire": lambda worker, clean: commands.retire(KEYS, worker, clean=clean),
    # Never too old: what is tried in a world was decided in an earlier one.
    "sweep": lambda: commands.sweep(KEYS, dead_age_ms=10**9, dead_max=100, asked_ms=10**15),
    "stranded": lambda worker, keep_ms: commands.stranded(KEYS, [worker], keep_ms=keep_ms),
    "recover": _recover,
    "cancel": lambda job: commands.cancel(KEYS, job, key_of(job)),
    "requeue": lambda job: commands.requeue(KEYS, job, key_of(job)),
    "delete": lambda job: commands.delete(KEYS, KEYS.dead, [job]),
    "reschedule": lambda job, run_at: commands.reschedule(KEYS, job, run_at),
    "enqueue both": _enqueue_both,
}

#: Calls that end a claim; all have the form (verb, worker, token, job).
SETTLES = ("complete", "keep", "retry", "bury", "discard")
#: The fate of a job, by the verb that sealed it, where nobody had cancelled it meanwhile.
FATES = {
    "complete": "completed",
    "keep": "completed",
    "retry": "cancelled",
    "bury": "dead",
    "discard": "cancelled",
}
