"""`redjobs status | jobs list | jobs show | check`: what people and programs are told, and never told."""

from __future__ import annotations

import json

import msgpack
import pytest

from redjobs.access import Role
from redjobs.cli import check as check_module
from redjobs.jobs import JobError, State, append_error
from redjobs.keys import Keys, queues_key
from redjobs.settings import redact
from redjobs.snapshots import QueueStatus
from tests.cli import Cli
from tests.lua.seeds import DAY, HOUR, NAME, Lab
from tests.roles import as_role
from tests.servers import Server

pytestmark = pytest.mark.roles

#: Sets a terminal's title, rings, moves up a line and clears it, hides, writes from right to left.
ESCAPES = "\x1b]0;owned\x07\x1b[1A\x1b[2K\x1b[8m\x9b31m\u202eevil\x7f\r"
RAW = ("\x1b", "\x07", "\x9b", "\u202e", "\x7f", "\r")


@pytest.fixture
def lab(server: Server, keys: Keys) -> Lab:
    lab = Lab(server, keys)
    lab.redis.sadd(queues_key(keys.prefix), keys.queue)
    return lab


@pytest.fixture
def redjobs(server: Server, keys: Keys) -> Cli:
    return Cli(server, keys)


# status ------------------------------------------------------------------------------------------


def test_status_of_a_server_that_nobody_used(server: Server, keys: Keys) -> None:
    text = Cli(server, keys)("status").stdout
    assert "no queue yet" in text and str(server.socket) in text and keys.prefix in text
    assert Cli(server, keys).json("status") == {"queues": [], "workers": []}


def test_status_shows_queues_and_workers(redjobs: Cli, lab: Lab) -> None:
    lab.ready(2)
    lab.scheduled(1)
    lab.begun("web.17.VP7CA5UF", 3)
    lines = redjobs("status").stdout.splitlines()
    assert lines[0].split() == [
        "queue", "scheduled", "ready", "processing", "dead", "completed", "latency", "next",
    ]  # fmt: skip
    assert lines[1].split()[:6] == [lab.keys.queue, "1", "2", "3", "0", "0"]
    assert lines[3].split() == ["worker", "jobs", "lease", "queues"]
    assert lines[4].split()[:2] == ["web.17.VP7CA5UF", "3"]


def test_status_joins_the_names_that_one_process_has_on_its_queues(redjobs: Cli, lab: Lab) -> None:
    other = Lab(lab.server, Keys("other", lab.keys.prefix))
    lab.redis.sadd(queues_key(lab.keys.prefix), "other")
    lab.begun("web.17.aaaaaaaa", 1)
    other.begun("web.17.bbbbbbbb", 2)
    (line,) = [line for line in redjobs("status").stdout.splitlines() if line.startswith("web.17")]
    assert line.split()[:2] == ["web.17", "3"]
    assert "other" in line and lab.keys.queue in line


def test_status_keeps_processes_of_the_same_name_and_number_apart(redjobs: Cli, lab: Lab) -> None:
    """Each container counts its processes from 1, and may have been given the same --name."""
    lab.begun("web.7.aaaaaaaa", 1)
    lab.begun("web.7.bbbbbbbb", 2)
    lines = [line.split() for line in redjobs("status").stdout.splitlines() if line.startswith("web.7")]
    assert [(line[0], line[1], line[-1]) for line in lines] == [
        ("web.7.aaaaaaaa", "1", lab.keys.queue),
        ("web.7.bbbbbbbb", "2", lab.keys.queue),
    ]


@pytest.mark.parametrize("words", [("status",), ("jobs", "list", "--queue"), ("sweep",), ("clear",)])
def test_a_queue_that_nobody_has_used_is_doubted(redjobs: Cli, lab: Lab, words: tuple[str, ...]) -> None:
    lab.ready(1)
    near = lab.keys.queue + "s"
    assert f"{near!r} here yet: did you mean {lab.keys.queue}?" in redjobs(*words, near).stderr
    assert redjobs(*words, lab.keys.queue, code=None).stderr.count("warning") == 0


def test_status_of_named_queues_as_json(redjobs: Cli, lab: Lab) -> None:
    lab.due(3)
    told = redjobs.json("status", lab.keys.queue, "nobody")
    assert [(one["name"], one["due"], one["late"]) for one in told["queues"]] == [
        (lab.keys.queue, 3, 3),
        ("nobody", 0, 0),
    ]
    assert "late" in redjobs("status").stdout


# jobs list ---------------------------------------------------------------------------------------


