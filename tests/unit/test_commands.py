"""What each command sends, and how each word of its reply is read; without a server."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import chain
from typing import Any

import msgpack
import pytest

from redjobs import commands, flows
from redjobs.commands import (
    BATCH,
    SCRIPTS,
    Command,
    Duplicate,
    Finished,
    Swept,
    Taken,
)
from redjobs.ids import new_id
from redjobs.jobs import Claim, Job, JobOptions, NewJob, State, Verdict, make_options, pack_options
from redjobs.keys import BELL, Keys

KEYS = Keys("mail", "shop")
NOW = 1_700_000_000_000
PLAIN, URGENT, LATE = new_id(), new_id(-10), new_id(5)
W = "web-1.7.abcdefgh"


def sends(command: Command[Any], script: str, keys: list[str], args: list[Any]) -> None:
    assert (command.script.name, list(command.keys), list(command.args)) == (script, keys, args)


def words_of(script: str) -> set[str]:
    """The words that the header of a script says it may answer."""
    (reply,) = re.findall(r"^-- REPLY   (.*)$", SCRIPTS[script].text, re.MULTILINE)
    listed = re.search(r"words: (.*)$", reply) or re.search(r"^word +(.*)$", reply)
    assert listed, f"{script} answers no words: {reply}"
    plain, *explained = re.sub(r"\(.*?\)", "", listed[1]).split(";")
    return {
        *plain.split(),
        *(each.split(":")[0].strip() for each in explained if re.match(r" [a-z]+:", each)),
    }


def new(job_id: str = PLAIN, run_at: str = "", **options: Any) -> NewJob:
    return NewJob(job_id, "shop.mail:send", b"\x92\x91\x07\x80", make_options(**options), run_at)


def claim(job_id: str = PLAIN, key: str | None = None) -> Claim:
    return Claim(
        id=job_id,
        queue="mail",
        worker=W,
        token="t1",
        name="shop.mail:send",
        payload=b"",
        attempt=1,
        crashes=0,
        enqueued_at_ms=NOW,
        run_at_ms=NOW,
        started_at_ms=NOW,
        options=b"",
        errors=b"",
        key=key,
        format=1,
    )


# enqueue --------------------------------------------------------------------------------------


def test_enqueue_sends_seven_fields_per_job_and_the_keys_that_it_needs() -> None:
    options = {"key": "reminder:7", "priority": -10, "max_attempts": 3}
    sends(
        commands.enqueue(KEYS, [new(), new(URGENT, "+5000", **options)], stale="gone"),
        "enqueue",
        [
            KEYS.scheduled,
            KEYS.ready,
            KEYS.levels,
            KEYS.stats,
            KEYS.job(PLAIN),
            KEYS.job(URGENT),
            KEYS.unique("reminder:7"),
            KEYS.list_of(-10),
        ],
        [
            BELL,
            "gone",
            *(PLAIN, "", 0, "", "shop.mail:send", b"\x92\x91\x07\x80", b""),
            *(URGENT, "+5000", -10, "reminder:7", "shop.mail:send", b"\x92\x91\x07\x80"),
            pack_options(make_options(max_attempts=3)),
        ],
    )


@pytest.mark.parametrize(
    ("run_at", "word", "state", "run_at_ms"),
    [
        ("", b"ready", State.READY, NOW),
        ("+5000", b"scheduled", State.SCHEDULED, NOW + 5000),
        ("+0", b"ready", State.READY, NOW),
        (str(NOW + 9), b"scheduled", State.SCHEDULED, NOW + 9),
        (str(NOW - 9), b"ready", State.READY, NOW),
        ("", b"exists", State.READY, NOW),
        ("+5000", b"exists", State.SCHEDULED, NOW + 5000),
    ],
)
def test_enqueue_answers_with_the_job_as_the_server_has_it(
    run_at: str, word: bytes, state: State, run_at_ms: int
) -> None:
    wanted = new(run_at=run_at, timeout=3)
    (job,) = commands.enqueue(KEYS, [wanted]).parse([NOW, [word], []])
    assert job == Job(
        id=PLAIN,
        queue="mail",
        name="shop.mail:send",
        state=state,
        enqueued_at_ms=NOW,
        run_at_ms=run_at_ms,
        options=make_options(timeout=3),
        payload=b"\x92\x91\x07\x80",
    )


def test_enqueue_names_the_holders_of_the_keys_that_were_taken() -> None:
    jobs = [new(new_id(), key=key) for key in ("a", "b", "c")]
    reply = [NOW, [b"duplicate", b"ready", b"duplicate"], [1, b"first", 3, b"third"]]
    one, two, three = commands.enqueue(KEYS, jobs).parse(reply)
    assert (one, three) == (Duplicate("first"), Duplicate("third"))
    assert isinstance(two, Job) and two.id == jobs[1].id


def test_enqueue_knows_all_words() -> None:
    assert words_of("enqueue") == {"ready", "scheduled", "exists", "duplicate"}


# take and begin -------------------------------------------------------------------------------


def test_take_declares_the_lists_of_the_priorities_that_it_names() -> None:
    sends(
        commands.take(KEYS, W, 3, [5, -10]),
        "take",
        [
            KEYS.processing(W),
            KEYS.workers,
            KEYS.scheduled,
            KEYS.ready,
            KEYS.levels,
            KEYS.list_of(5),
            KEYS.list_of(-10),
        ],
        [W, 3, BATCH, BELL, "", "", 5, -10],
    )


def test_take_is_bounded_and_keeps_to_the_priorities_it_may_take() -> None:
    assert commands.take(KEYS, W, 10**6, []).args[1] == BATCH
    assert commands.take(KEYS, W, 1, [], (-5, 0)).args[4:6] == (-5, 0)
    assert commands.take(KEYS, W, 1, [], (None, 0)).args[4:6] == ("", 0)


def test_take_reads_what_was_moved_and_what_is_left() -> None:
    parse = commands.take(KEYS, W, 3, []).parse
    assert parse([b"taken", 1_500_250, 7, [b"5", b"-10"], [PLAIN.encode()], 2]) == Taken(
        lapsed=False, ids=[PLAIN], next_ms=1500.25, more=7, missing=[5, -10], promoted=2
    )
    assert parse([b"taken", 0, 0, [], [], 500]).next_ms == 0, "the next is due already"
    assert parse([b"lapsed", -1, 0, [], [], 0]) == Taken(True, [], None, 0, [], 0)
    assert words_of("take") == {"taken", "lapsed"}


def test_begin_sends_one_hash_per_id() -> None:
    sends(
        commands.begin(KEYS, W, "t1", [PLAIN, LATE]),
        "begin",
        [KEYS.processing(W), KEYS.workers, KEYS.job(PLAIN), KEYS.job(LATE)],
        [W, "t1", 0, PLAIN, LATE],
    )


def test_begin_reads_whole_jobs_and_tells_apart_why_others_did_not_start() -> None:
    ids = [new_id() for _ in range(4)]
    entry = [b"name", b"shop.mail:send", b"enqueued_at", b"%d" % (NOW - 5), b"attempt", b"1"]
    reply = [b"begun", NOW, [entry, b"missing", b"strange", b"wait"]]
    begun = commands.begin(KEYS, W, "t1", ids).parse(reply)
    assert not begun.lapsed
    assert begun.claims == [replace(claim(ids[0]), enqueued_at_ms=NOW - 5, run_at_ms=NOW - 5)]
    assert (begun.missing, begun.strange, begun.wait) == ([ids[1]], [ids[2]], [ids[3]])
    assert commands.begin(KEYS, W, "t1", ids).parse([b"lapsed", NOW, []]).lapsed


@pytest.mark.parametrize("attempt", [b"1", b"none"])
def test_begin_reads_the_fields_of_a_job_in_any_order(attempt: bytes) -> None:
    pairs = [(b"name", b"a:b\xff"), (b"enqueued_at", b"5"), (b"args", b"\x92\x90\x80"), (b"attempt", attempt)]
    (usual,), (other,) = (
        commands.begin(KEYS, W, "t1", [PLAIN]).parse([b"begun", NOW, [[*chain.from_iterable(some)]]]).claims
        for some in (pairs, pairs[::-1])
    )
    assert usual == other
    assert (usual.name, usual.payload, usual.attempt) == ("a:b\ufffd", b"\x92\x90\x80", 1)
    assert (usual.enqueued_at_ms, usual.run_at_ms, usual.started_at_ms) == (5, 5, NOW)


def test_begin_reads_every_field_of_a_job() -> None:
    raw = {
        "name": b"shop.mail:send",
        "args": b"\x92\x91\x07\x80",
        "enqueued_at": b"1",
        "run_at": b"2",
        "attempt": b"3",
        "crashes": b"4",
        "options": b"\x80",
        "errors": b"\x90",
        "key": b"reminder:7",
        "format": b"9",
        "worker": b"another",
        "token": b"t0",
        "colour": b"red",
    }
    entry = [part for name, value in raw.items() for part in (name.encode(), value)]
    (found,) = commands.begin(KEYS, W, "t1", [PLAIN]).parse([b"begun", NOW, [entry]]).claims
    assert found == Claim(
        id=PLAIN,
        queue="mail",
        worker=W,
        token="t1",
        name="shop.mail:send",
        payload=b"\x92\x91\x07\x80",
        attempt=3,
        crashes=4,
        enqueued_at_ms=1,
        run_at_ms=2,
        started_at_ms=NOW,
        options=b"\x80",
        errors=b"\x90",
        key="reminder:7",
        format=9,
    )


# The ends of a claim --------------------------------------------------------------------------


def test_complete_says_more_only_of_jobs_with_a_key_or_a_result() -> None:
    jobs = [
        Finished("a"),
        Finished("b", key="k1"),
        Finished("c", result_ttl_ms=60_000, result=b"\x07"),
        Finished("d", key="k2", result_ttl_ms=5, result=b"\xc0"),
    ]
    command = commands.complete(KEYS, W, "t1", jobs)
    sends(
        command,
        "complete",
        [
            KEYS.processing(W),
            KEYS.completed,
            KEYS.stats,
            *map(KEYS.job, "abcd"),
            KEYS.unique("k1"),
            KEYS.unique("k2"),
        ],
        ["t1", 4, "a", "b", "c", "d", *(2, 1, 0, b""), *(3, 0, 60_000, b"\x07"), *(4, 2, 5, b"\xc0")],
    )
    assert command.parse([]) == []
    assert command.parse([b"b", b"d"]) == ["b", "d"]


def test_retry_says_when_and_whether_the_attempt_counts() -> None:
    command = commands.retry(KEYS, claim(), 5000, b"\x90", refund=True)
    sends(
        command,
        "retry",
        [
            *(KEYS.processing(W), KEYS.job(PLAIN), KEYS.scheduled, KEYS.ready, KEYS.stats),
            *(KEYS.unique(""), KEYS.cancels),
        ],
        [PLAIN, "t1", 5000, b"\x90", 1, BELL, 1],
    )
    assert commands.retry(KEYS, claim(), 5000).args == (PLAIN, "t1", 5000, b"", 0, BELL, 1)
    assert commands.retry(KEYS, claim(), 5000, ended=False).args[-1] == 0
    assert commands.retry(KEYS, claim(key="mine"), 5000).keys[5] == KEYS.unique("mine")
    assert words_of("retry") == {"scheduled", "discarded", "lost"}
    assert [command.parse([word, NOW]) for word in (b"scheduled", b"lost")] == ["scheduled", "lost"]


@pytest.mark.parametrize("key", [None, "reminder:7"])
def test_bury_and_discard_free_the_unique_key(key: str | None) -> None:
    unique = KEYS.unique(key or "")
    buried = commands.bury(KEYS, claim(key=key), b"\x90")
    sends(
        buried,
        "bury",
        [KEYS.processing(W), KEYS.job(PLAIN), KEYS.dead, unique, KEYS.stats, KEYS.cancels],
        [PLAIN, "t1", b"\x90"],
    )
    discarded = commands.discard(KEYS, claim(key=key))
    sends(
        discarded,
        "discard",
        [KEYS.processing(W), KEYS.job(PLAIN), unique, KEYS.cancels, KEYS.stats],
        [PLAIN, "t1"],
    )
    for command in (buried, discarded):
        assert {command.parse(word.encode()) for word in words_of(command.script.name)} in (
            {"dead", "discarded", "lost"},
            {"discarded", "lost"},
        )


def test_release_is_one_command_per_priority_in_the_order_of_the_ids() -> None:
    other = new_id(5)
    ordinary, late = commands.release(KEYS, W, "t1", [PLAIN, LATE, other])
    sends(
        late,
        "release",
        [
            KEYS.processing(W),
            KEYS.list_of(5),
            KEYS.ready,
            KEYS.levels,
            KEYS.stats,
            KEYS.job(LATE),
            KEYS.job(other),
        ],
        ["t1", 5, BELL, LATE, other],
    )
    assert ordinary.args == ("t1", 0, BELL, PLAIN)
    assert ordinary.keys[1] == KEYS.ready
    assert late.parse(2) == 2
    assert commands.release(KEYS, W, "", []) == []


# Leases and maintenance -----------------------------------------------------------------------


def test_heartbeat_answers_who_still_has_a_lease() -> None:
    command = commands.heartbeat(KEYS, ["a", "b"], 15_000)
    sends(command, "heartbeat", [KEYS.workers], [15_000, 0, "a", "b"])
    assert commands.heartbeat(KEYS, ["a"], 15_000, register=True).args == (15_000, 1, "a")
    assert command.parse([NOW, [b"alive", b"lapsed"]]) == [True, False]
    assert words_of("heartbeat") == {"alive", "lapsed"}


@pytest.mark.parametrize(("clean", "flag"), [(True, 1), (False, 0)])
def test_retire_says_whether_a_call_may_be_under_way(clean: bool, flag: int) -> None:
    command = commands.retire(KEYS, W, clean=clean)
    sends(command, "retire", [KEYS.workers, KEYS.retired, KEYS.processing(W)], [W, flag, BELL])
    assert [command.parse(word) for word in (b"left", b"stranded")] == ["left", "stranded"]
    assert words_of("retire") == {"left", "stranded"}


def test_sweep_names_what_needs_maintenance() -> None:
    command = commands.sweep(KEYS, dead_age_ms=1000, dead_max=7, limit=50, asked_ms=9)
    sends(
        command,
        "sweep",
        [KEYS.workers, KEYS.retired, KEYS.completed, KEYS.dead],
        [50, 1000, 7, 9, 1000],
    )
    assert command.parse([10, 2, 1, [b"w"], [b"c"], [b"d"]]) == Swept(10, 2, 1, ["w"], ["c"], ["d"])


def test_stranded_looks_into_the_lists_of_retired_workers() -> None:
    command = commands.stranded(KEYS, ["a", "b"], keep_ms=1000, limit=5)
    sends(
        command,
        "stranded",
        [KEYS.retired, KEYS.processing("a"), KEYS.processing("b")],
        [5, 1000, "a", "b"],
    )
    assert command.parse([[b"x", b"y"], []]) == [["x", "y"], []]


def test_a_worker_reads_its_own_list_in_the_same_way() -> None:
    command = commands.listed(KEYS, W)
    assert command.script.name == "stranded"
    assert command.keys == (KEYS.retired, KEYS.processing(W))
    assert command.parse([[b"x", b"y"]]) == ["x", "y"]


def test_recover_charges_those_it_is_told_to() -> None:
    ids = [PLAIN, LATE, other := new_id()]
    ordinary, late = commands.recover(
        KEYS, W, ids, charge=lambda job_id: job_id == other, errors=lambda job_id: job_id[-1].encode()
    )
    sends(
        ordinary,
        "recover",
        [
            KEYS.processing(W),
            KEYS.retired,
            KEYS.ready,
            KEYS.ready,
            KEYS.levels,
            KEYS.stats,
            KEYS.job(PLAIN),
            KEYS.job(other),
        ],
        [W, 0, BELL, PLAIN, 0, PLAIN[-1].encode(), other, 1, other[-1].encode()],
    )
    assert late.keys[2] == KEYS.list_of(5)
    assert ordinary.parse([2, 1]) == (2, 1)
    (default,) = commands.recover(KEYS, W, [PLAIN])
    assert default.args == (W, 0, BELL, PLAIN, 1, b""), "by default all are charged, and histories stay"


def test_cancels_are_the_wishes_of_one_day() -> None:
    command = commands.cancels(KEYS, [PLAIN])
    sends(command, "cancels", [KEYS.cancels], [86_400_000, PLAIN])
    assert command.parse([b"a", b"b"]) == ["a", "b"]


# One job --------------------------------------------------------------------------------------


def test_cancel_looks_where_the_job_may_stand() -> None:
    sends(
        commands.cancel(KEYS, LATE, "reminder:7"),
        "cancel",
        [
            KEYS.job(LATE),
            KEYS.scheduled,
            KEYS.list_of(5),
            KEYS.unique("reminder:7"),
            KEYS.dead,
            KEYS.completed,
            KEYS.stats,
            KEYS.cancels,
        ],
        [LATE, "reminder:7", 1],
    )


def test_reschedule_looks_where_the_job_may_stand() -> None:
    command = commands.reschedule(KEYS, LATE, "+5000")
    sends(
        command,
        "reschedule",
        [KEYS.job(LATE), KEYS.scheduled, KEYS.list_of(5), KEYS.ready, KEYS.dead, KEYS.completed],
        [LATE, "+5000", BELL],
    )
    assert command.parse([b"rescheduled", NOW]) == ("rescheduled", NOW)


def test_requeue_knows_the_list_that_the_job_goes_to() -> None:
    sends(
        commands.requeue(KEYS, LATE, "reminder:7"),
        "requeue",
        [
            KEYS.job(LATE),
            KEYS.dead,
            KEYS.list_of(5),
            KEYS.ready,
            KEYS.levels,
            KEYS.unique("reminder:7"),
            KEYS.stats,
        ],
        [LATE, "reminder:7", 5, BELL],
    )


@pytest.mark.parametrize("make", [commands.cancel, commands.requeue])
def test_words_come_with_a_text(make: Any) -> None:
    assert make(KEYS, PLAIN).parse([b"keyed", b"reminder:7"]) == ("keyed", "reminder:7")


@pytest.mark.parametrize(
    ("script", "done"),
    [("cancel", "cancelled"), ("reschedule", "rescheduled"), ("requeue", "ready")],
)
def test_every_word_about_one_job_has_a_verdict(script: str, done: str) -> None:
    words = words_of(script) - {"keyed"}  # the flow answers that one itself
    verdicts = {word: flows._VERDICTS[word] for word in words}
    assert [word for word in words if verdicts[word]] == [done]
    assert verdicts["missing"] is Verdict.NOT_FOUND


def test_delete_is_told_the_place() -> None:
    command = commands.delete(KEYS, KEYS.dead, ["a", "b"])
    sends(command, "delete", [KEYS.dead, KEYS.job("a"), KEYS.job("b")], ["a", "b"])
    assert command.parse(1) == 1


def test_peek_reads_a_job_and_where_it_is() -> None:
    command = commands.peek(KEYS, PLAIN)
    sends(command, "peek", [KEYS.job(PLAIN), KEYS.scheduled, KEYS.dead, KEYS.completed], [PLAIN])
    entry = [b"name", b"shop.mail:send", b"enqueued_at", b"%d" % NOW]
    job = command.parse([b"scheduled", NOW + 5, entry])
    assert job == Job(PLAIN, "mail", "shop.mail:send", State.SCHEDULED, NOW, NOW + 5)
    assert command.parse([b"missing", 0, []]) is None


def test_every_word_of_peek_is_a_state_or_missing() -> None:
    assert words_of("peek") - {"missing"} == {state.value for state in State}


def test_fields_are_read_like_peek() -> None:
    command = commands.fields(KEYS, PLAIN)
    assert (command.script.name, command.keys) == ("peek", commands.peek(KEYS, PLAIN).keys)
    assert command.parse([b"ready", 0, [b"name", b"x"]]) == {b"name": b"x"}
    assert command.parse([b"missing", 0, []]) == {}


def test_a_claim_can_be_read_from_the_hash_of_a_running_job() -> None:
    raw = {b"name": b"shop.mail:send", b"token": b"t1", b"started_at": b"%d" % NOW, b"attempt": b"1"}
    found = commands.claim_from_fields(PLAIN, "mail", W, raw)
    assert found == claim()


def test_holder_answers_an_id_or_nothing() -> None:
    command = commands.holder(KEYS, "reminder:7")
    sends(command, "holder", [KEYS.unique("reminder:7")], [])
    assert command.parse(PLAIN.encode()) == PLAIN
    assert command.parse(b"") == ""


# All of them ----------------------------------------------------------------------------------


def test_everything_sent_is_bytes_text_or_an_integer() -> None:
    # Booleans and floats look alike to people, and not to Lua.
    sent: list[Command[Any]] = [
        commands.enqueue(KEYS, [new(URGENT, "+5", key="a", priority=-10)]),
        commands.take(KEYS, W, 3, [5], (1, 2)),
        commands.begin(KEYS, W, "t1", [PLAIN]),
        commands.complete(KEYS, W, "t1", [Finished("a", "k", 5, msgpack.packb(1))]),
        commands.retry(KEYS, claim(), 5, refund=True),
        commands.heartbeat(KEYS, [W], 5, register=True),
        commands.retire(KEYS, W, clean=True),
        *commands.recover(KEYS, W, [PLAIN]),
    ]
    for command in sent:
        assert {type(arg) for arg in command.args} <= {bytes, str, int}, command.script.name


def test_a_script_is_known_by_the_hash_of_its_text() -> None:
    shas = {script.sha for script in SCRIPTS.values()}
    assert len(shas) == len(SCRIPTS)
    assert all(script.name == name and len(script.sha) == 40 for name, script in SCRIPTS.items())


def test_options_that_say_nothing_cost_nothing() -> None:
    command = commands.enqueue(KEYS, [new()])
    assert command.args[-1] == b"" == pack_options(JobOptions())
