"""Two versions of redjobs share a queue: processes of the other one are this one with more to say."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgpack
import pytest

from redjobs import Queue, State
from redjobs.version import __version__
from tests.servers import Server
from tests.waiting import wait_until
from tests.worker.conftest import Start, is_gone
from tests.worker.handlers import record
from tests.worker.processes import ROOT
from tests.worker.runs import Runs

pytestmark = pytest.mark.row(35)

SUPERVISORS_VERSION = ("redjobs.worker.brood.__version__", "redjobs.worker.forks.__version__")


@pytest.fixture
def server(valkey: Server) -> Server:
    return valkey


#: A producer of a newer version: its jobs have a field, an option and a format that are not known here.
NEWER_PRODUCER = """
import hashlib
import sys
import msgpack
from redjobs import Queue
from redjobs.commands import SCRIPTS, queues
from redjobs.lua import Script
from tests.worker import handlers

url, format_, name, *args = sys.argv[1:]
old = SCRIPTS["enqueue"]
stores = "redis.call('HSET', job.key, unpack(fields))"
assert stores in old.text
more = f"redis.call('HSET', job.key, 'colour', 'blue', 'format', {format_})"
text = old.text.replace(stores, f"{stores} {more}")
SCRIPTS["enqueue"] = Script("enqueue", text, hashlib.sha1(text.encode()).hexdigest())
pack = queues.pack_options


def pack_more(options):
    packed = pack(options)
    return msgpack.packb({**(msgpack.unpackb(packed) if packed else {}), "shade": "dark"})


queues.pack_options = pack_more
queue = Queue(url=url)
job = queue.options(max_attempts=2, backoff=0).enqueue(getattr(handlers, name), *map(eval, args))
print(job.id)
"""


def enqueue_newer(server: Server, format_: int, name: str, *args: object) -> str:
    """A process of the newer version enqueues a job. Returns its id."""
    words = [sys.executable, "-c", NEWER_PRODUCER, server.url, str(format_), name, *map(repr, args)]
    told = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT, timeout=30)
    return told.stdout.strip()


def fields(queue: Queue, job_id: str) -> tuple[Any, Any]:
    """What the newer version has stored beside what is known here."""
    raw: Any = queue.redis.hgetall(queue.keys.job(job_id))
    options = msgpack.unpackb(raw.get(b"options", b"\x80"))
    return raw.get(b"colour"), options.get("shade")


def test_what_a_newer_producer_says_beside_the_rest_outlives_retry_and_requeue(
    server: Server, queue: Queue, worker: Start, runs: Runs
) -> None:
    process = worker()
    job_id = enqueue_newer(server, 1, "fail")
    # It fails, is tried again, and is dead.
    wait_until(lambda: queue.get(job_id).state is State.DEAD, 20, "it is dead")
    assert queue.get(job_id).attempt == 2
    assert fields(queue, job_id) == (b"blue", "dark")
    queue.requeue(job_id)
    wait_until(lambda: queue.get(job_id).state is State.DEAD, 20, "it is dead again")
    assert fields(queue, job_id) == (b"blue", "dark")
    assert process.stop() == 0


def test_a_newer_format_is_left_to_a_newer_worker_and_told_of(
    server: Server, queue: Queue, worker: Start, runs: Runs
) -> None:
    old = worker()
    job_id = enqueue_newer(server, 2, "record", "newer")
    old.says("UnknownFormat", job_id)
    left = queue.get(job_id)
    assert (left.state, left.attempt) == (State.SCHEDULED, 0)
    assert "UnknownFormat: the job is of format 2, this worker knows 1" in left.errors[-1].error
    assert fields(queue, job_id) == (b"blue", "dark")
    queue.enqueue(record, "older")  # and the others run on
    runs.wait("end", "older")
    assert old.stop() == 0

    newer = worker(constants={"redjobs.worker.work.KNOWN_FORMAT": 2})
    queue.reschedule(job_id, 0)
    (line,) = runs.wait("end", "newer")
    assert line.attempt == 1
    wait_until(lambda: is_gone(queue, job_id))
    queue.enqueue(record, "older still")  # what an old producer writes, a newer worker runs, too
    runs.wait("end", "older still")
    assert newer.stop() == 0


@pytest.mark.parametrize("preload", [False, True])
def test_a_supervisor_has_no_children_of_another_version(worker: Start, preload: bool) -> None:
    """As where the package was replaced below it: its next child is of the new one."""
    said = dict.fromkeys(SUPERVISORS_VERSION, "0.0.9")
    process = worker(fresh=True, processes=1, preload=preload, constants=said)
    process.says(f"redjobs {__version__} is installed by now, and this worker is 0.0.9: restart it")
    assert process.wait() == 2
