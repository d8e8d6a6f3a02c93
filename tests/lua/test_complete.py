"""complete: what is done is forgotten, unless it keeps a result; what another claim has, is not touched."""

from __future__ import annotations

import pytest

from redjobs import commands
from redjobs.commands import Finished
from tests.lua.seeds import ARGS, HOUR, Lab

pytestmark = pytest.mark.fakeredis


def complete(lab: Lab, *jobs: Finished, token: str = "t1", worker: str = "w1") -> list[str]:
    return lab.run(commands.complete(lab.keys, worker, token, jobs))


def test_a_job_that_is_done_leaves_nothing_behind(lab: Lab) -> None:
    (job,) = lab.begun("w1")
    assert complete(lab, Finished(job)) == []
    assert lab.redis.keys("*job*") == []
    assert lab.places(job) == []
    assert lab.count("completed") == 1


def test_a_batch_is_done_in_one_call(lab: Lab) -> None:
    ids = lab.begun("w1", 100)
    assert complete(lab, *map(Finished, ids[:99])) == []
    assert lab.processing("w1") == ids[99:]
    assert lab.count("completed") == 99


def test_a_batch_may_be_done_in_any_order(lab: Lab) -> None:
    first, *others, last = lab.begun("w1", 10)
    assert complete(lab, *map(Finished, reversed(others))) == []
    assert lab.processing("w1") == [first, last]
    assert complete(lab, Finished(last), Finished(first)) == []
    assert lab.processing("w1") == []
    assert lab.count("completed") == 10


def test_nothing_is_done(lab: Lab) -> None:
    (job,) = lab.begun("w1")
    assert complete(lab) == []
    assert lab.processing("w1") == [job]


def test_a_result_is_kept_for_its_time(lab: Lab) -> None:
    (job,) = lab.begun("w1")
    before = lab.now_ms()
    complete(lab, Finished(job, None, HOUR, b"42"))
    assert lab.places(job) == ["completed"]
    fields = lab.fields(job)
    assert fields["result"] == b"42"
    assert before <= int(fields["completed_at"]) <= lab.now_ms()
    assert ARGS not in fields.values()  # the arguments are not needed any more, and may be secret
    expires_at = lab.redis.zscore(lab.keys.completed, job)
    assert expires_at == int(fields["completed_at"]) + HOUR


def test_an_expired_result_is_named_by_the_sweep_and_deleted(lab: Lab) -> None:
    expired, kept = lab.completed(2)
    lab.redis.zadd(lab.keys.completed, {expired: lab.now_ms() - 1})
    assert lab.sweep().completed == [expired]
    assert lab.run(commands.delete(lab.keys, lab.keys.completed, [expired])) == 1
    assert (lab.places(expired), lab.places(kept)) == ([], ["completed"])


def test_results_and_keys_of_a_batch_are_told_apart(lab: Lab) -> None:
    (plain,) = lab.begun("w1")
    (keyed,) = lab.begun("w1", key="invoice")
    (kept,) = lab.begun("w1")
    (both,) = lab.begun("w1", key="letter")
    jobs = [
        Finished(plain),
        Finished(keyed, "invoice"),
        Finished(kept, None, HOUR, b"kept"),
        Finished(both, "letter", HOUR, b"both"),
    ]
    assert complete(lab, *jobs) == []
    assert [lab.places(job.id) for job in jobs] == [[], [], ["completed"], ["completed"]]
    assert (lab.fields(kept)["result"], lab.fields(both)["result"]) == (b"kept", b"both")
    assert (lab.holder("invoice"), lab.holder("letter")) == (None, None)


def test_a_key_is_free_when_its_job_is_done(lab: Lab) -> None:
    (job,) = lab.begun("w1", key="invoice")
    complete(lab, Finished(job, "invoice"))
    (again,) = lab.ready(key="invoice")
    assert lab.holder("invoice") == again


@pytest.mark.unchecked("two jobs with one key: the older one lost it to a person's mistake")
def test_a_key_that_another_job_holds_by_now_stays_its_own(lab: Lab) -> None:
    (job,) = lab.begun("w1", key="invoice")
    lab.redis.delete(lab.keys.unique("invoice"))
    (other,) = lab.ready(key="invoice")
    complete(lab, Finished(job, "invoice"))
    assert lab.holder("invoice") == other


@pytest.mark.row(31)
def test_done_twice_it_is_done_once(lab: Lab) -> None:
    (job,) = lab.begun("w1")
    complete(lab, Finished(job))
    assert complete(lab, Finished(job)) == [job]
    assert lab.count("completed") == 1


@pytest.mark.row(31)
@pytest.mark.parametrize("ttl_ms", [0, HOUR])
def test_a_stale_worker_completes_nothing(lab: Lab, ttl_ms: int) -> None:
    stale, own = lab.begun("w1", 2, token="old")
    lab.lose("w1")
    lab.redis.lmove(lab.keys.processing("w1"), lab.keys.processing("elsewhere"), "RIGHT", "LEFT")
    lab.run(commands.retire(lab.keys, "elsewhere", clean=False))
    lab.recover("elsewhere")
    lab.take("w2")
    lab.run(commands.begin(lab.keys, "w2", "new", [stale]))
    before = lab.fields(stale)
    lost = complete(lab, *(Finished(j, None, ttl_ms, b"late") for j in (stale, own)), token="old")
    assert lost == [stale]
    assert lab.fields(stale) == before
    assert lab.processing("w2") == [stale]
    assert lab.count("completed") == 1


@pytest.mark.row(31)
def test_a_job_that_is_already_elsewhere_is_lost(lab: Lab) -> None:
    (scheduled,) = lab.begun("w1")
    lab.run(commands.retry(lab.keys, lab.claim(scheduled), HOUR))
    (ready,) = lab.begun("w1")
    lab.release("w1", "t1", [ready])
    assert complete(lab, Finished(scheduled), Finished(ready)) == [scheduled, ready]
    assert (lab.places(scheduled), lab.places(ready)) == (["scheduled"], ["ready"])


def test_a_worker_that_lost_its_lease_may_finish_until_its_jobs_are_given_away(lab: Lab) -> None:
    (job,) = lab.begun("w1")
    lab.lose("w1")
    assert complete(lab, Finished(job)) == []
    assert lab.recover("w1") == (0, 0)
