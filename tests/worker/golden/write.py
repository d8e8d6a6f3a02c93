"""One job in every state that there is, written by this code: `python -m tests.worker.golden.write` keeps it.

Ids, workers and tokens are always the same, and what comes of a job is said instead of run: so two
writings differ only where the code does.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from unittest import mock
from uuid import UUID
from zoneinfo import ZoneInfo

from redjobs import Bury, Snooze, commands
from redjobs.jobs import Job, JobError
from redjobs.registry import registry
from redjobs.retry import Completed, Failed, Outcome, Unknown, decide
from redjobs.version import __version__
from redjobs.worker.settle import settle
from redjobs.worker.work import prepare
from tests.lua.seeds import Lab
from tests.observed import observed
from tests.servers import Server, real_kinds, running
from tests.worker.golden import jobs
from tests.worker.golden.data import FILES, dump, listing, now_ms, reading, text_of

_TRACE = '  File "shop/mail.py", line 7, in send\n    raise LookupError(user_id)\n'
_ERROR = JobError(1_700_000_000_000, 1, "LookupError: no such user", _TRACE)

_ALL_TYPES: tuple[Any, ...] = (
    *(None, True, -1, 2**70, 1.5, "é", b"\xff", [1], (1, 2), {3}, frozenset({4}), {"a": {5: 6}}),
    *(Decimal("1.20"), UUID(int=7), timedelta(seconds=90), date(2026, 1, 2), time(3, 4, 5)),
    *(datetime(2026, 1, 2, 3, tzinfo=UTC), datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))),
    *(jobs.Colour.BLUE, jobs.Point(1, 2), jobs.Money(3)),
)


class _NoJitter(random.Random):
    def random(self) -> float:
        return 0.0


class _Writer:
    def __init__(self, server: Server) -> None:
        self.queue = observed(server)
        self.sharded = observed(server, "sharded", shards=2)
        self.lab = Lab(server, self.queue.keys)

    def job(self, name: str, enqueue: Callable[..., Job], *args: Any, **kwargs: Any) -> str:
        """Enqueue a job that has this name as its id."""

        def new_id(priority: int = 0) -> str:
            return f"{name:_<20}" + (f".{priority}" if priority else "")

        with mock.patch("redjobs.calls.new_id", new_id):
            return enqueue(*args, **kwargs).id

    def ready(self, name: str, **options: Any) -> str:
        """A job that is due."""
        return self.job(name, self.queue.options(**options).enqueue, jobs.send, 7, template="gentle")

    def taken(self, worker: str, *names: str, **options: Any) -> list[str]:
        """Jobs that a worker has taken."""
        for name in names:
            self.ready(name, **options)
        return self.lab.take(f"host.1.{worker}", len(names))

    def begun(self, worker: str, *names: str, **options: Any) -> list[commands.Begun]:
        """Jobs that a worker has begun."""
        ids = self.taken(worker, *names, **options)
        return [self.lab.run(commands.begin(self.queue.keys, f"host.1.{worker}", "token", ids))]

    def over(self, name: str, outcome: Outcome, **options: Any) -> None:
        """A job that was run, and this came of it."""
        (begun,) = self.begun("done", name, **options)
        (claim,) = begun.claims
        work = prepare(claim, registry)
        work.outcome = outcome
        with mock.patch("redjobs.worker.settle.decide", partial(decide, rng=_NoJitter())):
            settlements = settle([work], {"default": self.queue.keys}, registry.codec)
        for settlement in settlements:
            self.lab.run(settlement.command)

    def write(self) -> None:
        """All of it. What is waiting comes last, so that no worker takes that."""
        registry.add_module(jobs)
        self.over("gone", Completed())
        self.over("kept", Completed({"sent": 1}), result_ttl=3600)
        self.over("kept-with-a-key", Completed(jobs.Point(3, 4)), result_ttl=7200, key="kept")
        self.over("retried", Failed(LookupError(), _ERROR), backoff=[60, 120.5], key="retried")
        self.over("snoozed", Failed(Snooze(3600), _ERROR))
        self.over("unknown", Unknown(_ERROR))
        self.over("buried", Failed(Bury("why not"), _ERROR), key="buried")
        self.over("spent", Failed(LookupError(), _ERROR), max_attempts=1)
        self.workers()
        self.waiting()

    def workers(self) -> None:
        """Of three workers one has a lease, one is retired and has a job still, and one had a job."""
        self.begun("leased", "begun", "unwanted", key=None)
        self.queue.cancel("unwanted____________")
        self.taken("leased", "taken")
        self.begun("retired", "stranded", key="stranded")
        self.begun("dead", "crashed")
        for worker in ("host.1.retired", "host.1.dead"):
            self.lab.run(commands.retire(self.queue.keys, worker, clean=False))
        self.lab.recover("host.1.dead", errors=self.lab.fields("spent_______________")["errors"])

    def waiting(self) -> None:
        """Jobs that are due, or will be."""
        queue, day = self.queue, timedelta(days=1)
        self.ready("urgent", priority=-5)
        self.ready("late", priority=7, key="late")
        self.ready("chosen", max_attempts=3, backoff=1.5, timeout=30, result_ttl=60)
        self.job("plain", queue.enqueue, jobs.carry)
        self.job("types", queue.enqueue, jobs.carry, *_ALL_TYPES)
        self.job("named", queue.enqueue, jobs.carry, é=[jobs.Point(1, 2)])
        self.job("planned", queue.options(key="planned").enqueue_in, day, jobs.send, 7)
        self.job("planned-late", queue.options(priority=9).enqueue_in, 2 * day, jobs.send, 7)
        self.job("moved", queue.enqueue, jobs.send, 7)
        queue.reschedule("moved_______________", 3 * day)
        queue.requeue("buried______________")
        for name in ("one", "two", "three"):
            self.job(name, self.sharded.enqueue, jobs.send, 7)


def written(server: Server) -> dict[str, Any]:
    """What this code leaves in an empty server, and how it reads that itself."""
    client, writer = server.client(), _Writer(server)
    base_ms = now_ms(client)
    writer.write()
    listed = listing(client)
    queues = {"default": writer.queue, "sharded/0": writer.sharded, "sharded/1": writer.sharded}
    ids = {job_id: name for name, states in listed.items() for some in states.values() for job_id in some}
    reads = {job_id: reading(queues[name], job_id) for job_id, name in ids.items()}
    return {"keys": dump(client, base_ms), "listed": listed, "reads": reads}


def main() -> None:
    with running(real_kinds()[0]) as server:
        path = FILES / f"{__version__}.json"
        path.write_text(text_of(written(server)))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
