"""What a worker does not run: names that nobody gave it, payloads that it cannot read, newer formats.

Whoever can write to Redis can write such jobs, so they are written here by hand.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

import msgpack
import pytest

from redjobs import Queue, State, commands
from redjobs.ids import new_id
from redjobs.jobs import JobOptions, NewJob
from tests.worker import handlers
from tests.worker.conftest import Burst, Start
from tests.worker.runs import Runs

pytestmark = pytest.mark.timeout(30, method="thread")

NO_ARGUMENTS = b""
ONE_ARGUMENT = bytes(msgpack.packb([["touch /tmp/owned"], {}]))


def write_job(queue: Queue, name: str, payload: bytes = NO_ARGUMENTS, fields: Any = None) -> str:
    """A job as somebody else may have written it, ready to be taken."""
    job = NewJob(new_id(), name, payload, JobOptions(), "")
    command = commands.enqueue(queue.keys, [job])
    queue.redis.eval(command.script.text, len(command.keys), *command.keys, *command.args)
    if fields:
        queue.redis.hset(queue.keys.job(job.id), mapping=fields)
    return job.id


@pytest.mark.row(32)
@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "os.system",
        "builtins:eval",
        "subprocess:run",
        "this:main",
        "tests.worker.handlers:os.system",
        "tests.worker.handlers:note.__globals__",
        "tests.worker.handlers:<lambda>",
        "tests.worker.handlers:Path",
        "tests.worker.handlers:_kept",
        "tests.worker.test_refusals:write_job",
        "tests.worker.handlers",
        ":record",
        "record",
        "",
        "\x00\xff",
        "tests.worker.handlers:record\n",
        "a" * 10_000,
    ],
)
def test_a_name_that_nobody_gave_the_worker_is_not_run_and_nothing_is_imported(
    queue: Queue, burst: Burst, runs: Runs, name: str
) -> None:
    burst()
    before = set(sys.modules)
    job_id = write_job(queue, name, ONE_ARGUMENT)
    queue.enqueue(handlers.record, "after")
    burst()
    assert set(sys.modules) == before
    assert runs.texts() == ["after"]
    found = queue.get(job_id)
    assert (found.state, found.attempt) == (State.SCHEDULED, 0)
    assert "UnknownHandler" in found.errors[-1].error


@pytest.mark.row(32)
def test_a_module_that_is_not_loaded_stays_so(queue: Queue, worker: Start, runs: Runs) -> None:
    """In a process of its own, where this test has not imported anything."""
    job_id = write_job(queue, "antigravity:fly")
    queue.enqueue(handlers.modules_loaded, ["antigravity", "webbrowser", "tests.worker.handlers"])
    assert worker(processes=1, burst=True).wait() == 0
    assert runs.texts() == ["tests.worker.handlers"]
    assert queue.get(job_id).state is State.SCHEDULED


@pytest.mark.row(32, 35)
def test_an_unknown_job_is_kept_and_run_by_a_worker_that_knows_it(
    queue: Queue, worker: Start, burst: Burst, runs: Runs
) -> None:
    job = queue.enqueue(handlers.record)
    assert worker(processes=0, burst=True, apps=()).wait() == 0
    waits = queue.get(job.id)
    assert (waits.state, waits.attempt) == (State.SCHEDULED, 0)
    assert 0 < waits.run_at.timestamp() - time.time() <= 30
    queue.reschedule(job.id, timedelta(0))
    burst()
    assert [(line.job_id, line.attempt) for line in runs.lines("end")] == [(job.id, 1)]


@pytest.mark.row(32)
def test_however_often_a_job_is_not_known_it_loses_no_attempt(queue: Queue, burst: Burst) -> None:
    job_id = write_job(queue, "shop.jobs:not_deployed_yet")
    for _ in range(30):
        burst()
        queue.reschedule(job_id, timedelta(0))
    found = queue.get(job_id)
    assert found.attempt == 0
    assert len(found.errors) == 1


@pytest.mark.row(32)
@pytest.mark.parametrize(
    "payload",
    [
        b"\xc1",
        b"not msgpack at all",
        msgpack.packb([["one", "argument", "too many"], {}]),
        msgpack.packb([[], {"unknown": 1}]),
        msgpack.packb([1, 2, 3, 4]),
        msgpack.packb({"args": []}),
        msgpack.packb([[msgpack.ExtType(99, b"?")], {}]),
        b"\x91" * 5_000 + b"\xc0",
        msgpack.packb([["x" * 300_000], {}]),
        b"\xdd\xff\xff\xff\xff",
    ],
    ids=lambda payload: f"{payload[:8].hex()}-{len(payload)}",
)
def test_a_payload_that_cannot_be_read_makes_the_job_dead_and_not_the_worker(
    queue: Queue, burst: Burst, runs: Runs, payload: bytes
) -> None:
    job_id = write_job(queue, "tests.worker.handlers:record", payload)
    queue.enqueue(handlers.record, "after")
    burst()
    found = queue.get(job_id)
    assert (found.state, found.attempt) == (State.DEAD, 1)
    assert "PayloadError" in found.errors[-1].error
    assert runs.texts() == ["after"]


@pytest.mark.row(32)
@pytest.mark.parametrize("options", [b"\xc1", msgpack.packb([]), msgpack.packb({"timeout": "never"})])
def test_so_do_options_that_cannot_be_read(queue: Queue, burst: Burst, runs: Runs, options: bytes) -> None:
    job_id = write_job(queue, "tests.worker.handlers:record", fields={"options": options})
    queue.enqueue(handlers.record, "after")
    burst()
    assert queue.get(job_id).state is State.DEAD
    assert runs.texts() == ["after"]


@pytest.mark.row(32)
def test_a_history_of_errors_that_cannot_be_read_does_not_matter(
    queue: Queue, burst: Burst, runs: Runs
) -> None:
    job_id = write_job(queue, "tests.worker.handlers:fail", fields={"errors": b"\xc1 garbage"})
    burst()
    assert [error.error for error in queue.get(job_id).errors] == ["ValueError: no such user"]


@pytest.mark.row(32, 35)
def test_a_job_of_a_newer_format_is_left_to_newer_workers(queue: Queue, burst: Burst, runs: Runs) -> None:
    payload = b"only the future can read this"
    job_id = write_job(queue, "tests.worker.handlers:record", payload, {"format": 2, "colour": "blue"})
    burst()
    found = queue.get(job_id)
    assert (found.state, found.attempt, found.payload) == (State.SCHEDULED, 0, payload)
    assert "UnknownFormat" in found.errors[-1].error
    assert queue.redis.hget(queue.keys.job(job_id), "colour") == b"blue"
    assert runs.lines() == []


@pytest.mark.row(35)
def test_a_job_of_a_newer_format_is_not_quarantined_by_an_older_worker(queue: Queue, burst: Burst) -> None:
    fields = {"format": 2, "crashes": 3, "errors": b"\xc1 in another form"}
    job_id = write_job(queue, "shop.jobs:not_here", fields=fields)
    burst()
    assert queue.get(job_id).state is State.SCHEDULED
    assert queue.redis.hmget(queue.keys.job(job_id), "crashes", "errors") == [b"3", fields["errors"]]


@pytest.mark.row(25)
def test_an_id_without_a_job_is_dropped(queue: Queue, burst: Burst, runs: Runs) -> None:
    queue.redis.lpush(queue.keys.ready, new_id())
    queue.redis.zadd(queue.keys.scheduled, {new_id(): 1})
    queue.enqueue(handlers.record, "after")
    burst()
    assert runs.texts() == ["after"]
    assert queue.redis.llen(queue.keys.ready) == 0


NOT_ASCII = pytest.param(
    "\xff.7", marks=pytest.mark.unchecked("nobody can name it again, so it stays in the list of its worker")
)


@pytest.mark.row(32)
@pytest.mark.parametrize("junk", ["", "!", "no id", "x" * 500, "V.99", NOT_ASCII, "a:b{c}"])
def test_what_is_no_id_is_dropped_too(queue: Queue, burst: Burst, runs: Runs, junk: str) -> None:
    queue.redis.lpush(queue.keys.ready, junk)
    queue.enqueue(handlers.record, "after")
    burst()
    assert runs.texts() == ["after"]


@pytest.mark.row(32)
@pytest.mark.parametrize("field", ["enqueued_at", "run_at", "attempt", "crashes", "format"])
def test_a_number_that_is_none_does_not_stop_the_worker(
    queue: Queue, burst: Burst, runs: Runs, field: str
) -> None:
    job_id = write_job(queue, "tests.worker.handlers:record", fields={field: "soon"})
    queue.enqueue(handlers.record, "after")
    burst()
    assert runs.texts()[-1] == "after"
    assert queue.redis.exists(queue.keys.job(job_id)) == 0
