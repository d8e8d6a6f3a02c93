"""retire, sweep, stranded, recover: a dead worker's jobs are run by others, and its crash counts once."""

from __future__ import annotations

import pytest

from redjobs import commands
from redjobs.commands import Finished
from redjobs.ids import new_id
from redjobs.keys import BELL
from tests.lua.seeds import DAY, ERRORS, HOUR, Lab
from tests.waiting import wait_until

pytestmark = pytest.mark.fakeredis


def stranded(lab: Lab, *workers: str, keep_ms: int = HOUR, limit: int = 100) -> list[list[str]]:
    return lab.run(commands.stranded(lab.keys, workers, keep_ms=keep_ms, limit=limit))


def retired(lab: Lab) -> list[str]:
    return [name.decode() for name in lab.redis.zrange(lab.keys.retired, 0, -1)]


def workers(lab: Lab) -> list[str]:
    return [name.decode() for name in lab.redis.zrange(lab.keys.workers, 0, -1)]


# heartbeat


def test_a_worker_that_registers_has_a_lease_by_the_servers_clock(lab: Lab) -> None:
    before = lab.now_ms()
    assert lab.run(commands.heartbeat(lab.keys, ["w1", "w2"], 15_000, register=True)) == [True, True]
    leases = lab.redis.zrange(lab.keys.workers, 0, -1, withscores=True)
    assert all(before + 15_000 <= expiry <= lab.now_ms() + 15_000 for _, expiry in leases)
    assert workers(lab) == ["w1", "w2"]


def test_a_heartbeat_extends_leases_and_enters_nobody(lab: Lab) -> None:
    lab.run(commands.heartbeat(lab.keys, ["w1"], -1, register=True))
    assert lab.run(commands.heartbeat(lab.keys, ["w1", "stranger"], HOUR)) == [True, False]
    assert lab.sweep().expired == 0
    assert workers(lab) == ["w1"]


def test_a_worker_that_was_retired_learns_it_from_its_heartbeat(lab: Lab) -> None:
    lab.worker("w1")
    lab.lose("w1")
    assert lab.run(commands.heartbeat(lab.keys, ["w1"], HOUR)) == [False]


# retire


def test_a_worker_that_leaves_with_nothing_is_forgotten(lab: Lab) -> None:
    lab.worker("w1")
    lab.redis.lpush(lab.keys.processing("w1"), BELL)
    assert lab.run(commands.retire(lab.keys, "w1", clean=True)) == "left"
    assert (workers(lab), retired(lab), lab.processing("w1")) == ([], [], [])


def test_a_worker_that_leaves_jobs_behind_is_remembered(lab: Lab) -> None:
    (job,) = lab.taken("w1")
    assert lab.run(commands.retire(lab.keys, "w1", clean=True)) == "stranded"
    assert (workers(lab), retired(lab)) == ([], ["w1"])
    assert stranded(lab, "w1") == [[job]]


def test_a_worker_that_died_is_remembered_even_with_nothing(lab: Lab) -> None:
    lab.worker("w1")
    assert lab.run(commands.retire(lab.keys, "w1", clean=False)) == "stranded"
    assert retired(lab) == ["w1"]


def test_retired_twice_it_is_retired_once(lab: Lab) -> None:
    (job,) = lab.begun("w1")
    lab.run(commands.retire(lab.keys, "w1", clean=False))
    lab.run(commands.retire(lab.keys, "w1", clean=False))
    assert lab.recover("w1") == (1, 1)
    assert lab.waiting() == [job]


# sweep


def test_only_leases_that_ran_out_are_swept(lab: Lab) -> None:
    lab.worker("alive")
    lab.run(commands.heartbeat(lab.keys, ["silent"], -1, register=True))
    swept = lab.sweep()
    assert (swept.expired, swept.retired) == (1, ["silent"])
    assert (workers(lab), retired(lab)) == (["alive"], ["silent"])


@pytest.mark.row(15)
def test_a_sweep_that_has_lain_in_a_server_that_stood_still_retires_nobody(lab: Lab) -> None:
    """Nor one that does not know what time it was there when it was asked for."""
    lab.run(commands.heartbeat(lab.keys, ["w1"], -1, register=True))
    for asked_ms in (0, lab.now_ms() - commands.PROMPT_MS - 1):
        swept = lab.run(commands.sweep(lab.keys, dead_age_ms=DAY, dead_max=10, asked_ms=asked_ms))
        assert (swept.expired, swept.late, swept.retired) == (0, 1, [])
    assert lab.run(commands.heartbeat(lab.keys, ["w1"], HOUR)) == [True]


def test_swept_twice_is_swept_once(lab: Lab) -> None:
    lab.begun("w1")
    lab.lose("w1")
    again = lab.sweep()
    assert (again.expired, again.retired) == (0, ["w1"])


