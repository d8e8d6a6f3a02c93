"""Two versions of redjobs share a queue during a deployment: what one does not know it hands on as it was.

A job of the other version is written as that one would: with fields, and a format, that are not ours.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from redjobs import commands
from tests.lua.seeds import ERRORS, HOUR, Lab

#: Fields of a newer version, of a name and of values that nobody here can read.
FUTURE = {"format": "2", "colour": b"\xc1\xff", "args": b"only the future can read this", "trace-id": "7"}

Way = Callable[[Lab, str], None]


def begin(lab: Lab, job: str) -> None:
    assert lab.take("w1") == [job]
    (claim,) = lab.run(commands.begin(lab.keys, "w1", "t1", [job])).claims
    assert (claim.format, claim.payload) == (2, FUTURE["args"]), "a worker sees that it is not for it"


def snooze(lab: Lab, job: str) -> None:
    begin(lab, job)
    assert lab.run(commands.retry(lab.keys, lab.claim(job), HOUR, ERRORS, refund=True)) == "scheduled"


def retry(lab: Lab, job: str) -> None:
    begin(lab, job)
    assert lab.run(commands.retry(lab.keys, lab.claim(job), 0, ERRORS)) == "scheduled"


def release(lab: Lab, job: str) -> None:
    begin(lab, job)
    assert lab.release("w1", "t1", [job]) == 1


def recover(lab: Lab, job: str) -> None:
    begin(lab, job)
    lab.lose("w1")
    assert lab.recover("w1", errors=ERRORS) == (1, 1)


def bury_and_requeue(lab: Lab, job: str) -> None:
    begin(lab, job)
    assert lab.run(commands.bury(lab.keys, lab.claim(job), ERRORS)) == "dead"
    assert lab.run(commands.requeue(lab.keys, job))[0] == "ready"


def reschedule(lab: Lab, job: str) -> None:
    assert lab.run(commands.reschedule(lab.keys, job, f"+{HOUR}"))[0] == "rescheduled"


def promote(lab: Lab, job: str) -> None:
    reschedule(lab, job)
    lab.fall_due(job)
    begin(lab, job)


@pytest.mark.parametrize(
    "way", [begin, snooze, retry, release, recover, bury_and_requeue, reschedule, promote]
)
def test_what_another_version_wrote_is_kept(lab: Lab, way: Way) -> None:
    (job,) = lab.ready()
    lab.redis.hset(lab.keys.job(job), mapping=FUTURE)
    way(lab, job)
    kept = {name: value for name, value in lab.fields(job).items() if name in FUTURE}
    assert kept == {
        name: value.encode() if isinstance(value, str) else value for name, value in FUTURE.items()
    }
    assert len(lab.places(job)) == 1
