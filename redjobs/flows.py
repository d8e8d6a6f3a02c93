"""Operations that may take more than one command, as generators: they yield commands, get the
replies and return the result. `Queue` and `AsyncQueue` each have a pump of a few lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar

from redjobs import commands
from redjobs.commands import BATCH, ENQUEUE_BYTES, Command, Duplicate
from redjobs.errors import EnqueueUnknown, JobFailed, JobNotFound, PayloadError, RedjobsError
from redjobs.ids import is_id
from redjobs.jobs import KNOWN_FORMAT, Job, NewJob, State, Verdict
from redjobs.keys import Keys
from redjobs.registry import Registry
from redjobs.shards import Shards

T = TypeVar("T")
Flow = Generator[Command[Any], Any, T]

#: So many jobs are spread over the parts of a sharded queue at a time.
_SPREAD = 4_000

_VERDICTS = {
    "cancelled": Verdict.CANCELLED,
    "rescheduled": Verdict.RESCHEDULED,
    "ready": Verdict.REQUEUED,
    "processing": Verdict.RUNNING,
    "dead": Verdict.DEAD,
    "completed": Verdict.COMPLETED,
    "duplicate": Verdict.DUPLICATE,
    "notdead": Verdict.NOT_DEAD,
    "missing": Verdict.NOT_FOUND,
}


#: What became of the jobs of one call, in their order.
Replies = list[Job | Duplicate]


@dataclass(frozen=True, slots=True)
class Taken:
    """A new job whose unique key is held by another one: `existing` finds that."""

    keys: Keys
    job: NewJob
    holder: str


@dataclass(frozen=True, slots=True)
class Batch:
    """New jobs that go to the server in one call, and their places among all that are enqueued."""

    keys: Keys
    jobs: list[NewJob]
    places: list[int]

    def settled(self, replies: Replies) -> Iterator[tuple[int, Job | Taken]]:
        """What became of each job, with its place."""
        for place, job, reply in zip(self.places, self.jobs, replies, strict=True):
            yield place, Taken(self.keys, job, reply.holder) if isinstance(reply, Duplicate) else reply


def batches(shards: Shards, jobs: Iterable[NewJob]) -> Iterator[Batch]:
    """Each job in its part, in calls of `BATCH` at most; made as they are asked for."""
    waiting = enumerate(jobs)
    at_once = BATCH if len(shards.parts) == 1 else _SPREAD
    while some := list(islice(waiting, at_once)):
        groups: dict[Keys, list[tuple[int, NewJob]]] = {}
        for place, job in some:
            groups.setdefault(shards.of(job.id), []).append((place, job))
        for keys, group in groups.items():
            for part in _calls(group):
                yield Batch(keys, [job for _, job in part], [place for place, _ in part])


def _calls(group: Iterable[tuple[int, NewJob]]) -> Iterator[list[tuple[int, NewJob]]]:
    """Of so many jobs and so many bytes at most; one job may be larger."""
    part: list[tuple[int, NewJob]] = []
    size = 0
    for placed in group:
        size += len(placed[1].payload)
        if part and (len(part) == BATCH or size > ENQUEUE_BYTES):
            yield part
            part, size = [], len(placed[1].payload)
        part.append(placed)
    if part:
        yield part


def existing(keys: Keys, job: NewJob, holder: str) -> Flow[Job]:
    """The living job that holds this job's unique key, or this job if the other is just over."""
    for _ in range(10):
        found: Job | None = yield commands.peek(keys, holder)
        if found is not None:
            return replace(found, created=False)
        # It completed between the two commands. Its key is free then, and `stale` covers the
        # case that an old version or a person deleted the job and left the key behind.
        (reply,) = yield commands.enqueue(keys, [job], stale=holder)
        if isinstance(reply, Job):
            return reply
        holder = reply.holder
    raise RedjobsError(
        f"the unique key {job.options.key!r} of queue {keys.queue!r} changes hands too quickly:"
        " ten jobs held it in turn while this one was enqueued; try again"
    )


def anywhere(shards: Shards, id_or_key: str, verb: Callable[[Keys, str], Flow[T]]) -> Flow[T]:
    """Do it where the job is: in the likeliest place first, and in the last with its answer."""
    *places, last = shards.places(id_or_key)
    for keys in places:
        try:
            found = yield from verb(keys, id_or_key)
        except JobNotFound:
            continue
        if found is not Verdict.NOT_FOUND:
            return found
    return (yield from verb(last, id_or_key))