def test_one_sweep_retires_no_more_than_its_limit(lab: Lab) -> None:
    names = [f"w{i:03}" for i in range(5)]
    lab.run(commands.heartbeat(lab.keys, names, -1, register=True))
    command = commands.sweep(lab.keys, dead_age_ms=HOUR, dead_max=10, limit=4, asked_ms=lab.now_ms())
    assert [lab.run(command).expired for _ in range(3)] == [4, 1, 0]
    assert retired(lab) == names


def test_of_many_retired_workers_the_newest_are_named_each_time_and_the_others_in_turns(lab: Lab) -> None:
    names = [f"w{i:03}" for i in range(20)]
    now_ms = lab.now_ms()
    lab.redis.zadd(lab.keys.retired, {name: now_ms - age for age, name in enumerate(reversed(names))})
    command = commands.sweep(lab.keys, dead_age_ms=1, dead_max=1, limit=3)
    seen: set[str] = set()

    def look() -> bool:
        found = lab.run(command).retired
        assert found[:3] == [names[19], names[18], names[17]]
        assert 3 < len(set(found)) == len(found) <= 6
        seen.update(found)
        return seen == set(names)

    wait_until(look)


def test_who_is_retired_in_this_call_is_named_whoever_else_there_is(lab: Lab) -> None:
    lab.redis.zadd(lab.keys.retired, {f"old{i}": lab.now_ms() + 1000 for i in range(20)})
    lab.run(commands.heartbeat(lab.keys, ["w1", "w2"], -1, register=True))
    found = lab.run(commands.sweep(lab.keys, dead_age_ms=1, dead_max=1, limit=3, asked_ms=lab.now_ms()))
    assert found.expired == 2
    assert found.retired[:2] == ["w1", "w2"]


