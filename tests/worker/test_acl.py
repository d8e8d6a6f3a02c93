"""A worker as the user that `redjobs acl worker` prints: it can do all of its work, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from redjobs import JobNotFound, Queue, State, Verdict, call
from redjobs.access import ELSEWHERE, WISHES, Role, commands_for
from tests.accounts import NO_RIGHT, Account, account
from tests.cli import Cli
from tests.lua.seeds import Lab
from tests.servers import Server
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.conftest import Start, is_gone
from tests.worker.runs import Runs


@pytest.fixture
def user(server: Server, tmp_path: Path) -> Iterator[Account]:
    with account(server, tmp_path, Role.WORKER) as made:
        yield made


class Work:
    """Jobs that together need all that a worker can do."""

    def __init__(self, user: Account, queue: Queue, gate: Path) -> None:
        self.queue = queue
        self.lab = lab = Lab(user.server, queue.keys)
        lab.redis.script_flush()
        self.dead = lab.dead(2)
        stranded = queue.enqueue(handlers.record, "stranded")
        lab.take("gone")
        lab.lose("gone")
        self.done = [
            stranded,
            queue.enqueue(handlers.record, "plain"),
            queue.options(key="keyed").enqueue(handlers.record, "keyed"),
            queue.options(priority=5).enqueue(handlers.record, "low"),
            queue.options(backoff=0.1).enqueue(handlers.fail_until, 2),
            queue.enqueue(handlers.die, "exit", 1),
            queue.enqueue(handlers.manage, user.url),
        ]
        self.kept = queue.options(result_ttl=60).enqueue(handlers.give, 7)
        self.buried = queue.enqueue(handlers.bury)
        self.cancelled = queue.enqueue_in(timedelta(seconds=0.2), handlers.clean_up, str(gate))

    def is_over(self) -> bool:
        """Whether each job has come to its end, also what the dead worker had."""
        jobs = [*self.done, self.kept, self.buried, self.cancelled]
        return all(self._ended(job.id) for job in jobs)

    def _ended(self, job_id: str) -> bool:
        try:
            return self.queue.get(job_id).state in (State.COMPLETED, State.DEAD)
        except JobNotFound:
            return True

    def goes_on(self, runs: Runs) -> None:
        """Cancel the job that waits, once it runs."""
        if runs.count("start", job_id=self.cancelled.id):
            self.queue.cancel(self.cancelled.id)


@pytest.mark.row(27)
def test_a_worker_has_all_the_rights_that_it_needs(
    user: Account, queue: Queue, worker: Start, runs: Runs, gate: Path
) -> None:
    work = Work(user, queue, gate)
    process = worker(url=user.url, queues=("default", "mail-*"), lease=2.0)
    runs.wait("start", job_id=work.cancelled.id)
    work.goes_on(runs)
    wait_until(work.is_over, description="all jobs are done")
    queue.enqueue(handlers.record, "after a rest")
    runs.wait("end", "after a rest")
    assert process.stop() == 0
    for word in ("refuses", "no permission", "Traceback"):
        assert process.count(word) == 0, process.log
    assert runs.count("cleanup", "JobCancelled") == 1
    redjobs = Cli(user.server, queue.keys, env={"REDJOBS_URL": user.url})
    assert redjobs.json("sweep", "--dead-age", "0.001")["total"]["trimmed"] == 3


@pytest.mark.parametrize("shards", [None, 4])
def test_a_role_may_be_for_one_queue(
    server: Server, worker: Start, runs: Runs, tmp_path: Path, gate: Path, shards: int | None
) -> None:
    """The same holds for a queue in shards: those are `mail/0` and so on."""
    queue = Queue("mail", url=server.url, shards=shards)
    ran = [queue.options(backoff=0.1).enqueue(handlers.fail_until, 2)]
    ran += queue.enqueue_many(call(handlers.record, str(number)) for number in range(20))
    later = queue.options(key="later").enqueue_in(timedelta(hours=1), handlers.record, "later")
    stopped = queue.enqueue(handlers.clean_up, str(gate))
    with account(server, tmp_path, Role.WORKER, "--queue", "mail") as user:
        process = worker(url=user.url, queues=("mail",), lease=2.0)
        runs.wait("start", job_id=stopped.id)
        assert queue.cancel(stopped.id) is Verdict.RUNNING
        runs.wait("cleanup", "JobCancelled")
        wait_until(lambda: all(is_gone(queue, job.id) for job in ran))
        assert process.stop() == 0
        for word in ("refuses", "no permission", "Traceback"):
            assert process.count(word) == 0, process.log
        with pytest.raises(redis.ResponseError, match=NO_RIGHT):
            user.client().hgetall("redjobs:{other}:job:1")
    with account(server, tmp_path, Role.ADMIN, "--queue", "mail") as admin:
        redjobs = Cli(server, queue.keys, env={"REDJOBS_URL": admin.url})
        assert sum(each["scheduled"] for each in redjobs.json("status", "mail")["queues"]) == 1
        pages = redjobs.json("jobs", "list", "--queue", "mail", "--state", "scheduled")["pages"]
        assert [job["id"] for page in pages for job in page["jobs"]] == [later.id]
        assert redjobs.json("jobs", "show", later.id, "--queue", "mail")["id"] == later.id
        assert redjobs.json("sweep", "mail")["queues"]
        assert redjobs.json("clear", "mail", "--yes")["removed"]["scheduled"] == 1
    queue.close()


def test_a_worker_can_do_nothing_else(user: Account, queue: Queue) -> None:
    client: Any = user.client()
    for words in (
        ("KEYS", "*"),
        ("FLUSHALL",),
        ("CONFIG", "GET", "dir"),
        ("ACL", "WHOAMI"),
        ("SCRIPT", "LOAD", "return 1"),
        ("GET", "other:secret"),
        ("HGETALL", "redjobs2:{default}:job:1"),
        ("BRPOPLPUSH", "redjobs:{default}:ready", "other:list", "0"),
    ):
        with pytest.raises(redis.ResponseError, match=NO_RIGHT):
            client.execute_command(*words)


def test_a_worker_that_may_begin_nothing_leaves_the_jobs_to_others(
    user: Account, queue: Queue, worker: Start, runs: Runs
) -> None:
    user.lacks("hgetall")
    handicapped = worker(processes=0, url=user.url, lease=300.0)
    queue.enqueue_many(call(handlers.record, str(number)) for number in range(20))
    handicapped.says("the server refuses a command (begins of default)")
    worker(processes=0)
    runs.wait("end", times=20, timeout=8)
    assert handicapped.is_running
    assert handicapped.count("the server refuses a command") == 1
    assert handicapped.stop() == 0


def test_a_batch_that_may_not_be_begun_goes_back_whole(
    user: Account, queue: Queue, worker: Start, runs: Runs
) -> None:
    process = worker(processes=0, url=user.url, lease=300.0)
    # Short ones: from now on it takes several at once.
    queue.enqueue_many(call(handlers.record) for _ in range(20))
    runs.wait("end", times=20)
    user.lacks("hgetall")
    jobs = queue.enqueue_many(call(handlers.record, "again") for _ in range(100))
    process.says("the server refuses a command (begins of default)")
    wait_until(lambda: queue.redis.llen(queue.keys.ready) == len(jobs))
    user.may_again("hgetall")
    runs.wait("end", "again", times=len(jobs))
    assert {line.attempt for line in runs.lines("end")} == {1}
    assert process.stop() == 0


@pytest.mark.slow
@pytest.mark.row(27)
@pytest.mark.parametrize("denied", sorted(set(commands_for(Role.WORKER)) - set(ELSEWHERE[Role.WORKER])))
def test_a_worker_without_a_right_says_so_and_loses_nothing(
    user: Account, queue: Queue, worker: Start, runs: Runs, gate: Path, denied: str
) -> None:
    work = Work(user, queue, gate)
    user.lacks(denied)
    options = {"url": user.url, "queues": ("default", "mail-*"), "lease": 2.0}
    process = worker(**options)

    def is_noticed() -> bool:
        work.goes_on(runs)
        return work.is_over() if denied in WISHES else re.search(NO_RIGHT, process.log) is not None

    wait_until(is_noticed, 20)
    assert process.stop() == 0
    if denied in WISHES:
        assert process.count("refuses") == 0
    user.may_again(denied)
    gate.touch()
    work.done.append(queue.enqueue(handlers.record, "last"))
    process = worker(**options)
    wait_until(work.is_over, 30, "all jobs are done")
    assert process.stop() == 0
    for job in work.done:
        assert runs.count("end", job_id=job.id) >= 1, process.log
