"""A queue to experiment on: seed a state, run a command, look at what became of it.

Seeds are made of the commands themselves where that is possible, and what is looked at is read
from the keys as they are, never through the scripts under test.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgpack

from redjobs import commands
from redjobs.access import Role
from redjobs.commands import Command, Finished
from redjobs.ids import new_id, priority_of
from redjobs.jobs import Claim, Job, NewJob, make_options
from redjobs.keys import BELL
from tests.invariants import Contents, read
from tests.roles import caller_of
from tests.servers import Server

T = TypeVar("T")

HOUR = 3_600_000
DAY = 24 * HOUR
NAME = "shop.mail:send_confirmation"
#: Two small arguments, as `codec` packs them.
ARGS = bytes(msgpack.packb([[4711, "en"], {}]))
ERRORS = bytes(msgpack.packb([[1_700_000_000_000, 1, "ValueError: no such user", ""]]))


class Lab:
    """One queue on one server."""

    def __init__(self, server: Server, keys: Any) -> None:
        self.server = server
        self.redis: Any = server.client()
        self._callers: dict[Role, Any] = {role: server.client_as(role) for role in Role}
        self.keys = keys

    def run(self, command: Command[T]) -> T:
        """Send one command, as the drivers do."""
        return self.run_as(self._callers[caller_of(command.script)], command)

    def run_as(self, client: Any, command: Command[T]) -> T:
        """Send it with a client of somebody else's."""
        script, keys = command.script, command.keys
        return command.parse(client.eval(script.text, len(keys), *keys, *command.args))

    # Seeds ---------------------------------------------------------------------------------

    def new(self, run_at: str = "", **options: Any) -> NewJob:
        """A job that is not yet enqueued."""
        made = make_options(**options)
        return NewJob(new_id(made.priority or 0), NAME, ARGS, made, run_at)

    def enqueue(self, *jobs: NewJob) -> list[str]:
        """Enqueue jobs, all of which must be accepted; their ids."""
        replies = self.run(commands.enqueue(self.keys, jobs))
        assert all(isinstance(reply, Job) for reply in replies), replies
        return [job.id for job in jobs]

    def ready(self, count: int = 1, **options: Any) -> list[str]:
        """Jobs that are due, first to be taken first."""
        return self.enqueue(*(self.new(**options) for _ in range(count)))

    def scheduled(self, count: int = 1, in_ms: int = HOUR, **options: Any) -> list[str]:
        """Jobs for later, the earliest first."""
        return self.enqueue(*(self.new(f"+{in_ms + i}", **options) for i in range(count)))

    def due(self, count: int = 1, ago_ms: int = HOUR, **options: Any) -> list[str]:
        """Scheduled jobs whose time has come and that nobody has promoted, the earliest first."""
        ids = self.scheduled(count, **options)
        for position, job_id in enumerate(ids):
            self.fall_due(job_id, ago_ms - position)
        return ids

    def fall_due(self, job_id: str, ago_ms: int = HOUR) -> None:
        """As if a scheduled job's time had come `ago_ms` ago."""
        run_at = self.now_ms() - ago_ms
        self.redis.zadd(self.keys.scheduled, {job_id: run_at})
        self.redis.hset(self.keys.job(job_id), "run_at", run_at)

    def worker(self, name: str = "w1") -> str:
        """A worker with a lease."""
        self.run(commands.heartbeat(self.keys, [name], DAY, register=True))
        return name

    def taken(self, worker: str, count: int = 1, **options: Any) -> list[str]:
        """Jobs that this worker has taken and not begun, oldest first."""
        self.worker(worker)
        ids = self.ready(count, **options)
        for job_id in ids:
            priority = priority_of(job_id)
            self.redis.lrem(self.keys.list_of(priority), 1, job_id)
            self.redis.lpush(self.keys.processing(worker), job_id)
            if not self.waiting(priority):
                self.redis.zrem(self.keys.levels, priority)
        return ids

    def begun(self, worker: str, count: int = 1, token: str = "t1", **options: Any) -> list[str]:
        """Jobs that this worker has begun, oldest first."""
        ids = self.taken(worker, count, **options)
        self.run(commands.begin(self.keys, worker, token, ids))
        return ids

    def dead(self, count: int = 1, **options: Any) -> list[str]:
        """Jobs that were given up."""
        ids = self.begun("undertaker", count, **options)
        for job_id in ids:
            self.run(commands.bury(self.keys, self.claim(job_id), ERRORS))
        return ids

    def completed(self, count: int = 1, **options: Any) -> list[str]:
        """Jobs that are done and keep a result for an hour."""
        ids = self.begun("finisher", count, **options)
        done = [Finished(job_id, None, HOUR, b"result") for job_id in ids]
        self.run(commands.complete(self.keys, "finisher", "t1", done))
        return ids

    def lose(self, worker: str) -> None:
        """The worker's lease runs out, and a sweep notices."""
        self.run(commands.heartbeat(self.keys, [worker], -1))
        self.sweep()

    def sweep(self) -> commands.Swept:
        """One call of sweep with generous limits."""
        return self.run(commands.sweep(self.keys, dead_age_ms=DAY, dead_max=1_000, asked_ms=self.now_ms()))

    def recover(self, worker: str, charge: bool = True, errors: bytes = b"") -> tuple[int, int]:
        """All that a retired worker has goes back to the front; how many, and how many crashed."""
        (ids,) = self.run(commands.stranded(self.keys, [worker], keep_ms=HOUR))
        back, crashed = 0, 0
        for command in commands.recover(
            self.keys, worker, ids[::-1], charge=lambda _: charge, errors=lambda _: errors
        ):
            counts = self.run(command)
            back, crashed = back + counts[0], crashed + counts[1]
        return back, crashed

    def release(self, worker: str, token: str, ids: list[str]) -> int:
        """Give ids back; how many were."""
        return sum(map(self.run, commands.release(self.keys, worker, token, ids)))

    def take(self, worker: str, count: int = 100, priorities: tuple[int, ...] = ()) -> list[str]:
        """The ids that one call of take gives to a worker with a lease."""
        self.worker(worker)
        return self.run(commands.take(self.keys, worker, count, priorities)).ids

    def drain(self, *priorities: int) -> list[str]:
        """Promote, take, begin and complete until nothing is due: ids in the order they were run."""
        worker = self.worker("drainer")
        order: list[str] = []
        while True:
            taken = self.run(commands.take(self.keys, worker, 100, priorities))
            priorities += tuple(taken.missing)
            if not (taken.ids or taken.missing or taken.more or taken.next_ms == 0):
                return order
            begun = self.run(commands.begin(self.keys, worker, "drain", taken.ids))
            order += self._complete(worker, begun)

    def _complete(self, worker: str, begun: commands.Begun) -> list[str]:
        done = [Finished(claim.id, claim.key) for claim in begun.claims]
        assert not self.run(commands.complete(self.keys, worker, "drain", done))
        return [job.id for job in done]

    # What is there -------------------------------------------------------------------------

    def now_ms(self) -> int:
        """The server's time."""
        seconds, microseconds = self.redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def wishes(self) -> list[str]:
        """Ids of jobs that somebody wants stopped."""
        return [raw.decode() for raw in self.redis.zrange(self.keys.cancels, 0, -1)]

    def claim(self, job_id: str) -> Claim:
        """What the worker that has begun this job knows of it."""
        field = self.fields(job_id).get
        key = field("key")
        return Claim(
            id=job_id,
            queue=self.keys.queue,
            worker=field("worker", b"").decode(),
            token=field("token", b"").decode(),
            name=field("name", b"").decode(),
            payload=field("args", b""),
            attempt=int(field("attempt", 0)),
            crashes=int(field("crashes", 0)),
            enqueued_at_ms=int(field("enqueued_at", 0)),
            run_at_ms=int(field("run_at", 0)),
            started_at_ms=int(field("started_at", 0)),
            options=field("options", b""),
            errors=field("errors", b""),
            key=key.decode() if key else None,
            format=1,
        )

    def fields(self, job_id: str) -> dict[str, Any]:
        """A job's hash."""
        raw = self.redis.hgetall(self.keys.job(job_id))
        return {name.decode(): value for name, value in raw.items()}

    def number(self, job_id: str, field: str) -> int:
        """A number in a job's hash; 0 where it is not there."""
        return int(self.fields(job_id).get(field, 0))

    def contents(self) -> Contents:
        """Everything the queue has."""
        for contents in read(self.redis)[0]:
            if contents.keys.queue == self.keys.queue:
                return contents
        return Contents(self.keys)

    def places(self, job_id: str) -> list[str]:
        """Where a job stands: one place, or [] for none."""
        return self.contents().places().get(job_id, [])

    def waiting(self, priority: int = 0) -> list[str]:
        """The ready list of a priority, first to be taken first."""
        return self._list(self.keys.list_of(priority))

    def processing(self, worker: str) -> list[str]:
        """What a worker has taken, oldest first."""
        return self._list(self.keys.processing(worker))

    def _list(self, key: str) -> list[str]:
        return [item.decode() for item in reversed(self.redis.lrange(key, 0, -1))]

    def run_at(self, job_id: str) -> int | None:
        """When a scheduled job is due."""
        score = self.redis.zscore(self.keys.scheduled, job_id)
        return None if score is None else int(score)

    def levels(self) -> list[int]:
        """The priorities that are said to hold jobs."""
        return [int(level) for level in self.redis.zrange(self.keys.levels, 0, -1)]

    def holder(self, key: str) -> str | None:
        """The job that holds a unique key."""
        holder = self.redis.get(self.keys.unique(key))
        return None if holder is None else str(holder.decode())

    def count(self, counter: str) -> int:
        """A counter of the queue's statistics."""
        return int(self.redis.hget(self.keys.stats, counter) or 0)

    def rung(self) -> bool:
        """Whether a bell lies in ready; it is taken away."""
        return bool(self.redis.lrem(self.keys.ready, 0, BELL))

    def dump(self) -> dict[bytes, bytes]:
        """Every key of the server, in Redis's own serialised form."""
        return {key: self.redis.dump(key) for key in self.redis.scan_iter(count=1000)}