def get(keys: Keys, id_or_key: str) -> Flow[Job]:
    """One job by id, or by the unique key that it holds. Raises JobNotFound."""
    found: Job | None = None
    if is_id(id_or_key):
        found = yield commands.peek(keys, id_or_key)
    if found is None:
        held: str = yield commands.holder(keys, id_or_key)
        if held:
            found = yield commands.peek(keys, held)
    if found is None:
        raise JobNotFound(
            f"no job {id_or_key!r} in queue {keys.queue!r}: it has completed, was deleted,"
            " or is in another queue"
        )
    return found


def _by_id_or_key(keys: Keys, id_or_key: str, command: Any) -> Generator[Command[Any], Any, tuple[str, Any]]:
    """Run `command(job_id, key)` for an id or for the holder of a key."""
    if is_id(id_or_key):
        word, value = yield command(id_or_key, "")
        if word == "keyed":
            word, value = yield command(id_or_key, value)
        if word != "missing":
            return word, value
    held: str = yield commands.holder(keys, id_or_key)
    if not held:
        return "missing", ""
    word, value = yield command(held, id_or_key)
    return word, value


def cancel(keys: Keys, id_or_key: str, *, stop: bool = True) -> Flow[Verdict]:
    """Forget a job that has not begun; with `stop`, ask that one which is running be stopped."""
    word, _ = yield from _by_id_or_key(
        keys, id_or_key, lambda job_id, key: commands.cancel(keys, job_id, key, stop=stop)
    )
    return _VERDICTS[word]


def reschedule(keys: Keys, id_or_key: str, run_at: str) -> Flow[Verdict]:
    """Another run_at for a job that has not begun."""
    word, _ = yield from _by_id_or_key(
        keys, id_or_key, lambda job_id, _: commands.reschedule(keys, job_id, run_at)
    )
    return _VERDICTS[word]


def requeue(keys: Keys, job_id: str) -> Flow[Verdict]:
    """Another life for a dead job."""
    if not is_id(job_id):
        return Verdict.NOT_FOUND
    word, text = yield commands.requeue(keys, job_id)
    if word == "keyed":
        word, text = yield commands.requeue(keys, job_id, text)
    return _VERDICTS[word]


def delete(keys: Keys, job_id: str) -> Flow[Verdict]:
    """Forget a job that is over: dead, or completed with a result."""
    if not is_id(job_id):
        return Verdict.NOT_FOUND
    for place in (keys.dead, keys.completed):
        if (yield commands.delete(keys, place, [job_id])):
            return Verdict.DELETED
    found: Job | None = yield commands.peek(keys, job_id)
    if found is None:
        return Verdict.NOT_FOUND
    return Verdict.RUNNING if found.state is State.PROCESSING else Verdict.WAITING


# What both queues say of an outcome, and how they wait for a result ---------------------------


def enqueue_unknown(sent: list[str], error: Exception) -> EnqueueUnknown:
    """The truth after the last retry failed."""
    shown = f"job {sent[0]}" if len(sent) == 1 else f"{len(sent)} jobs, the last of them {sent[-1]},"
    return EnqueueUnknown(
        f"the server's reply was lost ({type(error).__name__}): {shown} may or may not be"
        " enqueued; queue.get(id) tells, once the server is back",
        tuple(sent),
    )


def result_pauses(timeout: timedelta | float) -> Iterator[float]:
    """How long to wait between two looks at a result: 5 ms at first, 50 ms later."""
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    end = time.monotonic() + seconds
    pause = 0.005
    while (left := end - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(0.05, pause * 1.5)


def result_of(job: Job, registry: Registry) -> Any:
    """The result in a snapshot of a job that is over. Raises JobFailed if it is dead."""
    if job.state is State.DEAD:
        reason = job.errors[-1].error if job.errors else "no reason is recorded"
        raise JobFailed(f"job {job.id} ({job.name}) is dead: {reason}")
    if job.result_payload is None:
        raise JobNotFound(f"job {job.id} ({job.name}) kept no result")
    _check_format(job)
    return registry.codec.decode(job.result_payload)


def arguments_of(job: Job, registry: Registry) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments in a snapshot. Raises PayloadError where they cannot be decoded."""
    _check_format(job)
    return registry.codec.decode_call(job.payload)


def _check_format(job: Job) -> None:
    if job.is_newer:
        raise PayloadError(f"job {job.id} is of format {job.format}, and this redjobs knows {KNOWN_FORMAT}")
