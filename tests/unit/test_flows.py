"""Operations that take more than one command, fed with replies by hand."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from redjobs import flows
from redjobs.commands import BATCH, PROMPT_MS, Command
from redjobs.errors import JobNotFound, RedjobsError
from redjobs.flows import Flow
from redjobs.ids import new_id
from redjobs.jobs import NewJob, State, Verdict, make_options
from redjobs.keys import Keys
from redjobs.shards import Shards
from redjobs.sweeper import sweep_once

KEYS = Keys("mail")
WHOLE = Shards("mail")
NOW = 1_700_000_000_000
HASH = [b"name", b"shop.mail:send", b"enqueued_at", b"%d" % NOW]
MISSING = [b"missing", 0, []]


def pump(flow: Flow[Any], *replies: Any) -> tuple[Any, list[str]]:
    """Answer each command with the next raw reply; the flow's result, and the scripts it asked for."""
    asked: list[str] = []
    answer: Any = None
    waiting = list(replies)
    try:
        while True:
            command = flow.send(answer)
            asked.append(command.script.name)
            reply = waiting.pop(0)
            answer = command.parse(reply(command) if callable(reply) else reply)
    except StopIteration as stop:
        assert not waiting, f"not asked for: {waiting}"
        return stop.value, asked


def new(**options: Any) -> NewJob:
    return NewJob(new_id(), "shop.mail:send", b"", make_options(**options), "")


# enqueue --------------------------------------------------------------------------------------


def all_ready(command: Command[Any]) -> list[Any]:
    count = (len(command.args) - 2) // 7
    return [NOW, [b"ready"] * count, []]


def test_many_jobs_go_in_calls_of_a_bounded_size() -> None:
    wanted = [new() for _ in range(2 * BATCH + 1)]
    made = list(flows.batches(WHOLE, wanted))
    assert [len(batch.jobs) for batch in made] == [BATCH, BATCH, 1]
    assert [job for batch in made for job in batch.jobs] == wanted


def test_many_large_jobs_go_in_smaller_calls() -> None:
    wanted = [replace(new(), payload=bytes(size)) for size in (400_000, 400_000, 400_000, 3_000_000, 1, 1)]
    made = list(flows.batches(WHOLE, wanted))
    assert [[len(job.payload) for job in batch.jobs] for batch in made] == [
        [400_000, 400_000],
        [400_000],
        [3_000_000],
        [1, 1],
    ]
    assert [place for batch in made for place in batch.places] == list(range(6))


def test_each_job_keeps_its_place_whatever_part_it_goes_to() -> None:
    wanted = [new() for _ in range(3 * BATCH)]
    made = list(flows.batches(Shards("mail", count=2), wanted))
    assert all(len(batch.jobs) <= BATCH for batch in made)
    assert {batch.keys.queue for batch in made} == {"mail/0", "mail/1"}
    places = {place: job for batch in made for place, job in zip(batch.places, batch.jobs, strict=True)}
    assert [places[place] for place in range(len(wanted))] == wanted


def test_no_jobs_cost_nothing() -> None:
    assert list(flows.batches(WHOLE, [])) == []


def test_jobs_are_made_as_they_are_sent() -> None:
    # Ten million calls of a generator must not be in memory at once.
    made = 0

    def endless() -> Any:
        nonlocal made
        while True:
            made += 1
            yield new()

    next(flows.batches(WHOLE, endless()))
    assert made == BATCH


def test_the_job_that_holds_the_key_is_what_a_second_enqueue_gets() -> None:
    holder = new_id()
    found, asked = pump(flows.existing(KEYS, new(key="a"), holder), [b"scheduled", NOW + 5, HASH])
    assert asked == ["peek"]
    assert (found.id, found.created, found.state) == (holder, False, State.SCHEDULED)


def test_a_holder_that_has_just_completed_makes_room() -> None:
    wanted = new(key="a")

    def again(command: Command[Any]) -> Any:
        assert command.args[1] == "gone-by-now", "the stale holder is named, in case its key was left behind"
        return [NOW, [b"ready"], []]

    job, asked = pump(flows.existing(KEYS, wanted, "gone-by-now"), MISSING, again)
    assert asked == ["peek", "enqueue"]
    assert (job.id, job.created) == (wanted.id, True)


def test_a_key_that_changes_hands_all_the_time_ends_in_an_error_that_names_it() -> None:
    taken = [NOW, [b"duplicate"], [1, b"another"]]
    with pytest.raises(RedjobsError, match="'a' of queue 'mail' changes hands too quickly"):
        pump(flows.existing(KEYS, new(key="a"), "another"), *[MISSING, taken] * 10)


# By id or by key ------------------------------------------------------------------------------

ID = new_id()


def test_an_id_is_looked_up_as_an_id() -> None:
    job, asked = pump(flows.get(KEYS, ID), [b"ready", 0, HASH])
    assert (job.id, asked) == (ID, ["peek"])


def test_a_key_is_looked_up_as_a_key() -> None:
    job, asked = pump(flows.get(KEYS, "reminder:7"), ID.encode(), [b"ready", 0, HASH])
    assert (job.id, asked) == (ID, ["holder", "peek"])


