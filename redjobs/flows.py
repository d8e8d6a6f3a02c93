"""Operations that may take more than one command, as generators: they yield commands, get the
replies and return the result. `Queue` and `AsyncQueue` each have a pump of a few lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar, cast

from redjobs import commands
from redjobs.commands import ENQUEUE_BATCH, Command, Duplicate
from redjobs.errors import EnqueueUnknown, JobFailed, JobNotFound, RedjobsError
from redjobs.ids import is_id
from redjobs.jobs import Job, NewJob, State, Verdict
from redjobs.keys import Keys
from redjobs.registry import Registry
from redjobs.shards import Shards

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ahead:
    """Commands of which the next is made and sent while the server works on the last one.

    Only what may be sent twice: after a lost connection all that is unanswered is sent again. The answer
    is a list of all answers.
    """

    commands: Iterator[Command[Any]]


Flow = Generator[Command[Any] | Ahead, Any, T]

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


def enqueue(keys: Keys, jobs: Iterable[NewJob]) -> Flow[list[Job]]:
    """One call per `ENQUEUE_BATCH` jobs, and two more for each whose unique key is taken."""
    waiting = iter(jobs)
    keyed: list[NewJob] = []

    def calls() -> Iterator[Command[list[Job | Duplicate]]]:
        while batch := list(islice(waiting, ENQUEUE_BATCH)):
            keyed.extend(job for job in batch if job.options.key)
            yield commands.enqueue(keys, batch)

    answers: list[list[Job | Duplicate]] = yield Ahead(calls())
    enqueued = [reply for answer in answers for reply in answer]
    if not keyed:
        return cast(list[Job], enqueued)
    return (yield from _with_holders(keys, enqueued, iter(keyed)))


def _with_holders(keys: Keys, enqueued: list[Job | Duplicate], keyed: Iterator[NewJob]) -> Flow[list[Job]]:
    """The jobs, and in place of each duplicate the job that holds its key."""
    jobs: list[Job] = []
    for reply in enqueued:
        if isinstance(reply, Duplicate):
            jobs.append((yield from _existing(keys, next(keyed), reply.holder)))
            continue
        if reply.options.key:
            next(keyed)
        jobs.append(reply)
    return jobs


def _existing(keys: Keys, job: NewJob, holder: str) -> Flow[Job]:
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


def enqueue_spread(shards: Shards, jobs: Iterable[NewJob]) -> Flow[list[Job]]:
    """`enqueue`, each job in its part: a few thousand jobs at a time, in one call or more per part."""
    if len(shards.parts) == 1:
        return (yield from enqueue(shards.whole, jobs))
    waiting = iter(jobs)
    enqueued: list[Job] = []
    while batch := list(islice(waiting, _SPREAD)):
        groups: dict[Keys, list[tuple[int, NewJob]]] = {}
        for place, job in enumerate(batch):
            groups.setdefault(shards.of(job.id), []).append((place, job))
        made: dict[int, Job] = {}
        for keys, some in groups.items():
            found = yield from enqueue(keys, [job for _, job in some])
            made |= {place: job for (place, _), job in zip(some, found, strict=True)}
        enqueued += [made[place] for place in range(len(batch))]
    return enqueued


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
    return registry.codec.decode(job.result_payload)
