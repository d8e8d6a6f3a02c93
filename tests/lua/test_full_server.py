"""Where memory is full, new jobs are refused and everything that makes room goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import ResponseError

from redjobs import commands
from redjobs.commands import Finished
from redjobs.keys import Keys
from tests import invariants
from tests.lua.seeds import DAY, ERRORS, HOUR, Lab
from tests.servers import Server


@pytest.fixture
def lab(private_server: Server, keys: Keys) -> Lab:
    return Lab(private_server, keys)


# Redis 6.2 has no error code of its own for it inside of a script.
FULL = "used memory > 'maxmemory'"


def fill(lab: Lab) -> None:
    """No more memory from here on, and nothing is evicted."""
    lab.redis.config_set("maxmemory-policy", "noeviction")
    lab.redis.config_set("maxmemory", 1)
    with pytest.raises(ResponseError, match=FULL):
        lab.redis.set("more", "than fits")


@pytest.mark.row(24)
def test_a_new_job_is_refused_and_nothing_is_changed(lab: Lab) -> None:
    lab.ready()
    lab.scheduled(in_ms=DAY)
    fill(lab)
    before = lab.dump()
    for run_at in ("", f"+{HOUR}"):
        for job in (lab.new(run_at), lab.new(run_at, key="a"), lab.new(run_at, priority=5)):
            with pytest.raises(ResponseError, match=FULL):
                lab.run(commands.enqueue(lab.keys, [job]))
            assert lab.dump() == before


# What a worker and a sweep do, each from a state in which it has something to do.
Step = Callable[[Lab], Any]


def take_promotes_and_takes(lab: Lab) -> Step:
    ids = [*lab.due(2, priority=-5), *lab.ready(2)]
    lab.worker("w1")
    return lambda lab: lab.run(commands.take(lab.keys, "w1", 10, (-5,))).ids == ids


def begin_starts(lab: Lab) -> Step:
    ids = lab.taken("w1", 3)
    return lambda lab: len(lab.run(commands.begin(lab.keys, "w1", "t1", ids)).claims) == 3


def complete_forgets(lab: Lab) -> Step:
    (job,) = lab.begun("w1", key="invoice")
    done = [Finished(job, "invoice")]
    return lambda lab: lab.run(commands.complete(lab.keys, "w1", "t1", done)) == []


def complete_keeps_a_result(lab: Lab) -> Step:
    (job,) = lab.begun("w1")
    done = [Finished(job, None, HOUR, b"result")]
    return lambda lab: lab.run(commands.complete(lab.keys, "w1", "t1", done)) == []


def retry_schedules(lab: Lab) -> Step:
    claim = lab.claim(lab.begun("w1")[0])
    return lambda lab: lab.run(commands.retry(lab.keys, claim, HOUR, ERRORS)) == "scheduled"


def bury_buries(lab: Lab) -> Step:
    claim = lab.claim(lab.begun("w1")[0])
    return lambda lab: lab.run(commands.bury(lab.keys, claim, ERRORS)) == "dead"


def discard_forgets(lab: Lab) -> Step:
    claim = lab.claim(lab.begun("w1")[0])
    return lambda lab: lab.run(commands.discard(lab.keys, claim)) == "discarded"


def release_gives_back(lab: Lab) -> Step:
    ids = lab.begun("w1", 2, priority=5)
    return lambda lab: lab.release("w1", "t1", ids) == 2


def heartbeat_extends(lab: Lab) -> Step:
    lab.worker("w1")
    return lambda lab: lab.run(commands.heartbeat(lab.keys, ["w1"], HOUR)) == [True]


def heartbeat_registers(_: Lab) -> Step:
    return lambda lab: lab.run(commands.heartbeat(lab.keys, ["w1"], HOUR, register=True)) == [True]


def sweep_retires(lab: Lab) -> Step:
    lab.begun("w1")
    lab.run(commands.heartbeat(lab.keys, ["w1"], -1))
    return lambda lab: lab.sweep().expired == 1


def recover_gives_away(lab: Lab) -> Step:
    lab.begun("w1", 2)
    lab.lose("w1")
    return lambda lab: lab.recover("w1", errors=ERRORS) == (2, 2)


def retire_leaves(lab: Lab) -> Step:
    lab.begun("w1")
    return lambda lab: lab.run(commands.retire(lab.keys, "w1", clean=False)) == "stranded"


def stranded_forgets(lab: Lab) -> Step:
    lab.worker("w1")
    lab.lose("w1")
    return lambda lab: lab.run(commands.stranded(lab.keys, ["w1"], keep_ms=-HOUR)) == [[]]


def cancel_makes_room(lab: Lab) -> Step:
    (job,) = lab.scheduled()
    return lambda lab: lab.run(commands.cancel(lab.keys, job)) == ("cancelled", "")


def delete_makes_room(lab: Lab) -> Step:
    ids = lab.dead(2)
    return lambda lab: lab.run(commands.delete(lab.keys, lab.keys.dead, ids)) == 2


STEPS = [
    take_promotes_and_takes,
    begin_starts,
    complete_forgets,
    complete_keeps_a_result,
    retry_schedules,
    bury_buries,
    discard_forgets,
    release_gives_back,
    heartbeat_extends,
    heartbeat_registers,
    sweep_retires,
    recover_gives_away,
    retire_leaves,
    stranded_forgets,
    cancel_makes_room,
    delete_makes_room,
]


@pytest.mark.row(24)
def test_everything_that_makes_room_goes_on(private_server: Server) -> None:
    labs = [Lab(private_server, Keys(step.__name__)) for step in STEPS]
    steps = [(lab, prepare(lab)) for prepare, lab in zip(STEPS, labs, strict=True)]
    fill(labs[0])
    assert [lab.keys.queue for lab, works in steps if not works(lab)] == []
    invariants.check(private_server.client())


@pytest.mark.row(24)
def test_a_full_server_drains(lab: Lab) -> None:
    ids = [*lab.ready(20), *lab.due(20, priority=3), *lab.begun("w1", 5)]
    lab.run(commands.heartbeat(lab.keys, ["w1"], -1))
    fill(lab)
    lab.sweep()
    lab.recover("w1")
    assert sorted(lab.drain()) == sorted(ids)
    assert lab.contents().hashes == {}
    invariants.check(lab.redis)


@pytest.mark.row(24)
def test_what_moves_a_job_to_another_time_is_refused_whole(lab: Lab) -> None:
    (job,) = lab.scheduled()
    fill(lab)
    before = lab.dump()
    with pytest.raises(ResponseError, match=FULL):
        lab.run(commands.reschedule(lab.keys, job, f"+{DAY}"))
    assert lab.dump() == before
