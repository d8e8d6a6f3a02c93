"""What a version has written this one reads, runs and ends; and it does not write otherwise unnoticed."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import pytest

from redjobs import Queue, State
from redjobs.keys import Keys
from redjobs.registry import registry
from tests.cli import Cli
from tests.observed import observed
from tests.servers import Server
from tests.worker.conftest import Burst
from tests.worker.golden import jobs
from tests.worker.golden.data import files, listing, load, now_ms, reading, text_of
from tests.worker.golden.write import written
from tests.worker.runs import Runs

pytestmark = pytest.mark.row(35)

_MONTH_MS = 30 * 86_400_000

CHANGED = """
What this code writes into Redis, or how it reads it, is not what {} says. Workers and programs of that
version may be at work on the same queue. Do they ignore what is new, and hand it on?
 - They do (a field more in a hash, an option more, a counter more): `python -m tests.worker.golden.write`,
   and look at the diff.
 - They do not (another form of arguments or options, a new type of value): let `enqueue` write the field
   `format`, one higher, into such jobs; raise KNOWN_FORMAT; go on reading the old ones. Then write it anew.
The file of a version that was released stays: raise the version, and the command writes another file.
More in docs/versions.md.
"""


@pytest.fixture
def server(valkey: Server) -> Server:
    return valkey


@pytest.fixture(params=files(), ids=lambda path: path.stem)
def golden(request: pytest.FixtureRequest) -> Any:
    """Each of the files. Who reads it has the jobs' module imported, as a worker has with `--app`."""
    registry.add_module(jobs)
    path: Path = request.param
    return json.loads(path.read_text())


@pytest.fixture
def sharded(server: Server) -> Queue:
    return observed(server, "sharded", shards=2)


def test_what_is_written_is_what_the_newest_file_says(server: Server) -> None:
    newest = files()[-1]
    was, is_ = newest.read_text(), text_of(written(server))
    diff = [*difflib.unified_diff(was.splitlines(), is_.splitlines(), newest.name, "now", n=4, lineterm="")]
    if diff:
        pytest.fail("\n".join([CHANGED.format(newest.name), *diff]), pytrace=False)


def test_every_job_is_read_as_it_was(server: Server, queue: Queue, sharded: Queue, golden: Any) -> None:
    load(server.client(), golden["keys"], now_ms(server.client()))
    for job_id, was in golden["reads"].items():
        found = reading(sharded if was["queue"] != "default" else queue, job_id)
        # What later versions tell beside that is their business.
        assert {name: found[name] for name in was} == was


def test_every_job_is_listed_and_shown(server: Server, golden: Any) -> None:
    load(server.client(), golden["keys"], now_ms(server.client()))
    assert listing(server.client()) == golden["listed"]
    cli = Cli(server, Keys("default"))
    for name, states in golden["listed"].items():
        pages = cli.json("jobs", "list", "--queue", name)["pages"]
        assert {page["state"]: [job["id"] for job in page["jobs"]] for page in pages} == states
    for job_id, was in golden["reads"].items():
        assert was["name"] in cli("jobs", "show", job_id, "--show-args").output


def test_every_job_is_run_to_its_end(
    server: Server, queue: Queue, burst: Burst, runs: Runs, golden: Any
) -> None:
    client, keys = server.client(), golden["keys"]
    load(client, keys, now_ms(client) - _MONTH_MS)  # all is due by now, and its workers are long gone
    assert all(map(queue.requeue, golden["listed"]["default"]["dead"]))
    held = [job_id for name in keys if ":processing:" in name for job_id in keys[name]["list"]]
    assert queue.sweep().recovered == len(held)
    assert burst(queues=("*",)) == 0
    ended = [line.job_id for line in runs.lines("end") if line.job_id != "unwanted____________"]
    over = {*golden["listed"]["default"]["completed"], "unwanted____________"}
    assert sorted(ended) == sorted(golden["reads"].keys() - over)
    left = {name for states in listing(client).values() for name, some in states.items() if some}
    assert left == {State.COMPLETED}, "one keeps a result"
    assert not [*client.scan_iter("*:unique:*"), *client.scan_iter("*:processing:*")]


def test_jobs_of_an_older_version_obey(server: Server, queue: Queue, golden: Any) -> None:
    load(server.client(), golden["keys"], now_ms(server.client()))
    again = queue.options(key="planned").enqueue(jobs.send, 8)
    assert (again.created, again.id) == (False, "planned_____________")
    assert queue.cancel("planned") and queue.reschedule("snoozed_____________", 5)
    assert queue.cancel("urgent______________.-5") and queue.reschedule("late", 5)
    assert queue.delete("kept________________") and queue.delete("spent_______________")
