"""begin: a job that was taken is started, fenced by a token, and comes back whole."""

from __future__ import annotations

import pytest

from redjobs import commands
from redjobs.commands import Begun
from redjobs.ids import new_id
from tests.lua.seeds import ARGS, ERRORS, NAME, Lab

pytestmark = pytest.mark.fakeredis


def begin(lab: Lab, ids: list[str], token: str = "t1", worker: str = "w1", solo: int = 0) -> Begun:
    return lab.run(commands.begin(lab.keys, worker, token, ids, solo))


def test_a_job_comes_back_whole(lab: Lab) -> None:
    (job,) = lab.taken("w1", key="invoice", max_attempts=3, timeout=30)
    before = lab.now_ms()
    (claim,) = begin(lab, [job]).claims
    assert (claim.id, claim.queue, claim.worker, claim.token) == (job, lab.keys.queue, "w1", "t1")
    assert (claim.name, claim.payload, claim.key) == (NAME, ARGS, "invoice")
    assert (claim.attempt, claim.crashes, claim.errors) == (1, 0, b"")
    assert claim.options == lab.fields(job)["options"]
    assert claim.enqueued_at_ms == claim.run_at_ms == lab.number(job, "enqueued_at")
    assert before <= claim.started_at_ms <= lab.now_ms()
    assert claim.started_at_ms == lab.number(job, "started_at")
    assert lab.processing("w1") == [job]


def test_a_job_that_was_scheduled_knows_its_time(lab: Lab) -> None:
    (job,) = lab.due()
    lab.take("w1")
    (claim,) = begin(lab, [job]).claims
    assert claim.run_at_ms == lab.number(job, "run_at") < claim.enqueued_at_ms


def test_each_claim_counts_an_attempt(lab: Lab) -> None:
    (job,) = lab.begun("w1")
    lab.run(commands.retry(lab.keys, lab.claim(job), 0, ERRORS))
    lab.take("w1")
    (claim,) = begin(lab, [job], "t2").claims
    assert (claim.attempt, claim.token, claim.errors) == (2, "t2", ERRORS)


def test_a_batch_comes_back_in_its_order(lab: Lab) -> None:
    ids = lab.taken("w1", 30)
    assert [claim.id for claim in begin(lab, ids).claims] == ids


def test_what_was_taken_earlier_may_be_begun_later(lab: Lab) -> None:
    ids = lab.taken("w1", 30)
    begun = begin(lab, [ids[-1], ids[0], ids[15]])
    assert [claim.id for claim in begun.claims] == [ids[-1], ids[0], ids[15]]
    assert begun.strange == []


def test_a_worker_without_a_lease_starts_nothing(lab: Lab) -> None:
    (job,) = lab.taken("w1")
    lab.lose("w1")
    assert begin(lab, [job]).lapsed
    assert "token" not in lab.fields(job)


def test_a_job_that_somebody_recovered_is_strange(lab: Lab) -> None:
    gone, kept = lab.taken("w1", 2)
    lab.redis.lmove(lab.keys.processing("w1"), lab.keys.ready, "RIGHT", "RIGHT")
    begun = begin(lab, [gone, kept])
    assert begun.strange == [gone]
    assert [claim.id for claim in begun.claims] == [kept]
    assert "token" not in lab.fields(gone)


def test_what_another_worker_has_stays_its_own(lab: Lab) -> None:
    (job,) = lab.begun("w1", token="t1")
    lab.worker("w2")
    assert begin(lab, [job], "t2", "w2").strange == [job]
    assert lab.claim(job).token == "t1"


def test_a_job_that_is_begun_already_is_not_begun_anew(lab: Lab) -> None:
    (job,) = lab.begun("w1", token="t1")
    begun = begin(lab, [job], "t2")
    assert (begun.strange, begun.claims) == ([job], [])
    assert (lab.claim(job).token, lab.number(job, "attempt")) == ("t1", 1)


def test_an_id_without_a_job_is_dropped(lab: Lab) -> None:
    (job,) = lab.taken("w1")
    ghost = new_id()
    lab.redis.lpush(lab.keys.processing("w1"), ghost)
    begun = begin(lab, [ghost, job])
    assert begun.missing == [ghost]
    assert [claim.id for claim in begun.claims] == [job]
    assert lab.processing("w1") == [job]


def test_an_id_that_is_named_twice_is_started_once(lab: Lab) -> None:
    (job,) = lab.taken("w1")
    begun = begin(lab, [job, job])
    assert len(begun.claims) == 1
    assert lab.number(job, "attempt") == 1


@pytest.fixture
def suspect(lab: Lab) -> str:
    """A job that was running when its worker crashed, the first in its list again."""
    (job,) = lab.begun("crashed")
    lab.lose("crashed")
    lab.recover("crashed")
    return job


def test_who_has_crashed_too_often_waits_to_be_begun_alone(lab: Lab, suspect: str) -> None:
    first, last = lab.ready(2)
    lab.take("w1")
    begun = begin(lab, [first, suspect, last], solo=1)
    assert [claim.id for claim in begun.claims] == [first, last]
    assert begun.wait == [suspect]
    assert lab.processing("w1") == [suspect, first, last]
    (claim,) = begin(lab, [suspect]).claims
    assert claim.crashes == 1


def test_who_may_crash_once_more_does_not_wait(lab: Lab, suspect: str) -> None:
    (other,) = lab.ready()
    begun = begin(lab, lab.take("w1"), solo=2)
    assert [claim.id for claim in begun.claims] == [suspect, other]
    assert begun.wait == []


def test_a_count_of_crashes_that_is_no_number_stops_nobody(lab: Lab, suspect: str) -> None:
    lab.redis.hset(lab.keys.job(suspect), "crashes", "many")
    (claim,) = begin(lab, lab.take("w1"), solo=1).claims
    assert (claim.id, claim.crashes) == (suspect, 0)
