"""Commands that keep leases and recover the jobs of dead workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redjobs.commands.command import SCRIPTS, Arg, Command, by_priority, texts, word
from redjobs.keys import BELL, Keys

#: A server that takes longer for a call may have stood still, with heartbeats behind that call.
PROMPT_MS = 1_000


def heartbeat(
    keys: Keys, workers: Sequence[str], lease_ms: int, *, register: bool = False
) -> Command[list[bool]]:
    """Extend leases, or take them out. The reply: per worker, whether it still has one."""

    def parse(reply: Any) -> list[bool]:
        return [answer == b"alive" for answer in reply[1]]

    args: tuple[Arg, ...] = (lease_ms, int(register), *workers)
    return Command(SCRIPTS["heartbeat"], (keys.workers,), args, parse)


def retire(keys: Keys, worker: str, *, clean: bool) -> Command[str]:
    """A worker takes no more. The reply: left, or stranded where its list is to be recovered."""
    names = (keys.workers, keys.retired, keys.processing(worker))
    return Command(SCRIPTS["retire"], names, (worker, int(clean), BELL), word)


@dataclass(frozen=True, slots=True)
class Swept:
    """What one `sweep` call retired and named."""

    #: The server's time.
    now_ms: int
    #: Leases that had run out and were ended, and those that were left.
    expired: int
    late: int
    retired: list[str]
    completed: list[str]
    dead: list[str]


def sweep(
    keys: Keys,
    *,
    dead_age_ms: int,
    dead_max: int,
    limit: int = 100,
    prompt_ms: int = PROMPT_MS,
    asked_ms: int = 0,
) -> Command[Swept]:
    """Retire workers whose lease has run out; name up to `limit` of each kind of maintenance.

    `asked_ms` is what the server said the time was. Where that is more than `prompt_ms` ago, nobody is
    retired, and the reply says how many would have been. Of those that were retired earlier it names the
    newest, and each time others of the rest.
    """

    def parse(reply: Any) -> Swept:
        now_ms, expired, late, retired, completed, dead = reply
        return Swept(now_ms, expired, late, texts(retired), texts(completed), texts(dead))

    names = (keys.workers, keys.retired, keys.completed, keys.dead)
    args = (limit, dead_age_ms, dead_max, asked_ms, prompt_ms)
    return Command(SCRIPTS["sweep"], names, args, parse)


def stranded(
    keys: Keys, workers: Sequence[str], *, keep_ms: int, limit: int = 100
) -> Command[list[list[str]]]:
    """What retired workers still have, newest first; those that had nothing for `keep_ms` are forgotten."""

    def parse(reply: Any) -> list[list[str]]:
        return [texts(ids) for ids in reply]

    names = (keys.retired, *map(keys.processing, workers))
    return Command(SCRIPTS["stranded"], names, (limit, keep_ms, *workers), parse)


def listed(keys: Keys, worker: str) -> Command[list[str]]:
    """What stands in a worker's own list, newest first."""
    wanted = stranded(keys, [worker], keep_ms=0, limit=100_000)
    return Command(wanted.script, wanted.keys, wanted.args, lambda reply: texts(reply[0]))


def recover(
    keys: Keys,
    worker: str,
    ids: Sequence[str],
    *,
    charge: Callable[[str], bool] = lambda _: True,
    errors: Callable[[str], bytes] = lambda _: b"",
) -> list[Command[tuple[int, int]]]:
    """Ids of a retired worker, oldest first, go back to the front: one command per priority.

    `charge` says whether a job that was begun counts as a crash, `errors` what its error
    history becomes (b'' leaves it). The reply: how many went back, how many were charged.
    """

    def parse(reply: Any) -> tuple[int, int]:
        return int(reply[0]), int(reply[1])

    result = []
    for priority, some in by_priority(ids):
        names = (
            keys.processing(worker),
            keys.retired,
            keys.list_of(priority),
            keys.ready,
            keys.levels,
            keys.stats,
            *map(keys.job, some),
        )
        args: list[Arg] = [worker, priority, BELL]
        for job_id in some:
            args += (job_id, int(charge(job_id)), errors(job_id))
        result.append(Command(SCRIPTS["recover"], names, tuple(args), parse))
    return result
