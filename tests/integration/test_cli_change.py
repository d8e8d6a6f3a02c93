"""`redjobs enqueue | jobs retry | cancel | reschedule | delete | clear | sweep`: what they change."""

from __future__ import annotations

import itertools
import json
import os
import pty
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import redis

from redjobs import bulk, call, strays
from redjobs.inspector import Inspector
from redjobs.jobs import State, Verdict
from redjobs.keys import Keys, queues_key
from redjobs.queue import Queue
from redjobs.sweeper import SweepPolicy
from tests.cli import PROGRAM, Cli, environment, seen_on_terminal
from tests.lua.seeds import DAY, HOUR, NAME, Lab
from tests.servers import Server

pytestmark = pytest.mark.roles

_numbers = itertools.count(1)

_APP = """
import redjobs

@redjobs.job(queue="mail")
def named(user_id): ...

@redjobs.Queue("video", url="redis://localhost:1").job
def bound(user_id): ...

def send(user_id, template="plain"): ...
"""


@pytest.fixture
def lab(server: Server, keys: Keys) -> Lab:
    lab = Lab(server, keys)
    lab.redis.sadd(queues_key(keys.prefix), keys.queue)
    return lab


@pytest.fixture
def redjobs(server: Server, keys: Keys) -> Cli:
    return Cli(server, keys)


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the current directory, which nobody has imported."""
    name = f"shop_{next(_numbers)}"
    (tmp_path / f"{name}.py").write_text(_APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return name


# enqueue -----------------------------------------------------------------------------------------


def test_enqueue_prints_the_id_and_nothing_else_on_stdout(redjobs: Cli, lab: Lab, app: str) -> None:
    result = redjobs("enqueue", f"{app}:send", "7")
    job_id = result.stdout.strip()
    assert lab.server.client().exists(Keys("default", lab.keys.prefix).job(job_id))
    assert result.stderr == "ready in queue default\n"


def test_enqueue_reads_arguments_as_json_where_they_are_json(redjobs: Cli, app: str) -> None:
    job_id = redjobs(
        "enqueue", f"{app}:send", '{"id": 7}', "template=gentle", "--queue", "other"
    ).stdout.strip()
    told = redjobs.json("jobs", "show", job_id, "--show-args")
    assert (told["args"], told["kwargs"], told["queue"]) == ([{"id": 7}], {"template": "gentle"}, "other")


def test_enqueue_later_with_options(redjobs: Cli, lab: Lab, app: str) -> None:
    words = ("--in", "3d", "--priority", "-5", "--key", "mail:7", "--max-attempts", "2", "--timeout", "90s")
    told = redjobs.json("enqueue", f"{app}:send", "7", *words)
    assert (told["state"], told["priority"], told["key"], told["created"]) == (
        "scheduled",
        -5,
        "mail:7",
        True,
    )
    assert (told["max_attempts"], told["timeout"]) == (2, 90.0)
    score = lab.redis.zscore(Keys("default", lab.keys.prefix).scheduled, told["id"])
    assert 0 <= lab.now_ms() + 3 * DAY - score < 60_000


def test_enqueue_at_a_moment(redjobs: Cli, lab: Lab, app: str) -> None:
    told = redjobs.json("enqueue", f"{app}:send", "7", "--at", "2126-03-01T09:00+01:00")
    assert told["run_at"] == "2126-03-01T08:00:00.000+00:00"


def test_a_key_that_is_taken_makes_no_second_job(redjobs: Cli, app: str) -> None:
    first = redjobs("enqueue", f"{app}:send", "7", "--key", "k")
    second = redjobs("enqueue", f"{app}:send", "8", "--key", "k")
    assert first.stdout == second.stdout
    assert "made no other" in second.stderr
    assert redjobs.json("enqueue", f"{app}:send", "8", "--key", "k")["created"] is False


def test_enqueue_goes_to_the_queue_that_the_handler_names(redjobs: Cli, app: str) -> None:
    assert redjobs.json("enqueue", f"{app}:named", "7")["queue"] == "mail"
    assert redjobs.json("enqueue", f"{app}:bound", "7")["queue"] == "video"
    assert redjobs.json("enqueue", f"{app}:bound", "7", "--queue", "other")["queue"] == "other"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("{app}.send", "7"), "write module:function, as in {app}:send"),
        (("{app}:sent", "7"), "did you mean {app}:send?"),
        (("{app}_gone:send", "7"), "no module '{app}_gone'"),
        (("{app}:send",), "missing a required argument: 'user_id'"),
        (("{app}:send", "7", "wrong=1"), "unexpected keyword argument 'wrong'"),
        (("{app}:send", "template=a", "template=b"), "given twice"),
        (("shutil:rmtree", "true"), "shutil:rmtree is Python's own"),
        (("{app}:redjobs",), "module"),
        (("{app}:send", "7", "--in", "soon"), "no duration"),
        (("{app}:send", "7", "--at", "2126-03-01T09:00"), "no offset"),
        (("{app}:send", "7", "--in", "1h", "--at", "2126-03-01T09:00Z"), "not both"),
        (("{app}:send", "7", "--queue", "a:b"), "cannot name a queue"),
        (("{app}:send", "[" * 100_000), "too deeply"),
        (("..:send",), "write module:function"),
        ((":send",), "write module:function"),
    ],
)
def test_enqueue_says_what_is_wrong(
    redjobs: Cli, lab: Lab, app: str, words: tuple[str, ...], problem: str
) -> None:
    result = redjobs("enqueue", *(word.format(app=app) for word in words), code=2)
    assert problem.format(app=app) in result.stderr
    assert "Traceback" not in result.stderr
    assert lab.redis.dbsize() == 1


# jobs retry --------------------------------------------------------------------------------------


def test_retry_of_dead_jobs(redjobs: Cli, lab: Lab) -> None:
    first, second, third = lab.dead(3)
    assert redjobs("jobs", "retry", first, third).stdout == f"{first}  requeued\n{third}  requeued\n"
    assert (lab.places(first), lab.places(second), lab.places(third)) == (["ready"], ["dead"], ["ready"])


def test_retry_of_what_is_not_dead_exits_with_1(redjobs: Cli, lab: Lab) -> None:
    (dead,), (ready,) = lab.dead(1), lab.ready(1)
    told = redjobs.json("jobs", "retry", ready, "nobody", dead, code=1)
    assert told == {
        "jobs": [
            {"id": ready, "verdict": "not dead"},
            {"id": "nobody", "verdict": "not found"},
            {"id": dead, "verdict": "requeued"},
        ]
    }


def test_retry_of_all_dead_jobs_asks_first(redjobs: Cli, lab: Lab) -> None:
    ids = lab.dead(3)
    result = redjobs("jobs", "retry", "--all-dead", answer="n\n", code=1)
    assert f"Retry 3 dead jobs of queue {lab.keys.queue}?" in result.output
    assert "nothing was changed" in result.stderr
    assert all(lab.places(job_id) == ["dead"] for job_id in ids)
    assert "3 requeued" in redjobs("jobs", "retry", "--all-dead", answer="y\n").output
    assert all(lab.places(job_id) == ["ready"] for job_id in ids)


def test_nobody_to_ask_is_a_no(redjobs: Cli, lab: Lab) -> None:
    (job_id,) = lab.dead(1)
    told = redjobs("jobs", "retry", "--all-dead", answer="", code=1).stderr
    assert told.endswith("\nredjobs: nothing was changed; --yes answers in advance\n")
    assert lab.places(job_id) == ["dead"]


def test_retry_of_all_dead_jobs_of_one_name(redjobs: Cli, lab: Lab) -> None:
    first, second = lab.dead(2)
    lab.redis.hset(lab.keys.job(second), "name", "shop.video:encode")
    assert redjobs.json("jobs", "retry", "--all-dead", "--name", "shop.video:*", "--yes") == {
        "verdicts": {"requeued": 1}
    }
    assert (lab.places(first), lab.places(second)) == (["dead"], ["ready"])


def test_retry_of_more_than_a_page(redjobs: Cli, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "PAGE", 7)
    ids = lab.dead(40)
    for job_id in ids[::3]:
        lab.redis.hset(lab.keys.job(job_id), "name", "other:job")
    assert redjobs.json("jobs", "retry", "--all-dead", "--yes", "--name", NAME) == {
        "verdicts": {"requeued": 26}
    }
    assert lab.redis.zcard(lab.keys.dead) == 14
    assert redjobs.json("jobs", "delete", "--all-dead", "--yes") == {"verdicts": {"deleted": 14}}
    assert lab.redis.zcard(lab.keys.dead) == 0


def test_a_job_that_dies_again_meanwhile_is_not_retried_for_ever(
    redjobs: Cli, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = lab.dead(4)
    monkeypatch.setattr(bulk, "PAGE", 2)
    plain = bulk.drive_all

    def and_die_again(*args: object, **options: object) -> list[Verdict]:
        verdicts: list[Verdict] = plain(*args, **options)  # type: ignore[arg-type]
        for job_id in ids:
            if lab.redis.lrem(lab.keys.ready, 1, job_id):
                lab.redis.zadd(lab.keys.dead, {job_id: lab.now_ms() + 60_000})
        return verdicts

    monkeypatch.setattr(bulk, "drive_all", and_die_again)
    assert redjobs.json("jobs", "retry", "--all-dead", "--yes") == {"verdicts": {"requeued": 4}}


@pytest.mark.parametrize("words", [(), ("--all-dead", "id"), ("id", "--name", "x")])
@pytest.mark.parametrize("verb", ["retry", "delete"])
def test_which_jobs_must_be_clear(redjobs: Cli, verb: str, words: tuple[str, ...]) -> None:
    redjobs("jobs", verb, *words, "--yes", code=2)


# jobs cancel, reschedule, delete -----------------------------------------------------------------


def test_cancel_by_id_and_by_key(redjobs: Cli, lab: Lab) -> None:
    (first,), (second,), (running,) = lab.ready(1), lab.scheduled(1, key="reminder:7"), lab.begun("w1")
    text = redjobs("jobs", "cancel", first, "reminder:7", running, code=1).stdout
    assert text.splitlines() == [
        f"{first}  cancelled",
        "reminder:7  cancelled",
        f"{running}  already running",
    ]
    assert (lab.places(first), lab.places(second)) == ([], [])
    assert lab.places(running) == ["processing"]
    lab.redis.delete(lab.keys.cancels)


def test_reschedule_by_key(redjobs: Cli, lab: Lab) -> None:
    (job_id,) = lab.scheduled(1, key="reminder:7")
    redjobs("jobs", "reschedule", "reminder:7", "--in", "2d")
    assert 0 <= lab.now_ms() + 2 * DAY - (lab.run_at(job_id) or 0) < 60_000
    redjobs("jobs", "reschedule", job_id, "--at", "2126-03-01T08:00Z")
    assert lab.run_at(job_id) == 4_928_025_600_000
    redjobs("jobs", "reschedule", job_id, code=2)
    redjobs("jobs", "reschedule", lab.dead(1)[0], "--in", "0", code=1)


def test_delete_asks_and_forgets(redjobs: Cli, lab: Lab) -> None:
    (dead,), (completed,), (ready,) = lab.dead(1), lab.completed(1), lab.ready(1)
    assert (
        "Delete 3 jobs for ever?"
        in redjobs("jobs", "delete", dead, completed, ready, answer="n\n", code=1).output
    )
    assert (lab.places(dead), lab.places(completed)) == (["dead"], ["completed"])
    redjobs("jobs", "delete", dead, completed, "--yes")
    assert (lab.places(dead), lab.places(completed)) == ([], [])
    assert "not over yet" in redjobs("jobs", "delete", ready, "-y", code=1).stdout


def test_what_was_done_before_an_error_is_told(redjobs: Cli, lab: Lab) -> None:
    other = Lab(lab.server, Keys("other", lab.keys.prefix))
    lab.redis.sadd(queues_key(lab.keys.prefix), "other")
    for each in (lab, other):
        each.ready(1, key="both")
    first, second, third = lab.ready(3)
    told = redjobs("jobs", "cancel", first, "both", second, code=2)
    assert told.stdout == f"{first}  cancelled\n"
    assert "is in the queues" in told.stderr
    told = redjobs("jobs", "cancel", "nobody", third, "both", second, "--json", code=2)
    assert json.loads(told.stdout) == {
        "jobs": [{"id": "nobody", "verdict": "not found"}, {"id": third, "verdict": "cancelled"}]
    }
    assert "is in the queues" in told.stderr
    assert lab.places(second) == ["ready"]


# clear -------------------------------------------------------------------------------------------


def test_clear_removes_everything_but_what_runs(redjobs: Cli, lab: Lab) -> None:
    running, taken = lab.begun("w1", 2), lab.taken("w1", 1)
    lab.dead(2, key=None)
    lab.completed(1)
    lab.scheduled(2)
    lab.scheduled(1, key="unique")
    lab.ready(4)
    lab.ready(3, priority=-7)
    result = redjobs("clear", lab.keys.queue, answer="y\n")
    assert f"Remove 3 scheduled, 7 ready, 2 dead, 1 completed of queue {lab.keys.queue}?" in result.output
    assert "removed 13 jobs" in result.output
    contents = lab.contents()
    assert sorted(contents.places()) == sorted(running + taken)
    assert sorted(contents.hashes) == sorted(running + taken)
    assert contents.unique == {}


def test_clear_of_one_state(redjobs: Cli, lab: Lab) -> None:
    dead, ready = lab.dead(2), lab.ready(2)
    told = redjobs.json("clear", lab.keys.queue, "--state", "dead", "--yes")
    assert told == {"queue": lab.keys.queue, "removed": {"dead": 2}}
    assert (lab.places(dead[0]), lab.places(ready[0])) == ([], ["ready"])


def test_clear_asks_first_and_not_where_there_is_nothing(redjobs: Cli, lab: Lab) -> None:
    ids = lab.ready(2)
    redjobs("clear", lab.keys.queue, answer="n\n", code=1)
    assert lab.waiting() == ids
    assert "removed 0 jobs" in redjobs("clear", "nobody").stdout


def test_clear_cannot_name_what_runs(redjobs: Cli) -> None:
    redjobs("clear", "default", "--state", "processing", "--yes", code=2)


def cleared(inspector: Inspector, queue: Queue, state: State) -> int:
    removed: Counter[State] = Counter()
    looked_at = sum(bulk.clear(inspector, queue, state, removed))
    assert looked_at >= removed[state]
    return removed[state]


@pytest.mark.parametrize(
    "verb", [("clear",), ("jobs", "retry", "--all-dead"), ("jobs", "delete", "--all-dead")]
)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), redis.ConnectionError("gone")])
def test_who_is_interrupted_is_told_what_was_done(
    redjobs: Cli, lab: Lab, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...], error: BaseException
) -> None:
    monkeypatch.setattr(bulk, "PAGE", 7)
    lab.dead(30)
    plain, calls = bulk.drive_all, itertools.count(1)

    def drive(*args: Any) -> list[Any]:
        if next(calls) == 3:
            raise error
        return plain(*args)

    monkeypatch.setattr(bulk, "drive_all", drive)
    where = (lab.keys.queue,) if verb == ("clear",) else ("--queue", lab.keys.queue)
    told = redjobs(*verb, *where, "--yes", code=1 if isinstance(error, KeyboardInterrupt) else 3)
    assert "14 " in told.stdout and told.stderr.strip()
    assert lab.redis.zcard(lab.keys.dead) == 30 - 14


@pytest.mark.parametrize("state", [State.SCHEDULED, State.READY, State.DEAD, State.COMPLETED])
def test_clear_of_more_than_a_page(
    server: Server, lab: Lab, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    monkeypatch.setattr(bulk, "PAGE", 7)
    seed = {"scheduled": lab.scheduled, "ready": lab.ready, "dead": lab.dead, "completed": lab.completed}[
        state
    ]
    seed(30)
    if state in (State.SCHEDULED, State.READY):
        seed(15, priority=3)
    queue = Queue(lab.keys.queue, client=lab.redis, prefix=lab.keys.prefix)
    assert cleared(Inspector(lab.redis, lab.keys.prefix), queue, state) == {
        State.DEAD: 30, State.COMPLETED: 30,
    }.get(state, 45)  # fmt: skip
    assert lab.contents().places() == {}


def test_a_terminal_sees_how_far_it_is(server: Server, lab: Lab, tmp_path: Path) -> None:
    queue = Queue(lab.keys.queue, client=lab.redis, prefix=lab.keys.prefix)
    queue.enqueue_many(call(environment) for _ in range(6_000))
    ours, theirs = pty.openpty()
    ended = subprocess.run(
        [PROGRAM, "clear", lab.keys.queue, "--yes"],
        cwd=tmp_path,
        env=environment(server, lab.keys, TERM="xterm"),
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        timeout=40,
        check=True,
    )
    os.close(theirs)
    assert "100%" in seen_on_terminal(ours)
    assert "6,000" in ended.stdout


class _Stale(Inspector):
    """Has looked before a worker took the job."""

    stale: tuple[str, ...] = ()

    def newest_ids(self, queue: str, state: State, *, skip: int = 0, limit: int = 500) -> list[str]:
        return [*self.stale, *super().newest_ids(queue, state, limit=limit)][skip : skip + limit]


def test_clear_lets_a_job_run_that_a_worker_took_meanwhile(lab: Lab) -> None:
    (running,), waiting = lab.begun("w1"), lab.ready(2)
    inspector = _Stale(lab.redis, lab.keys.prefix)
    inspector.stale = (running,)
    queue = Queue(lab.keys.queue, client=lab.redis, prefix=lab.keys.prefix)
    assert cleared(inspector, queue, State.READY) == 1  # of as many as it had counted
    assert lab.places(running) == ["processing"]
    assert lab.redis.zcard(lab.keys.cancels) == 0
    assert lab.waiting() == waiting[:1]


@pytest.mark.unchecked("ids without jobs stay in the list, as a worker drops them")
def test_clear_passes_by_what_cannot_be_removed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "PAGE", 1)
    lab.redis.lpush(lab.keys.ready, "ghost-1")
    lab.ready(3)
    lab.redis.lpush(lab.keys.ready, "ghost-2")
    queue = Queue(lab.keys.queue, client=lab.redis, prefix=lab.keys.prefix)
    assert cleared(Inspector(lab.redis, lab.keys.prefix), queue, State.READY) == 3


@pytest.mark.row(18)
def test_many_flows_survive_a_server_that_has_forgotten_its_scripts(lab: Lab) -> None:
    lab.ready(3)
    lab.redis.script_flush()
    queue = Queue(lab.keys.queue, client=lab.redis, prefix=lab.keys.prefix)
    assert cleared(Inspector(lab.redis, lab.keys.prefix), queue, State.READY) == 3


# sweep -------------------------------------------------------------------------------------------


def test_sweep_says_what_it_did(redjobs: Cli, lab: Lab) -> None:
    (job_id,) = lab.begun("gone")
    lab.redis.zadd(lab.keys.workers, {"gone": 1})
    lab.due(2)
    text = redjobs("sweep").stdout
    assert text == (
        "swept 1 queue: promoted 2 jobs, recovered 1 job (1 had begun) of 1 dead worker, trimmed 0 old jobs\n"
    )
    assert lab.places(job_id) == ["ready"]
    assert redjobs.json("sweep", lab.keys.queue)["total"]["recovered"] == 0


def test_sweep_trims_what_is_old(redjobs: Cli, lab: Lab) -> None:
    first, second = lab.dead(2)
    lab.redis.zadd(lab.keys.dead, {first: lab.now_ms() - 2 * HOUR})
    assert redjobs.json("sweep", "--dead-age", "1h")["queues"][lab.keys.queue]["trimmed"] == 1
    assert (lab.places(first), lab.places(second)) == ([], ["dead"])


def test_sweep_keeps_what_workers_were_told_to_keep(redjobs: Cli, lab: Lab) -> None:
    lab.dead(3)
    lab.begun("forgotten")
    lab.redis.zrem(lab.keys.workers, "forgotten")
    redjobs.env["REDJOBS_DEAD_MAX"] = "2"
    redjobs("sweep", "--dead-max", "3", "--deep")
    assert lab.redis.zcard(lab.keys.dead) == 3
    redjobs("sweep")
    assert lab.redis.zcard(lab.keys.dead) == 2


def test_a_deep_sweep_finds_what_nobody_would_come_across(redjobs: Cli, lab: Lab) -> None:
    name, keys = lab.keys.queue, lab.keys
    assert "nothing is left over" in redjobs("sweep", "--deep").stdout
    (taken,) = lab.begun("forgotten")
    lab.redis.zrem(keys.workers, "forgotten")
    (lost,) = lab.scheduled(1)
    lab.redis.zrem(keys.scheduled, lost)
    (gone,) = lab.dead(1)
    lab.redis.delete(keys.job(gone))
    (silent,) = lab.ready(1, priority=5)
    lab.redis.zrem(keys.levels, "5")
    lab.redis.set(keys.unique("invoice"), "no-such-job")

    found = redjobs.json("sweep", "--deep", code=1)["strays"][name]
    assert found == {
        "workers": ["forgotten"],
        "jobs": [lost],
        "ids": [gone],
        "levels": [5],
        "keys": ["invoice"],
    }
    assert lab.places(taken) == ["ready"], "what the unknown worker had is given back"
    told = redjobs("sweep", "--deep", name, code=1)
    assert f"jobs that stand in no place: {lost}" in told.stdout
    assert "4 of these are left as they are" in told.stderr
    assert silent in lab.waiting(5)
    lab.redis.delete(keys.job(lost), keys.unique("invoice"))
    lab.redis.zrem(keys.dead, gone)
    lab.redis.zadd(keys.levels, {"5": 5})
    assert "nothing is left over" in redjobs("sweep", "--deep").stdout


def test_a_deep_sweep_takes_nothing_for_lost_that_lives(redjobs: Cli, lab: Lab) -> None:
    lab.ready(700)
    lab.scheduled(600)
    lab.dead(3)
    lab.ready(2, priority=-3)
    lab.begun("busy", 2)
    assert "nothing is left over" in redjobs("sweep", "--deep").stdout


def test_a_deep_sweep_of_a_busy_queue_asks_for_none_that_has_but_moved(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To look for one id in a list is O(list): not for each job that came or went during the scan."""
    keys = lab.keys
    going, later, leaving = lab.ready(20), lab.scheduled(20), lab.ready(20)
    (lost,) = lab.scheduled(1)
    lab.redis.zrem(keys.scheduled, lost)
    scan, placed = strays._Search._scan, strays._Search._placed
    looks = itertools.count(1)

    def end(ids: list[str]) -> None:
        for job_id in ids:
            lab.redis.lrem(keys.ready, 1, job_id)
            lab.redis.delete(keys.job(job_id))

    def scan_meanwhile(search: strays._Search) -> None:
        scan(search)
        end(going)
        lab.ready(20)
        lab.ready(20, priority=5)
        search._names["job"].difference_update(leaving)  # as if they had come just after it
        for job_id in lab.ready(20, priority=7):  # its hash was seen, its list was not there yet
            search._names["job"].add(job_id)

    def placed_meanwhile(search: strays._Search) -> set[str]:
        found = placed(search)
        if next(looks) == 1:
            end(leaving)
            found.difference_update(later)  # as if they had been promoted meanwhile
        return found

    monkeypatch.setattr(strays._Search, "_scan", scan_meanwhile)
    monkeypatch.setattr(strays._Search, "_placed", placed_meanwhile)
    lab.redis.config_resetstat()
    found = strays.look(
        Queue(keys.queue, client=lab.redis, prefix=keys.prefix), SweepPolicy(), lambda _: None
    )
    assert (found.jobs, found.ids) == ((lost,), ())
    asked = lab.redis.info("commandstats")["cmdstat_lpos"]["calls"]
    assert asked <= 2, "for the one that is lost, in one list"
    lab.redis.delete(keys.job(lost))
