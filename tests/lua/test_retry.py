"""retry: a job that failed runs again later; snooze gives its attempt back."""

from __future__ import annotations

import pytest

from redjobs import commands
from tests.lua.seeds import ERRORS, HOUR, Lab

pytestmark = pytest.mark.fakeredis


def test_a_failed_job_waits_for_its_next_attempt(lab: Lab) -> None:
    (job,) = lab.begun("w1", key="invoice")
    before = lab.now_ms()
    assert lab.run(commands.retry(lab.keys, lab.claim(job), HOUR, ERRORS)) == "scheduled"
    assert lab.places(job) == ["scheduled"]
    run_at = lab.run_at(job)
    assert run_at is not None
    assert before + HOUR <= run_at <= lab.now_ms() + HOUR
    assert lab.number(job, "run_at") == run_at
    assert (lab.number(job, "attempt"), lab.fields(job)["errors"]) == (1, ERRORS)
    assert lab.holder("invoice") == job
    assert lab.count("retried") == 1


def test_without_a_text_the_error_history_stays(lab: Lab) -> None:
    (job,) = lab.begun("w1")
    lab.run(commands.retry(lab.keys, lab.claim(job), 0, ERRORS))
    lab.take("w1")
    lab.run(commands.begin(lab.keys, "w1", "t2", [job]))
    lab.run(commands.retry(lab.keys, lab.claim(job), HOUR))
    assert lab.fields(job)["errors"] == ERRORS


def test_without_a_delay_it_is_due_at_once_behind_what_is_ready(lab: Lab) -> None:
    (job,) = lab.begun("w1")
    (waiting,) = lab.ready()
    lab.run(commands.retry(lab.keys, lab.claim(job), 0, ERRORS))
    assert lab.take("w1") == [waiting, job]


def test_a_snooze_does_not_count(lab: Lab) -> None:
    (job,) = lab.begun("w1")
    assert lab.run(commands.retry(lab.keys, lab.claim(job), HOUR, refund=True)) == "scheduled"
    assert lab.number(job, "attempt") == 0
    assert (lab.count("snoozed"), lab.count("retried")) == (1, 0)


@pytest.mark.parametrize("refund", [False, True])
def test_one_that_was_cancelled_while_it_ran_is_forgotten_and_not_planned_again(
    lab: Lab, refund: bool
) -> None:
    (job,) = lab.begun("w1", key="invoice")
    lab.run(commands.cancel(lab.keys, job, "invoice"))
    claim = lab.claim(job)
    assert lab.run(commands.retry(lab.keys, claim, HOUR, ERRORS, refund=refund)) == "discarded"
    assert lab.places(job) == []
    assert lab.fields(job) == {}
    assert lab.holder("invoice") is None
    assert lab.wishes() == []
    assert (lab.count("cancelled"), lab.count("retried"), lab.count("snoozed")) == (1, 0, 0)
    assert lab.run(commands.retry(lab.keys, claim, HOUR, ERRORS, refund=refund)) == "lost"


@pytest.mark.parametrize(("refund", "ended"), [(False, True), (True, True), (True, False)])
def test_who_ends_without_a_crash_is_no_suspect_any_more(lab: Lab, refund: bool, ended: bool) -> None:
    """A worker that only does not know its handler has not seen it come to an end."""
    (job,) = lab.begun("w1")
    lab.lose("w1")
    lab.recover("w1")
    assert lab.number(job, "crashes") == 1
    lab.take("w2")
    lab.run(commands.begin(lab.keys, "w2", "t2", [job]))
    lab.run(commands.retry(lab.keys, lab.claim(job), HOUR, ERRORS, refund=refund, ended=ended))
    assert lab.number(job, "crashes") == (0 if ended else 1)


@pytest.mark.row(31)
@pytest.mark.parametrize("refund", [False, True])
def test_a_stale_worker_retries_nothing(lab: Lab, refund: bool) -> None:
    (job,) = lab.begun("w1", token="old")
    stale = lab.claim(job)
    lab.lose("w1")
    lab.recover("w1")
    lab.take("w2")
    lab.run(commands.begin(lab.keys, "w2", "new", [job]))
    before = lab.fields(job)
    assert lab.run(commands.retry(lab.keys, stale, 0, ERRORS, refund=refund)) == "lost"
    assert lab.fields(job) == before
    assert lab.places(job) == ["processing"]


@pytest.mark.row(31)
@pytest.mark.parametrize("refund", [False, True])
def test_retried_twice_it_is_retried_once(lab: Lab, refund: bool) -> None:
    (job,) = lab.begun("w1")
    claim = lab.claim(job)
    lab.run(commands.retry(lab.keys, claim, HOUR, ERRORS, refund=refund))
    before = lab.fields(job)
    assert lab.run(commands.retry(lab.keys, claim, 0, ERRORS, refund=refund)) == "lost"
    assert lab.fields(job) == before