def test_list_shows_every_state_that_holds_jobs(redjobs: Cli, lab: Lab) -> None:
    dead, ready, scheduled = lab.dead(1), lab.ready(1), lab.scheduled(1, key="mail:7")
    text = redjobs("jobs", "list").stdout
    for state, (job_id,) in (("dead", dead), ("ready", ready), ("scheduled", scheduled)):
        assert f"{state}: 1" in text
        assert job_id in text
    assert "completed" not in text
    assert "ValueError: no such user" in text
    assert "mail:7" in text


def test_list_says_where_the_next_page_begins(redjobs: Cli, lab: Lab) -> None:
    ids = lab.scheduled(5)
    first = redjobs("jobs", "list", "--limit", "2").stdout
    assert ids[1] in first and ids[2] not in first
    (more,) = [line for line in first.splitlines() if line.startswith("more: ")]
    second = redjobs(*more.removeprefix("more: redjobs ").split()).stdout
    assert ids[1] not in second and ids[2] in second and ids[3] in second


def test_list_by_state_and_name_as_json(redjobs: Cli, lab: Lab) -> None:
    first, second = lab.scheduled(2)
    lab.redis.hset(lab.keys.job(first), "name", "shop.video:encode")
    told = redjobs.json("jobs", "list", "--state", "scheduled", "--name", "shop.video:*")
    assert told["queue"] == lab.keys.queue
    (page,) = told["pages"]
    assert [job["id"] for job in page["jobs"]] == [first]
    assert (page["total"], page["scanned"], page["cursor"]) == (2, 2, None)
    assert second not in json.dumps(told)


def test_list_asks_which_queue_where_there_are_several(redjobs: Cli, lab: Lab) -> None:
    lab.redis.sadd(queues_key(lab.keys.prefix), "other")
    assert f"There are other, {lab.keys.queue}" in redjobs("jobs", "list", code=2).stderr
    redjobs("jobs", "list", "--queue", "other")


def test_a_cursor_needs_a_state(redjobs: Cli) -> None:
    assert "--state" in redjobs("jobs", "list", "--cursor", "5", code=2).stderr


# jobs show ---------------------------------------------------------------------------------------


def test_show_tells_the_times_the_attempts_and_the_errors(redjobs: Cli, lab: Lab) -> None:
    (job_id,) = lab.dead(1, max_attempts=3, timeout=30)
    trace = '  File "/app/shop/mail.py", line 7, in send\n    raise ValueError\n'
    errors = append_error(b"", JobError(1_700_000_000_000, 1, "ValueError: first", trace))
    errors = append_error(errors, JobError(1_700_000_060_000, 2, "ValueError: second", ""))
    lab.redis.hset(lab.keys.job(job_id), "errors", errors)
    text = redjobs("jobs", "show", job_id).stdout
    for wanted in (
        job_id,
        NAME,
        "dead",
        "1 of 3",
        "30.0 s",
        "error 1 of 2",
        "ValueError: second",
        "line 7, in send",
    ):
        assert wanted in text
    told = redjobs.json("jobs", "show", job_id)
    assert told["state"] == "dead"
    assert [error["error"] for error in told["errors"]] == ["ValueError: first", "ValueError: second"]


def test_show_finds_a_job_by_its_key(redjobs: Cli, lab: Lab) -> None:
    (job_id,) = lab.scheduled(1, key="reminder:7")
    assert redjobs.json("jobs", "show", "reminder:7")["id"] == job_id


@pytest.mark.row(35)
def test_a_job_of_a_newer_format_is_said_to_be_one(redjobs: Cli, lab: Lab) -> None:
    ids = [*lab.ready(), *lab.scheduled(), *lab.begun("w1"), *lab.dead(), *lab.completed()]
    for job_id in ids:
        assert "format" not in redjobs("jobs", "show", job_id).stdout
        lab.redis.hset(
            lab.keys.job(job_id), mapping={"format": 2, "result": lab.fields(job_id).get("args", b"")}
        )
        shown = redjobs("jobs", "show", job_id, "--show-args").stdout
        assert "2, newer than this redjobs, which knows 1" in shown
        assert "cannot be decoded here" in shown and "4711" not in shown
        assert redjobs.json("jobs", "show", job_id)["format"] == 2
    assert redjobs("jobs", "list").stdout.count("(format 2, not known here)") == len(ids)


def test_show_of_a_job_that_is_not_there(redjobs: Cli, lab: Lab) -> None:
    message = redjobs("jobs", "show", "nobody", code=1).stderr
    assert message.startswith("redjobs: no job 'nobody'") and message.count("\n") == 1
    assert lab.keys.queue in message
    assert redjobs("jobs", "show", "nobody", "--queue", "other", code=1).stderr.count("\n") == 1


