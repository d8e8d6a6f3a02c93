"""Calls that share a round trip: which go as one, and which reply is whose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from redjobs import commands
from redjobs.commands import BATCH, Duplicate, Round
from redjobs.ids import new_id
from redjobs.jobs import Job, NewJob, make_options
from redjobs.keys import Keys

KEYS, OTHER = Keys("mail"), Keys("news")
NOW = 1_700_000_000_000
WAIT = ("WAIT", 1, 1000)


def new(**options: Any) -> NewJob:
    made = make_options(**options)
    return NewJob(new_id(made.priority or 0), "shop.mail:send", b"args", made, "")


def test_new_jobs_of_one_queue_are_one_call_as_if_one_caller_had_sent_them() -> None:
    jobs = [new(), new(key="a", priority=3), new()]
    together = Round([commands.enqueue(KEYS, [job]).words for job in jobs])
    assert together.words == [commands.enqueue(KEYS, jobs).words]


def test_each_hears_of_its_own_job() -> None:
    jobs = [new(), new(key="a"), new()]
    wanted = [commands.enqueue(KEYS, [job]) for job in jobs]
    together = Round([command.words for command in wanted])
    assert not together.read([[NOW, [b"ready", b"duplicate", b"ready"], [2, b"holder"]]])
    found = [command.parse(answer)[0] for command, answer in zip(wanted, together.answers, strict=True)]
    assert found[1] == Duplicate("holder")
    assert [job.id for job in found if isinstance(job, Job)] == [jobs[0].id, jobs[2].id]


def test_other_calls_and_other_queues_keep_to_themselves() -> None:
    calls = [
        commands.enqueue(KEYS, [new()]).words,
        commands.peek(KEYS, new_id()).words,
        commands.enqueue(OTHER, [new()]).words,
        commands.enqueue(KEYS, [new(), new()]).words,
        commands.enqueue(KEYS, [new(key="a")], stale="gone").words,
        commands.enqueue(KEYS, [new()]).whole,
        ("SADD", "redjobs:queues", "mail"),
    ]
    assert Round(calls).words == calls


def test_no_call_holds_the_server_for_long() -> None:
    calls = [commands.enqueue(KEYS, [new()]).words for _ in range(BATCH + 1)]
    assert [call[2] for call in Round(calls).words] == [4 + BATCH, 5]


def test_large_arguments_go_in_calls_of_a_megabyte() -> None:
    payloads = [b"x" * size for size in (600_000, 400_000, 1, 3_000_000, 2)]
    calls = [commands.enqueue(KEYS, [replace(new(), payload=payload)]).words for payload in payloads]
    assert [call[2] - 4 for call in Round(calls).words] == [2, 1, 1, 1]


def test_what_is_refused_together_is_asked_for_again_one_by_one() -> None:
    calls = [commands.enqueue(KEYS, [new()]).words, ("PING",), commands.enqueue(KEYS, [new()]).words]
    together = Round(calls)
    assert together.read([ValueError("WRONGTYPE"), b"PONG"]) == [0, 2]
    assert Round(calls, alone=True).words == calls


def test_one_wait_at_the_end_speaks_for_all() -> None:
    one, other = (commands.enqueue(KEYS, [new()]).words for _ in range(2))
    together = Round([one, WAIT, other, WAIT])
    assert together.words[1:] == [WAIT]
    assert not together.read([[NOW, [b"ready", b"ready"], []], 1])
    assert together.answers[1] == together.answers[3] == 1
    assert together.read([ValueError("OOM"), 1]) == [0, 2, 1, 3], "and again for those that are sent again"
