"""For each script, states in which it has everything to do, and the command that does it.

The first scene of a script is the one where it uses every key that it declares.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redjobs import commands
from redjobs.commands import Command, Finished
from redjobs.ids import new_id
from redjobs.keys import BELL
from tests.lua.seeds import DAY, ERRORS, HOUR, Lab

Scene = Callable[[Lab], Command[Any]]


def begin(lab: Lab) -> Command[Any]:
    ids = [*lab.taken("w1", 2), ghost := new_id()]
    lab.redis.lpush(lab.keys.processing("w1"), ghost)
    return commands.begin(lab.keys, "w1", "t1", ids)


def bury(lab: Lab) -> Command[Any]:
    (job,) = lab.begun("w1", key="invoice")
    return commands.bury(lab.keys, lab.claim(job), ERRORS)


def bury_one_that_was_cancelled(lab: Lab) -> Command[Any]:
    (job,) = lab.begun("w1", key="invoice")
    lab.run(commands.cancel(lab.keys, job, "invoice"))
    return commands.bury(lab.keys, lab.claim(job), ERRORS)


def cancel(lab: Lab) -> Command[Any]:
    (job, _), _ = lab.ready(2, priority=5), lab.ready(key="letter")
    return commands.cancel(lab.keys, job)


def cancel_a_scheduled_job(lab: Lab) -> Command[Any]:
    (job,) = lab.scheduled(key="invoice")
    return commands.cancel(lab.keys, job, "invoice")


def cancel_a_running_job(lab: Lab) -> Command[Any]:
    (job,) = lab.begun("w1")
    return commands.cancel(lab.keys, job)


def cancels(lab: Lab) -> Command[Any]:
    (job,) = lab.begun("w1")
    lab.redis.zadd(lab.keys.cancels, {new_id(): 1, job: lab.now_ms() + HOUR})
    return commands.cancels(lab.keys, [job])


def complete(lab: Lab) -> Command[Any]:
    (plain,), (keyed,), (kept,) = lab.begun("w1"), lab.begun("w1", key="a"), lab.begun("w1", key="b")
    jobs = [Finished(plain), Finished(keyed, "a"), Finished(kept, "b", HOUR, b"result")]
    return commands.complete(lab.keys, "w1", "t1", jobs)


def delete(lab: Lab) -> Command[Any]:
    return commands.delete(lab.keys, lab.keys.dead, lab.dead(2))


def discard(lab: Lab) -> Command[Any]:
    (job,) = lab.begun("w1", key="invoice")
    lab.run(commands.cancel(lab.keys, job, "invoice"))
    return commands.discard(lab.keys, lab.claim(job))


def enqueue(lab: Lab) -> Command[Any]:
    lab.scheduled(in_ms=DAY)
    jobs = [lab.new(key="a"), lab.new(priority=5, key="b"), lab.new(f"+{HOUR}")]
    return commands.enqueue(lab.keys, jobs)


def enqueue_for_later(lab: Lab) -> Command[Any]:
    return commands.enqueue(lab.keys, [lab.new(f"+{HOUR}", key="a", max_attempts=3)])


def heartbeat(lab: Lab) -> Command[Any]:
    return commands.heartbeat(lab.keys, [lab.worker("w1"), "w2"], HOUR)


def heartbeat_of_a_new_worker(lab: Lab) -> Command[Any]:
    return commands.heartbeat(lab.keys, ["w1"], HOUR, register=True)


def holder(lab: Lab) -> Command[Any]:
    lab.ready(key="invoice")
    return commands.holder(lab.keys, "invoice")


def peek(lab: Lab) -> Command[Any]:
    return commands.peek(lab.keys, lab.ready()[0])


def recover(lab: Lab) -> Command[Any]:
    ids = lab.begun("w1", 2, priority=5)
    lab.lose("w1")
    lab.rung()
    (command,) = commands.recover(lab.keys, "w1", ids, errors=lambda _: ERRORS)
    return command


def release(lab: Lab) -> Command[Any]:
    ids = lab.begun("w1", 2, priority=5)
    lab.rung()
    (command,) = commands.release(lab.keys, "w1", "t1", ids)
    return command


def requeue(lab: Lab) -> Command[Any]:
    (job,) = lab.dead(priority=5, key="invoice")
    lab.redis.zadd(lab.keys.cancels, {job: lab.now_ms()})
    lab.rung()
    return commands.requeue(lab.keys, job, "invoice")


def reschedule(lab: Lab) -> Command[Any]:
    (job,) = lab.ready(priority=5)
    lab.rung()
    return commands.reschedule(lab.keys, job, f"+{HOUR}")


def retire(lab: Lab) -> Command[Any]:
    lab.begun("w1")
    return commands.retire(lab.keys, "w1", clean=False)


def retire_a_worker_that_has_nothing(lab: Lab) -> Command[Any]:
    lab.worker("w1")
    lab.redis.lpush(lab.keys.processing("w1"), BELL)
    return commands.retire(lab.keys, "w1", clean=True)


def retry(lab: Lab) -> Command[Any]:
    (job,) = lab.begun("w1", key="invoice")
    return commands.retry(lab.keys, lab.claim(job), 0, ERRORS, refund=True)


def retry_what_was_cancelled(lab: Lab) -> Command[Any]:
    (job,) = lab.begun("w1", key="invoice")
    lab.run(commands.cancel(lab.keys, job, "invoice"))
    return commands.retry(lab.keys, lab.claim(job), 0, ERRORS)


def stranded(lab: Lab) -> Command[Any]:
    lab.begun("w1")
    lab.lose("w1")
    lab.worker("w2")
    lab.lose("w2")
    return commands.stranded(lab.keys, ["w1", "w2"], keep_ms=-HOUR)


def sweep(lab: Lab) -> Command[Any]:
    lab.dead(3)
    lab.completed()
    lab.begun("w1")
    lab.run(commands.heartbeat(lab.keys, ["w1"], -1))
    return commands.sweep(lab.keys, dead_age_ms=DAY, dead_max=1, asked_ms=lab.now_ms())


def take(lab: Lab) -> Command[Any]:
    lab.due(2)
    lab.due(priority=5)
    lab.ready(priority=-5)
    lab.scheduled()
    return commands.take(lab.keys, lab.worker("w1"), 3, (5, -5))


SCENES: dict[str, list[Scene]] = {
    "begin": [begin],
    "bury": [bury, bury_one_that_was_cancelled],
    "cancel": [cancel, cancel_a_scheduled_job, cancel_a_running_job],
    "cancels": [cancels],
    "complete": [complete],
    "delete": [delete],
    "discard": [discard],
    "enqueue": [enqueue, enqueue_for_later],
    "heartbeat": [heartbeat, heartbeat_of_a_new_worker],
    "holder": [holder],
    "peek": [peek],
    "recover": [recover],
    "release": [release],
    "requeue": [requeue],
    "reschedule": [reschedule],
    "retire": [retire, retire_a_worker_that_has_nothing],
    "retry": [retry, retry_what_was_cancelled],
    "stranded": [stranded],
    "sweep": [sweep],
    "take": [take],
}