@pytest.mark.parametrize("where", [(), ("--queue", "other")])
def test_what_is_no_text_names_no_job(redjobs: Cli, lab: Lab, where: tuple[str, ...]) -> None:
    word = b"r\xe9minder:7".decode(errors="surrogateescape")  # Latin-1 in a UTF-8 terminal
    assert "no job 'r\\udce9minder:7'" in redjobs("jobs", "show", word, *where, code=1).stderr
    for words in (("cancel",), ("retry",), ("delete", "--yes"), ("reschedule", "--in", "0")):
        assert "not found" in redjobs("jobs", *words, word, *where, code=1).stdout


def test_a_key_that_two_queues_hold_is_asked_about(redjobs: Cli, lab: Lab) -> None:
    other = Lab(lab.server, Keys("other", lab.keys.prefix))
    lab.redis.sadd(queues_key(lab.keys.prefix), "other")
    lab.scheduled(1, key="both")
    (wanted,) = other.scheduled(1, key="both")
    assert "say which with --queue" in redjobs("jobs", "show", "both", code=2).stderr
    assert redjobs.json("jobs", "show", "both", "--queue", "other")["id"] == wanted


# What nobody may be shown ------------------------------------------------------------------------


def test_arguments_and_results_are_shown_to_those_who_ask_only(redjobs: Cli, lab: Lab) -> None:
    (job_id,) = lab.scheduled(1)
    packed = msgpack.packb([["canary-1"], {"password": "canary-2"}])
    lab.redis.hset(lab.keys.job(job_id), "args", packed)
    for words in (
        ("jobs", "list"),
        ("jobs", "list", "--json"),
        ("jobs", "show", job_id),
        ("jobs", "show", job_id, "--json"),
        ("status", "--json"),
    ):
        assert "canary" not in redjobs(*words).output
    assert "--show-args" in redjobs("jobs", "show", job_id).stdout
    text = redjobs("jobs", "show", job_id, "--show-args").stdout
    assert "canary-1" in text and "canary-2" in text
    told = redjobs.json("jobs", "show", job_id, "--show-args")
    assert (told["args"], told["kwargs"]) == (["canary-1"], {"password": "canary-2"})


def test_arguments_that_cannot_be_decoded_here_do_not_hide_the_job(redjobs: Cli, lab: Lab) -> None:
    (job_id,) = lab.scheduled(1)
    lab.redis.hset(lab.keys.job(job_id), "args", b"\xc1")
    assert "cannot be decoded here" in redjobs("jobs", "show", job_id, "--show-args").stdout


@pytest.mark.unchecked("the strange ids that are listed here are none of redjobs'")
@pytest.mark.parametrize("place", ["name", "error", "traceback", "key", "worker", "id", "args"])
def test_nothing_from_redis_is_obeyed_by_a_terminal(redjobs: Cli, lab: Lab, place: str) -> None:
    (job_id,), queue = lab.dead(1, key="k"), lab.keys.queue
    fields = lab.keys.job(job_id)
    if place in ("error", "traceback"):
        told = {"error": "ValueError", "traceback": "  line 1\n"} | {place: ESCAPES}
        lab.redis.hset(fields, "errors", append_error(b"", JobError(1, 1, told["error"], told["traceback"])))
    elif place == "args":
        lab.redis.hset(fields, "args", msgpack.packb([[ESCAPES], {ESCAPES: 1}]))
    elif place == "id":
        lab.redis.rename(fields, lab.keys.job(ESCAPES))
        lab.redis.zadd(lab.keys.dead, {ESCAPES: 1})
    elif place == "worker":
        lab.redis.zadd(lab.keys.workers, {ESCAPES: lab.now_ms() + DAY})
    else:
        lab.redis.hset(fields, place, ESCAPES)
    said = redjobs("jobs", "list").output + redjobs("status").output
    said += redjobs("jobs", "list", "--json", "--queue", queue).output
    if place != "id":
        said += redjobs("jobs", "show", job_id, "--show-args").output
        said += redjobs("jobs", "show", job_id, "--show-args", "--json").output
    for raw in RAW:
        assert raw not in said, f"{raw!r} in {said!r}"
    assert "owned" in said


def test_the_names_that_a_person_typed_are_escaped_too(redjobs: Cli, lab: Lab) -> None:
    for words in (
        ("jobs", "show", ESCAPES),
        ("jobs", "cancel", ESCAPES),
        ("jobs", "list", "--queue", ESCAPES),
    ):
        result = redjobs(*words, code=2 if "list" in words else 1)
        assert not [raw for raw in RAW if raw in result.output]


