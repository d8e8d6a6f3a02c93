"""`redjobs acl`: what it prints is enough for all that a role does, and not a command more."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import Result

from redjobs import AsyncQueue, Job, NotReplicated, Queue, ResultTimeout, State, Verdict, call
from redjobs.access import ELSEWHERE, PASSWORD_MISSING, Role, commands_for, rules
from redjobs.errors import SettingsError
from redjobs.keys import Keys, queues_key
from tests.accounts import NO_RIGHT, Account, account
from tests.cli import Cli
from tests.lua.seeds import Lab
from tests.roles import PASSWORD, printed
from tests.servers import Server

ROOT = Path(__file__).parents[2]
LATER = timedelta(hours=1)


def remind(user_id: int) -> None:
    """A function that can be a job."""


@pytest.fixture
def producer(server: Server, tmp_path: Path, keys: Keys) -> Iterator[Account]:
    with account(server, tmp_path, Role.PRODUCER, "--prefix", keys.prefix) as made:
        yield made


@pytest.fixture
def admin(server: Server, tmp_path: Path, keys: Keys) -> Iterator[Account]:
    with account(server, tmp_path, Role.ADMIN, "--prefix", keys.prefix) as made:
        yield made


# What is printed -------------------------------------------------------------------------------


def test_the_password_is_not_printed_and_works(producer: Account, tmp_path: Path) -> None:
    assert PASSWORD not in " ".join(printed(tmp_path, Role.PRODUCER))
    with pytest.raises(redis.AuthenticationError):
        producer.server.client(username=producer.name, password="guessed").ping()
    with pytest.raises(redis.exceptions.NoPermissionError):
        producer.client().ping()


def test_a_line_without_a_password_makes_no_user(server: Server, keys: Keys) -> None:
    line = Cli(server, keys)("acl", "worker", "--user", "nobody").stdout
    assert f"#{PASSWORD_MISSING}" in line
    client: Any = server.client()
    with pytest.raises(redis.ResponseError, match="hash"):
        client.execute_command(*line.split())
    assert b"nobody" not in client.execute_command("ACL", "USERS")


def test_json_is_the_same_for_programs(server: Server, keys: Keys) -> None:
    redjobs = Cli(server, keys)
    told = redjobs.json("acl", "admin", "--queue", "mail,default")
    line = redjobs("acl", "admin", "--queue", "mail", "--queue", "default").stdout
    assert line == f"ACL SETUSER {told['user']} {' '.join(told['rules'])}\n"
    assert told["role"] == "admin"


@pytest.mark.parametrize("text", ["", "\n", "  \nsecret\n"])
def test_an_empty_password_makes_no_user(server: Server, keys: Keys, tmp_path: Path, text: str) -> None:
    """Its hash would let everybody in who knows the name."""
    file = tmp_path / "password"
    file.write_text(text)
    told = Cli(server, keys)("acl", "worker", "--password-file", str(file), code=2)
    assert told.stdout == ""
    assert f"the first line of --password-file {file} is empty" in told.stderr
    with pytest.raises(SettingsError, match="empty"):
        rules(Role.WORKER, "")


@pytest.mark.parametrize("words", [("--user", "a b"), ("--queue", "a{b"), ("--prefix", "*")])
def test_what_is_no_name_cannot_get_into_rules(server: Server, keys: Keys, words: tuple[str, ...]) -> None:
    assert "cannot name" in Cli(server, keys)("acl", "worker", *words, code=2).stderr


@pytest.mark.parametrize("role", Role)
def test_no_role_may_do_anything_to_the_server_itself(role: Role) -> None:
    granted = set(commands_for(role))
    assert not granted & {
        "keys",
        "scan",
        "flushall",
        "flushdb",
        "config",
        "acl",
        "script",
        "client",
        "cluster",
        "monitor",
    }
    assert not [rule for rule in rules(role) if rule[:2] == "+@" or rule in ("~*", "allkeys", "nopass")]


def needed(role: Role) -> list[str]:
    """The rights without which something fails on a server of its own."""
    return [command for command in commands_for(role) if command not in ELSEWHERE[role]]


# A producer ------------------------------------------------------------------------------------


def produce(url: str, keys: Keys, running: str, accepted: list[Job]) -> None:
    """All that a web process does; `accepted` gets what was enqueued and not cancelled."""
    with contextlib.closing(Queue(keys.queue, url=url, prefix=keys.prefix)) as queue:
        accepted.append(queue.enqueue(remind, 7))
        accepted.append(queue.options(priority=5).enqueue(remind, 8))
        keyed = queue.options(key="k").enqueue_in(LATER, remind, 9)
        assert queue.options(key="k").enqueue(remind, 10).id == keyed.id
        assert queue.get("k").state is State.SCHEDULED
        assert queue.reschedule("k", 10) is Verdict.RESCHEDULED
        ready = queue.enqueue(remind, 11)
        assert queue.reschedule(ready.id, LATER) is Verdict.RESCHEDULED
        assert queue.cancel(ready.id) is Verdict.CANCELLED
        assert queue.cancel("k") is Verdict.CANCELLED
        assert queue.cancel(queue.enqueue(remind, 12).id) is Verdict.CANCELLED
        assert queue.cancel(running) is Verdict.RUNNING
        with pytest.raises(ResultTimeout):
            queue.result(accepted[0].id)
    accepted.append(asyncio.run(produce_one(url, keys)))


async def produce_one(url: str, keys: Keys) -> Job:
    queue = AsyncQueue(keys.queue, url=url, prefix=keys.prefix)
    try:
        return await queue.enqueue(remind, 13)
    finally:
        await queue.close()


@pytest.mark.row(27)
def test_a_producer_needs_each_of_its_rights_and_no_other(producer: Account, keys: Keys) -> None:
    lab = Lab(producer.server, keys)
    for denied in [None, *needed(Role.PRODUCER)]:
        lab.redis.script_flush()
        (running,) = lab.begun("w1")
        accepted: list[Job] = []
        if denied is None:
            produce(producer.url, keys, running, accepted)
        else:
            producer.lacks(denied)
            with pytest.raises(redis.ResponseError, match=NO_RIGHT):
                produce(producer.url, keys, running, accepted)
            producer.may_again(denied)
        for job in accepted:
            assert lab.places(job.id), f"without {denied}, {job.id} was accepted and is lost"
        lab.redis.flushall()


def test_a_producer_that_waits_for_replicas_needs_a_right_more(producer: Account, keys: Keys) -> None:
    queue = Queue(keys.queue, url=producer.url, prefix=keys.prefix, wait_replicas=1)
    with pytest.raises(NotReplicated, match="0 of 1 replicas"):
        queue.enqueue(remind, 7)
    producer.lacks("wait")
    with pytest.raises(NotReplicated, match=NO_RIGHT) as raised:
        queue.enqueue(remind, 8)
    (job_id,) = raised.value.job_ids
    assert queue.get(job_id).state is State.READY
    queue.close()


def test_a_producer_can_do_no_more_with_a_script_than_without_one(producer: Account, keys: Keys) -> None:
    client = producer.client()
    not_from_scripts = "not allowed from script"
    for script in (
        "return redis.call('GET', 'other:secret')",
        f"return redis.call('GET', '{keys.prefix}2:secret')",
        "return redis.call('KEYS', '*')",
        "return redis.call('FLUSHALL')",
        "return redis.call('CONFIG', 'GET', 'dir')",
    ):
        with pytest.raises(redis.ResponseError, match=f"{NO_RIGHT}|{not_from_scripts}"):
            client.eval(script, 0)


def test_a_producer_of_one_queue_reaches_no_other(server: Server, keys: Keys, tmp_path: Path) -> None:
    words = ("--prefix", keys.prefix, "--queue", "mail")
    with account(server, tmp_path, Role.PRODUCER, *words) as producer:
        queue = Queue("mail", url=producer.url, prefix=keys.prefix)
        assert queue.get(queue.enqueue(remind, 7).id).state is State.READY
        sharded = Queue("mail", url=producer.url, prefix=keys.prefix, shards=3)
        for job in sharded.enqueue_many(call(remind, number) for number in range(9)):
            assert sharded.get(job.id).state is State.READY
        sharded.close()
        with pytest.raises(redis.ResponseError, match=NO_RIGHT):
            queue.options(queue="video").enqueue(remind, 7)
        queue.close()
    assert Lab(server, Keys("video", keys.prefix)).contents().places() == {}


# An admin --------------------------------------------------------------------------------------


class Admin:
    """All other commands of the program, on data in which each has something to do."""

    def __init__(self, account: Account, keys: Keys) -> None:
        self.lab = lab = Lab(account.server, keys)
        self.run = Cli(account.server, keys, env={"REDJOBS_URL": account.url})
        lab.redis.sadd(queues_key(keys.prefix), keys.queue)
        self.lost_by = lab.begun("w9", 2, priority=5)
        lab.lose("w9")
        self.dead = [*lab.dead(3), *lab.dead(key="invoice"), *lab.dead(priority=5)]
        lab.completed()
        lab.begun("w1")
        self.ready = [*lab.ready(2), *lab.ready(priority=5)]
        self.scheduled = [*lab.scheduled(2), *lab.scheduled(key="k")]
        lab.due(2)

    def words(self) -> Iterator[tuple[str, ...]]:
        queue = ("--queue", self.lab.keys.queue)
        yield ("status",)
        yield ("check", "--max-latency", "1000d", "--max-dead", "100")
        for state in ("scheduled", "ready", "processing", "dead", "completed"):
            yield ("jobs", "list", *queue, "--state", state)
        yield ("jobs", "list", *queue, "--state", "dead", "--name", "shop*")
        yield ("jobs", "show", "k")
        yield ("jobs", "reschedule", self.scheduled[0], "--in", "3d")
        yield ("jobs", "reschedule", self.ready[0], "--in", "3d")
        yield ("jobs", "cancel", self.scheduled[1])
        yield ("jobs", "retry", self.dead[3])
        yield ("jobs", "retry", self.dead[4])
        yield ("jobs", "retry", "--all-dead", *queue, "--yes")
        yield ("sweep", self.lab.keys.queue, "--dead-age", "1s")
        yield ("enqueue", "tests.integration.test_acl:remind", "7", *queue, "--key", "new")
        yield ("clear", self.lab.keys.queue, "--yes")

    def first_failure(self) -> Result | None:
        return next((done for words in self.words() if (done := self.run(*words, code=None)).exit_code), None)


@pytest.mark.row(27)
def test_an_admin_needs_each_of_its_rights_and_no_other(admin: Account, keys: Keys) -> None:
    for denied in [None, *needed(Role.ADMIN)]:
        work = Admin(admin, keys)
        admin.server.client().script_flush()
        if denied is None:
            failure = work.first_failure()
            assert failure is None, failure.output
        else:
            admin.lacks(denied)
            failure = work.first_failure()
            admin.may_again(denied)
            assert failure is not None, f"nothing needs {denied}"
            assert failure.exit_code == 3, failure.output
            assert re.search(NO_RIGHT, failure.stderr) and "redjobs acl" in failure.stderr, failure.output
            assert "Traceback" not in failure.output
        admin.server.client().flushall()


def test_who_sweeps_deep_needs_the_rights_that_the_docs_name_and_no_other(admin: Account, keys: Keys) -> None:
    named = re.search(r"`(\+scan .*)`", (ROOT / "docs" / "security.md").read_text())
    assert named is not None
    rights = named[1].split()
    work = Admin(admin, keys)
    work.lab.redis.lrem(keys.ready, 1, work.ready[0])
    for missing in rights:
        admin.change(*(right for right in rights if right != missing), missing.replace("+", "-"))
        assert "the server refuses" in work.run("sweep", "--deep", code=3).stderr, missing
    admin.change(*rights)
    told = work.run.json("sweep", "--deep", code=1)
    assert told["strays"][keys.queue]["jobs"] == [work.ready[0]]
    work.lab.redis.delete(keys.job(work.ready[0]))
