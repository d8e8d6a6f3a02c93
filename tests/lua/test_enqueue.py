"""enqueue: a job that was accepted is there once, where it belongs."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from redjobs import commands
from redjobs.commands import BATCH, Duplicate
from redjobs.jobs import Job, NewJob, State
from redjobs.keys import BELL
from tests.lua.seeds import ARGS, DAY, HOUR, NAME, Lab

pytestmark = pytest.mark.fakeredis


def enqueue_one(lab: Lab, job: NewJob, stale: str = "") -> Job | Duplicate:
    (reply,) = lab.run(commands.enqueue(lab.keys, [job], stale))
    return reply


def test_a_job_for_now_is_ready(lab: Lab) -> None:
    job = lab.new()
    reply = enqueue_one(lab, job)
    assert isinstance(reply, Job)
    assert (reply.id, reply.state, reply.created) == (job.id, State.READY, True)
    assert lab.waiting() == [job.id]
    fields = lab.fields(job.id)
    assert fields == {
        "name": NAME.encode(),
        "args": ARGS,
        "enqueued_at": str(reply.enqueued_at_ms).encode(),
    }


def test_a_job_for_later_is_scheduled_by_the_servers_clock(lab: Lab) -> None:
    before = lab.now_ms()
    reply = enqueue_one(lab, job := lab.new(f"+{HOUR}"))
    assert isinstance(reply, Job)
    assert reply.state is State.SCHEDULED
    assert before + HOUR <= reply.run_at_ms <= lab.now_ms() + HOUR
    assert lab.run_at(job.id) == lab.number(job.id, "run_at") == reply.run_at_ms


def test_a_moment_is_kept_to_the_millisecond(lab: Lab) -> None:
    moment = lab.now_ms() + 30 * DAY + 123
    reply = enqueue_one(lab, job := lab.new(str(moment)))
    assert isinstance(reply, Job)
    assert reply.run_at_ms == lab.run_at(job.id) == moment


@pytest.mark.parametrize("run_at", ["+0", "1", "-5"])
def test_a_moment_that_is_over_means_now(lab: Lab, run_at: str) -> None:
    reply = enqueue_one(lab, job := lab.new(run_at))
    assert isinstance(reply, Job)
    assert reply.state is State.READY
    assert lab.waiting() == [job.id]


@pytest.mark.row(28)
@pytest.mark.parametrize("wrong_by_s", [86_400, -86_400])
def test_the_clients_clock_does_not_matter(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, wrong_by_s: int
) -> None:
    if not lab.server.real:
        pytest.skip("fakeredis has no clock but ours")
    real_time = time.time
    before = lab.now_ms()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: real_time() + wrong_by_s)
        now, later = enqueue_one(lab, lab.new()), enqueue_one(lab, lab.new("+60000"))
    assert isinstance(now, Job)
    assert isinstance(later, Job)
    assert now.state is State.READY
    assert before <= now.enqueued_at_ms <= lab.now_ms()
    assert before + 60_000 <= later.run_at_ms <= lab.now_ms() + 60_000


@pytest.mark.parametrize("priority", [-1, 1, 10**15, -(10**15)])
def test_another_priority_has_a_list_of_its_own(lab: Lab, priority: int) -> None:
    (job,) = lab.ready(priority=priority)
    assert lab.waiting(priority) == [job]
    assert lab.waiting(0) == ["!"]
    assert lab.levels() == [priority]


def test_jobs_of_one_call_keep_their_order(lab: Lab) -> None:
    ids = lab.ready(50)
    assert lab.waiting() == ids
    assert lab.take("w1", 50) == ids


def test_a_mixed_batch_goes_where_each_job_belongs(lab: Lab) -> None:
    now, low, later = lab.new(), lab.new(priority=5), lab.new("+1000", key="invoice")
    replies = lab.run(commands.enqueue(lab.keys, [later, low, now]))
    assert [reply.state for reply in replies if isinstance(reply, Job)] == [
        State.SCHEDULED,
        State.READY,
        State.READY,
    ]
    assert lab.waiting() == [now.id, BELL]  # whom the first one wakes is busy with it
    assert lab.waiting(5) == [low.id]
    assert lab.holder("invoice") == later.id
    assert lab.run_at(later.id) is not None
    assert lab.count("enqueued") == 3


def test_a_full_batch_fits_into_one_call(lab: Lab) -> None:
    at_once = [lab.new(key=f"k{i}", priority=1 + i % 3) for i in range(BATCH // 2)]
    later = [lab.new(f"+{HOUR}", max_attempts=3) for _ in range(BATCH // 2)]
    lab.enqueue(*at_once, *later)
    assert sum(len(lab.waiting(priority)) for priority in (1, 2, 3)) == len(at_once)
    assert lab.redis.zcard(lab.keys.scheduled) == len(later)


@pytest.mark.row(12)
@pytest.mark.parametrize("run_at", ["", f"+{HOUR}"])
@pytest.mark.parametrize("key", [None, "invoice"])
def test_sent_twice_it_is_one_job(lab: Lab, run_at: str, key: str | None) -> None:
    job = lab.new(run_at, key=key)
    first, second = enqueue_one(lab, job), enqueue_one(lab, job)
    assert isinstance(first, Job)
    assert isinstance(second, Job)
    assert (second.id, second.state, second.created) == (job.id, first.state, True)
    assert len(lab.places(job.id)) == 1
    assert lab.count("enqueued") == 1


@pytest.mark.row(12)
def test_sent_again_it_changes_nothing_while_the_job_runs(lab: Lab) -> None:
    job = lab.new()
    lab.enqueue(job)
    lab.run(commands.begin(lab.keys, "w1", "t1", lab.take("w1")))
    before = lab.fields(job.id)
    enqueue_one(lab, job)
    assert lab.fields(job.id) == before
    assert lab.places(job.id) == ["processing"]


def test_a_unique_key_that_is_held_answers_with_its_holder(lab: Lab) -> None:
    (first,) = lab.scheduled(key="invoice")
    reply = enqueue_one(lab, second := lab.new(key="invoice"))
    assert reply == Duplicate(first)
    assert lab.fields(second.id) == {}
    assert lab.holder("invoice") == first
    assert lab.count("enqueued") == 1


def test_one_batch_may_not_use_a_key_twice(lab: Lab) -> None:
    first, second, other = lab.new(key="invoice"), lab.new(key="invoice"), lab.new(key="letter")
    replies = lab.run(commands.enqueue(lab.keys, [first, second, other]))
    assert replies[1] == Duplicate(first.id)
    assert lab.waiting() == [first.id, other.id]


def test_a_key_whose_holder_is_gone_is_taken_over(lab: Lab) -> None:
    (gone,) = lab.ready(key="invoice")
    lab.redis.delete(lab.keys.job(gone), lab.keys.ready)  # a person deleted it by hand
    job = lab.new(key="invoice")
    assert enqueue_one(lab, job) == Duplicate(gone)
    assert isinstance(enqueue_one(lab, job, stale=gone), Job)
    assert lab.holder("invoice") == job.id


def test_a_wrong_guess_about_the_holder_takes_nothing_over(lab: Lab) -> None:
    (holder,) = lab.ready(key="invoice")
    assert enqueue_one(lab, lab.new(key="invoice"), stale="somebody-else") == Duplicate(holder)


def test_the_same_id_in_another_queue_is_another_job(lab: Lab) -> None:
    job = lab.new()
    other = Lab(lab.server, type(lab.keys)("elsewhere", lab.keys.prefix))
    lab.enqueue(job)
    other.enqueue(replace(job, run_at=f"+{HOUR}"))
    assert lab.places(job.id) == ["ready"]
    assert other.places(job.id) == ["scheduled"]