# check -------------------------------------------------------------------------------------------


def test_check_is_silent_while_all_is_well(redjobs: Cli, lab: Lab) -> None:
    lab.scheduled(3)
    lab.ready(1)
    lab.worker()
    limits = ("--max-latency", "5m", "--max-late", "1", "--max-dead", "0", "--min-workers", "1")
    assert redjobs("check", *limits).output == ""
    assert redjobs.json("check", *limits) == {"ok": True, "violations": []}


def test_check_says_a_line_per_limit_that_is_violated(redjobs: Cli, lab: Lab) -> None:
    lab.dead(2)
    lab.due(3, ago_ms=HOUR)
    limits = ("--max-latency", "5m", "--max-late", "2", "--max-dead", "1", "--min-workers", "9")
    lines = redjobs("check", *limits, code=1).stdout.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(f"{lab.keys.queue}: a job has been due for 1h")
    assert lines[1:] == [
        f"{lab.keys.queue}: 3 late, at most 2",
        f"{lab.keys.queue}: 2 dead, at most 1",
        f"{lab.keys.queue}: 1 workers, at least 9",
    ]
    told = redjobs.json("check", *limits, code=1)
    assert not told["ok"]
    assert told["violations"][1] == {"queue": lab.keys.queue, "limit": "max_late", "allowed": 2, "found": 3}


def test_check_never_counts_what_is_planned_for_later(redjobs: Cli, lab: Lab) -> None:
    lab.scheduled(50)
    redjobs("check", "--max-late", "0", "--max-latency", "1ms")
    lab.due(1)
    redjobs("check", "--max-late", "0", code=1)


def test_check_looks_at_the_queues_that_are_named(redjobs: Cli, lab: Lab) -> None:
    lab.dead(1)
    redjobs("check", "--max-dead", "0", "other")
    redjobs("check", "--max-dead", "0", "other", lab.keys.queue, code=1)


def test_check_warns_of_a_queue_that_nobody_has_used(redjobs: Cli, lab: Lab) -> None:
    lab.dead(1)
    near = lab.keys.queue + "s"
    told = redjobs("check", "--max-dead", "0", near)
    assert told.stdout == ""
    assert f"{near!r} here yet: did you mean {lab.keys.queue}?" in told.stderr
    assert "no workers" in redjobs("check", "--max-dead", "0", "other").stderr
    assert redjobs("check", "--max-dead", "9", lab.keys.queue).stderr == ""


def test_check_doubts_a_server_that_knows_no_queue(server: Server, keys: Keys) -> None:
    redjobs = Cli(server, keys)
    url = redact(as_role(server.url, Role.ADMIN))
    where = f"no queue is known at {url} with the prefix {keys.prefix!r}"
    told = redjobs("check", "--max-dead", "0", "--min-workers", "0")
    assert (told.stdout, told.stderr) == ("", f"warning: {where}\n")
    assert json.loads(redjobs("check", "--max-dead", "0", "--json").stdout) == {"ok": True, "violations": []}
    told = redjobs("check", "--max-dead", "0", "--min-workers", "1", code=1)
    assert (told.stdout, told.stderr) == (f"{where}: 0 workers, at least 1\n", "")
    assert redjobs.json("check", "--min-workers", "1", code=1) == {
        "ok": False,
        "violations": [{"queue": "", "limit": "min_workers", "allowed": 1, "found": 0}],
    }


def test_check_needs_a_limit(redjobs: Cli) -> None:
    assert "--max-latency" in redjobs("check", code=2).stderr


@pytest.mark.parametrize(("latency", "lateness"), [(60_001, 0), (0, 60_001)])
def test_a_limit_is_what_is_still_allowed(latency: int, lateness: int) -> None:
    def status(latency_ms: int, lateness_ms: int) -> QueueStatus:
        return QueueStatus("q", 0, 0, 5, 0, 7, 0, 0, latency_ms, lateness_ms, None, 2, {})

    assert (
        check_module.violations(status(60_000, 60_000), max_latency=60, max_late=5, max_dead=7, min_workers=2)
        == []
    )
    assert len(check_module.violations(status(latency, lateness), max_latency=60)) == 1


def test_every_state_can_be_listed(redjobs: Cli, lab: Lab) -> None:
    lab.begun("w1", 1)
    lab.taken("w1", 1)
    for state in State:
        redjobs("jobs", "list", "--state", state.value)
    assert "not yet" in redjobs("jobs", "list", "--state", "processing").stdout