def test_a_key_that_looks_like_an_id_is_found_all_the_same() -> None:
    looks_like_one = new_id()
    job, asked = pump(flows.get(KEYS, looks_like_one), MISSING, ID.encode(), [b"ready", 0, HASH])
    assert (job.id, asked) == (ID, ["peek", "holder", "peek"])


@pytest.mark.parametrize("replies", [[b""], [ID.encode(), MISSING]], ids=["nobody", "just over"])
def test_nothing_under_this_name_says_where_it_may_be(replies: list[Any]) -> None:
    with pytest.raises(
        JobNotFound, match="no job 'reminder:7' in queue 'mail': it has completed, was deleted"
    ):
        pump(flows.get(KEYS, "reminder:7"), *replies)


def test_cancel_declares_the_key_that_the_job_turns_out_to_hold() -> None:
    def with_key(command: Command[Any]) -> Any:
        assert command.args == (ID, "reminder:7", 1)
        assert KEYS.unique("reminder:7") in command.keys
        return [b"cancelled", b""]

    assert pump(flows.cancel(KEYS, ID), [b"keyed", b"reminder:7"], with_key) == (
        Verdict.CANCELLED,
        ["cancel", "cancel"],
    )


def test_cancel_by_key_declares_it_at_once() -> None:
    def with_key(command: Command[Any]) -> Any:
        assert command.args == (ID, "reminder:7", 1)
        return [b"cancelled", b""]

    verdict, asked = pump(flows.cancel(KEYS, "reminder:7"), ID.encode(), with_key)
    assert (verdict, asked) == (Verdict.CANCELLED, ["holder", "cancel"])


def test_reschedule_by_key() -> None:
    verdict, asked = pump(flows.reschedule(KEYS, "reminder:7", "+5"), ID.encode(), [b"rescheduled", NOW])
    assert (verdict, asked) == (Verdict.RESCHEDULED, ["holder", "reschedule"])


@pytest.mark.parametrize(
    "operation",
    [flows.cancel, lambda keys, name: flows.reschedule(keys, name, "")],
    ids=["cancel", "reschedule"],
)
@pytest.mark.parametrize("name", [ID, "reminder:7"], ids=["an id", "a key"])
def test_what_is_nowhere_is_not_found(operation: Callable[..., Flow[Verdict]], name: str) -> None:
    replies = [[b"missing", b"0"], b""] if name == ID else [b""]
    assert pump(operation(KEYS, name), *replies)[0] is Verdict.NOT_FOUND


# Dead and completed jobs ----------------------------------------------------------------------


def test_requeue_declares_the_key_that_the_job_turns_out_to_hold() -> None:
    verdict, asked = pump(flows.requeue(KEYS, ID), [b"keyed", b"reminder:7"], [b"ready", b""])
    assert (verdict, asked) == (Verdict.REQUEUED, ["requeue", "requeue"])


def test_requeue_leaves_the_key_to_whom_it_belongs_now() -> None:
    verdict, _ = pump(flows.requeue(KEYS, ID), [b"keyed", b"reminder:7"], [b"duplicate", b"another"])
    assert verdict is Verdict.DUPLICATE and not verdict


@pytest.mark.parametrize("operation", [flows.requeue, flows.delete])
@pytest.mark.parametrize("text", ["", "reminder:7", "a.b", "x.9999999999999999999", "z" * 20 + ".9" * 9])
def test_what_is_no_id_is_not_found_and_not_asked_for(
    operation: Callable[[Keys, str], Flow[Verdict]], text: str
) -> None:
    assert pump(operation(KEYS, text)) == (Verdict.NOT_FOUND, [])


@pytest.mark.parametrize(
    ("replies", "verdict"),
    [
        ([1], Verdict.DELETED),
        ([0, 1], Verdict.DELETED),
        ([0, 0, MISSING], Verdict.NOT_FOUND),
        ([0, 0, [b"processing", 0, HASH]], Verdict.RUNNING),
        ([0, 0, [b"ready", 0, HASH]], Verdict.WAITING),
        ([0, 0, [b"scheduled", NOW, HASH]], Verdict.WAITING),
    ],
)
def test_delete_looks_among_the_dead_and_the_completed(replies: list[Any], verdict: Verdict) -> None:
    assert pump(flows.delete(KEYS, ID), *replies)[0] is verdict


# sweep ----------------------------------------------------------------------------------------


def _is_late(_command: Command[Any]) -> list[Any]:
    return [NOW, 0, 1, [], [], []]


def _is_retired(command: Command[Any]) -> list[Any]:
    assert NOW in command.args, "the server's own time"
    return [NOW, 1, 0, [b"w1"], [], []]


NOTHING_DUE = [b"promoted", -1, 0, [], [], 0]


def test_whose_lease_has_run_out_is_retired_by_a_call_that_the_server_has_timed() -> None:
    result, asked = pump(sweep_once(KEYS), _is_late, _is_retired, [[]], NOTHING_DUE)
    assert asked == ["sweep", "sweep", "stranded", "take"]
    assert result.retired == 1


def test_of_a_server_that_stood_still_nobody_is_retired(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its workers' heartbeats may lie behind that call, or come in a moment."""
    clock = itertools.count(step=PROMPT_MS / 1000)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    result, asked = pump(sweep_once(KEYS), _is_late, NOTHING_DUE)
    assert asked == ["sweep", "take"]
    assert (result.retired, result.late) == (0, 1)