def test_dead_jobs_are_named_by_age_and_by_number(lab: Lab) -> None:
    ids = lab.dead(6)
    for position, job_id in enumerate(ids):
        lab.redis.zadd(lab.keys.dead, {job_id: lab.now_ms() - (6 - position) * HOUR})
    by_age = commands.sweep(lab.keys, dead_age_ms=4 * HOUR + HOUR // 2, dead_max=100)
    assert lab.run(by_age).dead == ids[:2]
    by_number = commands.sweep(lab.keys, dead_age_ms=100 * HOUR, dead_max=4)
    assert lab.run(by_number).dead == ids[:2]
    by_both = commands.sweep(lab.keys, dead_age_ms=4 * HOUR + HOUR // 2, dead_max=3)
    assert lab.run(by_both).dead == ids[:3]
    bounded = commands.sweep(lab.keys, dead_age_ms=0, dead_max=0, limit=4)
    assert lab.run(bounded).dead == ids[:4]
    assert lab.run(commands.sweep(lab.keys, dead_age_ms=HOUR * 100, dead_max=6)).dead == []


# stranded


def test_of_each_worker_it_names_the_newest_jobs_up_to_the_limit(lab: Lab) -> None:
    one, two = lab.taken("w1", 3), lab.taken("w2", 1)
    assert stranded(lab, "w1", "w2", "w3", limit=2) == [[one[2], one[1]], two, []]


def test_a_retired_worker_is_forgotten_once_its_time_is_over_and_its_list_empty(lab: Lab) -> None:
    (job,) = lab.taken("w1")
    lab.lose("w1")
    lab.redis.zadd(lab.keys.retired, {"w1": lab.now_ms() - 2 * HOUR})
    stranded(lab, "w1")
    assert retired(lab) == ["w1"]
    lab.recover("w1")
    stranded(lab, "w1", keep_ms=3 * HOUR)
    assert retired(lab) == ["w1"]
    stranded(lab, "w1", keep_ms=HOUR)
    assert retired(lab) == []
    assert lab.waiting() == [job]


def test_a_worker_with_a_lease_is_never_forgotten(lab: Lab) -> None:
    lab.worker("w1")
    stranded(lab, "w1", keep_ms=-HOUR)
    assert workers(lab) == ["w1"]


# recover


def test_all_that_a_dead_worker_had_goes_to_the_front_in_its_order(lab: Lab) -> None:
    begun, taken = lab.begun("w1", 2), lab.taken("w1", 2)
    waiting = lab.ready(2)
    lab.lose("w1")
    assert lab.recover("w1") == (4, 2)
    assert lab.waiting() == [*begun, *taken, *waiting]
    assert lab.processing("w1") == []
    assert lab.count("recovered") == 4


def test_the_order_holds_over_several_calls(lab: Lab) -> None:
    ids = lab.taken("w1", 250)
    waiting = lab.ready()
    lab.lose("w1")
    while sum(lab.recover("w1")):
        pass
    assert lab.waiting() == [*ids, *waiting]


def test_each_priority_goes_to_its_own_front(lab: Lab) -> None:
    urgent, low = lab.begun("w1", 2, priority=-1), lab.taken("w1", 2, priority=9)
    waiting = lab.ready(priority=9)
    lab.lose("w1")
    assert lab.recover("w1") == (4, 2)
    assert (lab.waiting(-1), lab.waiting(9)) == (urgent, [*low, *waiting])
    assert lab.levels() == [-1, 9]


def test_a_crash_is_counted_and_is_no_attempt(lab: Lab) -> None:
    (job,) = lab.begun("w1", key="invoice")
    lab.lose("w1")
    lab.recover("w1", errors=ERRORS)
    assert (lab.number(job, "crashes"), lab.number(job, "attempt")) == (1, 0)
    assert lab.fields(job)["errors"] == ERRORS
    assert lab.holder("invoice") == job


def test_who_did_not_run_is_not_charged(lab: Lab) -> None:
    (begun,), (taken,) = lab.begun("w1"), lab.taken("w1")
    lab.lose("w1")
    assert lab.recover("w1", charge=False) == (2, 0)
    assert "crashes" not in lab.fields(begun)
    assert "crashes" not in lab.fields(taken)
    assert lab.number(begun, "attempt") == 0


def test_crashes_add_up(lab: Lab) -> None:
    (job,) = lab.ready()
    for crash in (1, 2, 3):
        worker = f"w{crash}"
        lab.take(worker)
        lab.run(commands.begin(lab.keys, worker, worker, [job]))
        lab.lose(worker)
        lab.recover(worker)
        assert lab.number(job, "crashes") == crash
    assert lab.number(job, "attempt") == 0


@pytest.mark.row(26)
@pytest.mark.unchecked("a job's key is spoiled")
def test_what_is_no_job_keeps_no_other_from_being_recovered(lab: Lab) -> None:
    first, spoiled, last = lab.begun("w1", 3)
    lab.redis.delete(lab.keys.job(spoiled))
    lab.redis.set(lab.keys.job(spoiled), "a string")
    lab.lose("w1")
    assert lab.recover("w1") == (2, 2)
    assert lab.waiting() == [first, last]
    assert lab.processing("w1") == [spoiled]


@pytest.mark.unchecked("a job's fields are spoiled")
def test_numbers_that_are_none_keep_no_job_from_being_recovered(lab: Lab) -> None:
    (job,) = lab.begun("w1")
    lab.redis.hset(lab.keys.job(job), mapping={"crashes": "soon", "attempt": "first"})
    lab.lose("w1")
    assert lab.recover("w1") == (1, 1)
    assert lab.waiting() == [job]
    assert (lab.number(job, "crashes"), lab.number(job, "attempt")) == (1, 0)


@pytest.mark.row(30, 31)
def test_recovered_twice_by_two_sweepers_it_is_recovered_once(lab: Lab) -> None:
    ids = lab.begun("w1", 3)
    lab.lose("w1")
    (command,) = commands.recover(lab.keys, "w1", ids)
    assert lab.run(command) == (3, 3)
    assert lab.run(command) == (0, 0)
    assert lab.waiting() == ids
    assert lab.number(ids[0], "crashes") == 1


def test_a_worker_with_a_lease_keeps_its_jobs(lab: Lab) -> None:
    (job,) = lab.begun("w1")
    (command,) = commands.recover(lab.keys, "w1", [job])
    assert lab.run(command) == (0, 0)
    assert lab.processing("w1") == [job]


@pytest.mark.row(31)
def test_what_was_finished_in_the_meantime_stays_finished(lab: Lab) -> None:
    done, open_ = lab.begun("w1", 2)
    lab.lose("w1")
    lab.run(commands.complete(lab.keys, "w1", "t1", [Finished(done)]))
    (command,) = commands.recover(lab.keys, "w1", [done, open_])
    assert lab.run(command) == (1, 1)
    assert lab.waiting() == [open_]


def test_a_frozen_process_that_takes_a_job_after_all_loses_it_to_the_sweep(lab: Lab) -> None:
    lab.worker("w1")
    lab.lose("w1")
    (job,) = lab.ready()
    lab.redis.rpoplpush(lab.keys.ready, lab.keys.processing("w1"))
    assert stranded(lab, "w1") == [[job]]
    assert lab.recover("w1") == (1, 0)
    assert lab.waiting() == [job]


@pytest.mark.row(25)
def test_ids_without_a_job_and_bells_are_dropped(lab: Lab) -> None:
    (job,) = lab.taken("w1")
    lab.redis.lpush(lab.keys.processing("w1"), new_id(), BELL)
    lab.lose("w1")
    assert lab.recover("w1") == (1, 0)
    assert (lab.waiting(), lab.processing("w1")) == ([job], [])
