"""The network loses what was said: each command of a worker, its reply, whole connections.

A worker that lives knows what it has, so whatever is lost between it and the server, each job runs
exactly once.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from redjobs import EnqueueUnknown, Queue, State, call, commands, connect
from redjobs.access import Role
from redjobs.connect import patience
from redjobs.settings import resolve_url
from redjobs.worker.link import Link
from tests.proxy import Proxy, command, script
from tests.roles import as_role
from tests.servers import Server
from tests.waiting import wait_until
from tests.worker import handlers
from tests.worker.conftest import Start
from tests.worker.processes import WorkerProcess
from tests.worker.runs import Runs

#: A connection on which nothing comes any more is given up sooner here.
IMPATIENT = {"redjobs.worker.link._OVERDUE_SECONDS": 0.3}

BeginIdle = Callable[..., WorkerProcess]


@pytest.fixture
def server(valkey: Server) -> Server:
    return valkey


@pytest.fixture
def idle(queue: Queue, worker: Start, proxy: Proxy, runs: Runs) -> BeginIdle:
    """A worker behind the proxy that has done some jobs already, and is asleep."""

    def start(**options: object) -> WorkerProcess:
        options = {"processes": 0, "url": proxy.url, "constants": IMPATIENT, **options}
        process = worker(**options)
        # Short ones: from now on it takes several at once.
        queue.enqueue_many(call(handlers.record) for _ in range(20))
        queue.options(backoff=0).enqueue(handlers.fail_until, 2)
        runs.wait("end", times=21)
        wait_until(lambda: nothing_is_left(queue) and proxy.unanswered() == [b"BRPOPLPUSH"])
        runs.path.write_text("")
        return process

    return start


def nothing_is_left(queue: Queue) -> bool:
    """Whether no job is anywhere."""
    return not any(key.count(b":job:") for key in queue.redis.scan_iter())


LOSSES = {
    "pop": command("BRPOPLPUSH"),
    "take": script("take"),
    "begin": script("begin"),
    "complete": script("complete"),
    "heartbeat": script("heartbeat"),
}


@pytest.mark.row(9, 11)
@pytest.mark.parametrize("lost", LOSSES)
def test_a_lost_reply_costs_no_job_and_repeats_none(
    queue: Queue, proxy: Proxy, idle: BeginIdle, runs: Runs, lost: str
) -> None:
    process = idle(lease=1.0)
    rule = proxy.lose_reply(LOSSES[lost], times=1)
    jobs = queue.enqueue_many(call(handlers.record, str(number)) for number in range(5))
    proxy.wait_for(rule)
    runs.wait("end", times=5)
    wait_until(lambda: nothing_is_left(queue))
    assert process.stop() == 0
    assert sorted(runs.texts("start")) == ["0", "1", "2", "3", "4"]
    assert {(line.job_id, line.attempt) for line in runs.lines("start")} == {(job.id, 1) for job in jobs}


@pytest.mark.row(11)
@pytest.mark.parametrize("lost", LOSSES)
def test_so_does_a_command_that_never_arrived(
    queue: Queue, proxy: Proxy, idle: BeginIdle, runs: Runs, lost: str
) -> None:
    process = idle(lease=1.0)
    rule = proxy.lose_request(LOSSES[lost], times=1)
    queue.enqueue_many(call(handlers.record, str(number)) for number in range(5))
    proxy.wait_for(rule)
    runs.wait("end", times=5)
    wait_until(lambda: nothing_is_left(queue))
    assert process.stop() == 0
    assert sorted(runs.texts("start")) == ["0", "1", "2", "3", "4"]


def test_while_the_server_works_the_worker_does_too(queue: Queue, proxy: Proxy) -> None:
    client = connect.connect_worker(resolve_url(as_role(proxy.url, Role.WORKER)))
    link = Link(client)
    rule = proxy.hold_reply(script("take"))

    def meanwhile() -> None:
        proxy.wait_for(rule)
        proxy.release(rule)

    (taken,) = link.run_all([commands.take(queue.keys, "nobody", 1, [])], meanwhile)
    assert taken.lapsed
    link.close()


@pytest.mark.parametrize("skip", [1, 2])
def test_a_lost_take_behind_a_begin_loses_nothing_that_was_begun(
    queue: Queue, proxy: Proxy, idle: BeginIdle, runs: Runs, skip: int
) -> None:
    idle(lease=60.0)
    rule = proxy.lose_request(script("take"), skip=skip)
    queue.enqueue_many(call(handlers.record, str(number)) for number in range(5))
    proxy.wait_for(rule)
    runs.wait("end", times=5)
    wait_until(lambda: nothing_is_left(queue))
    assert sorted(runs.texts("start")) == ["0", "1", "2", "3", "4"]


@pytest.mark.row(9)
def test_a_job_whose_delivery_was_lost_is_found_at_once(
    queue: Queue, proxy: Proxy, idle: BeginIdle, runs: Runs
) -> None:
    """And not after a heartbeat or a lease, which are a minute here."""
    process = idle(lease=60.0)
    rule = proxy.lose_reply(command("BRPOPLPUSH"))
    queue.enqueue(handlers.record)
    proxy.wait_for(rule)
    runs.wait("end", timeout=5)
    assert process.count("gave back 1 job whose delivery was lost") == 1


def test_what_was_begun_without_our_knowledge_is_given_back_whatever_its_token(
    queue: Queue, worker: Start, runs: Runs
) -> None:
    """As after very many lost replies: in a cluster whose slot is being moved there are hundreds."""
    worker(processes=0, lease=2.0)
    wait_until(lambda: queue.redis.zcard(queue.keys.workers) == 1)
    workers: Any = queue.redis.zrange(queue.keys.workers, 0, -1)
    name = workers[0].decode()
    job = queue.enqueue_in(timedelta(hours=1), handlers.record)
    begin = commands.begin(queue.keys, name, "forgotten", [job.id])
    with queue.redis.pipeline() as together:
        together.zrem(queue.keys.scheduled, job.id)
        together.lpush(queue.keys.processing(name), job.id)
        together.eval(begin.script.text, len(begin.keys), *begin.keys, *begin.args)
        together.execute()
    runs.wait("end", job_id=job.id)
    assert runs.lines("start")[0].attempt == 1


@pytest.mark.row(9)
def test_each_delivery_of_many_is_lost(queue: Queue, proxy: Proxy, idle: BeginIdle, runs: Runs) -> None:
    idle(lease=60.0)
    for number in range(5):
        wait_until(lambda: proxy.unanswered() == [b"BRPOPLPUSH"])
        rule = proxy.lose_reply(command("BRPOPLPUSH"))
        queue.enqueue(handlers.record, str(number))
        proxy.wait_for(rule)
        runs.wait("end", str(number))
    assert runs.texts("start") == ["0", "1", "2", "3", "4"]


@pytest.mark.row(11)
def test_a_failure_that_was_reported_into_the_void_counts_once(
    queue: Queue, proxy: Proxy, idle: BeginIdle, runs: Runs
) -> None:
    process = idle()
    rule = proxy.lose_reply(script("retry"), times=2)
    job = queue.options(backoff=3600).enqueue(handlers.fail)
    proxy.wait_for(rule)
    wait_until(lambda: queue.get(job.id).state is State.SCHEDULED)
    assert process.stop() == 0
    found = queue.get(job.id)
    assert (found.attempt, len(found.errors)) == (1, 1)
    assert runs.count("start") == 1
    assert process.count("another worker has the job") == 0


@pytest.mark.row(11)
def test_a_job_that_goes_back_into_the_void_is_still_run(
    queue: Queue, proxy: Proxy, idle: BeginIdle, runs: Runs, gate: Path
) -> None:
    """The second job waits behind a slow one, so it is given back; that reply is lost."""
    idle()
    rule = proxy.lose_reply(script("release"))
    queue.enqueue_many([call(handlers.wait, str(gate), "slow"), call(handlers.record, "next")])
    proxy.wait_for(rule)
    gate.touch()
    runs.wait("end", "next")
    assert sorted(runs.texts("start")) == ["next", "slow"]
    assert [line.attempt for line in runs.lines("end")] == [1, 1]


@pytest.mark.row(9, 11)
def test_connections_that_end_at_random_lose_no_job_and_repeat_none(
    queue: Queue, proxy: Proxy, idle: BeginIdle, runs: Runs
) -> None:
    process = idle(threads=2)
    numbers = [str(number) for number in range(300)]
    for start in range(0, 300, 10):
        queue.enqueue_many(
            call(handlers.take_seconds, 0.002, number) for number in numbers[start : start + 10]
        )
        proxy.cut()
    runs.wait("end", times=300)
    wait_until(lambda: nothing_is_left(queue))
    assert process.stop() == 0
    assert sorted(runs.texts("start"), key=int) == numbers


@pytest.mark.row(13)
@pytest.mark.parametrize("most_seconds", [0.1, pytest.param(2.0, marks=pytest.mark.slow)])
def test_slow_replies_in_single_bytes(
    queue: Queue, proxy: Proxy, idle: BeginIdle, runs: Runs, most_seconds: float
) -> None:
    idle(constants={})
    proxy.delay = lambda: random.uniform(0, most_seconds)
    proxy.chops = True
    queue.enqueue_many(call(handlers.record, str(number)) for number in range(50))
    runs.wait("end", times=50, timeout=40)
    assert sorted(runs.texts("start"), key=int) == [str(number) for number in range(50)]


@pytest.mark.row(10)
def test_a_job_that_is_given_to_a_ghost_is_found(
    queue: Queue, proxy: Proxy, idle: BeginIdle, runs: Runs
) -> None:
    """The connection is dead, and only the server does not know: it answers into the void."""
    process = idle(lease=600.0)
    proxy.black_hole()
    queue.enqueue(handlers.record)
    runs.wait("end")
    assert process.count("gave back 1 job") == 1
    assert runs.count("start") == 1


@pytest.mark.row(10)
def test_what_appears_in_its_list_without_its_knowledge_is_given_back(
    queue: Queue, proxy: Proxy, idle: BeginIdle, runs: Runs
) -> None:
    """As a call would leave it that arrived after its connection was given up."""
    idle(lease=0.5)
    names: Any = queue.redis.zrange(queue.keys.workers, 0, -1)
    job = queue.enqueue_in(timedelta(hours=1), handlers.record)
    queue.redis.zrem(queue.keys.scheduled, job.id)
    queue.redis.lpush(queue.keys.processing(names[0].decode()), job.id)
    (line,) = runs.wait("end", job_id=job.id)
    assert line.attempt == 1


@pytest.mark.row(10)
def test_a_ghost_of_a_worker_that_is_cut_off_for_good(
    queue: Queue, proxy: Proxy, idle: BeginIdle, worker: Start, runs: Runs
) -> None:
    """Its job goes to somebody else after the lease, and not to nobody."""
    idle(lease=0.5)
    proxy.black_hole()
    proxy.refuse_new()
    queue.enqueue(handlers.record)
    worker(processes=0, lease=0.5)
    runs.wait("end")
    assert runs.count("start") == 1


@pytest.mark.row(10)
def test_a_ghost_of_a_worker_that_has_left(
    queue: Queue, proxy: Proxy, idle: BeginIdle, worker: Start, runs: Runs
) -> None:
    """It is told to stop just when the network resets its connections; the server does not know yet."""
    process = idle(constants={"redjobs.worker.link.BLOCK_SECONDS": 30.0})
    proxy.reset_clients()
    assert process.stop() == 0
    job = queue.enqueue(handlers.record)
    assert queue.redis.llen(queue.keys.ready) == 0, "the ghost has it"
    queue.sweep()
    assert queue.get(job.id).state is State.READY
    worker(processes=0, burst=True)
    runs.wait("end")


# Who enqueues ---------------------------------------------------------------------------------


@pytest.mark.row(12)
@pytest.mark.parametrize("times", [1, 4, pytest.param(patience.RETRIES, marks=pytest.mark.slow)])
def test_an_enqueue_whose_reply_was_lost_is_one_job(server: Server, proxy: Proxy, times: int) -> None:
    queue = Queue(url=proxy.url)
    rule = proxy.lose_reply(script("enqueue"), times=times)
    job = queue.enqueue(handlers.record)
    assert rule.used == times
    assert server.client().lrange(queue.keys.ready, 0, -1) == [job.id.encode()]
    queue.close()


@pytest.mark.parametrize("skip", [1, 2, 9])
def test_of_many_that_are_under_way_none_is_lost_and_none_is_twice(
    server: Server, proxy: Proxy, skip: int
) -> None:
    """Two calls are under way when the connection ends; both are sent again, in their order."""
    queue = Queue(url=proxy.url)
    rule = proxy.lose_reply(script("enqueue"), times=2, skip=skip)
    jobs = queue.enqueue_many(call(handlers.record, str(number)) for number in range(2_500))
    assert rule.used == 2
    waiting: Any = server.client().lrange(queue.keys.ready, 0, -1)
    assert waiting[::-1] == [job.id.encode() for job in jobs]
    queue.close()


@pytest.mark.row(12)
def test_an_enqueue_that_is_sent_again_when_its_job_is_over_runs_it_again(
    queue: Queue, proxy: Proxy, worker: Start, runs: Runs
) -> None:
    """Nothing remembers a job that is over; at least once allows it."""
    worker(processes=0)
    far = Queue(url=proxy.url)
    proxy.hold_reply(script("enqueue"))
    with ThreadPoolExecutor(1) as producer:
        told = producer.submit(far.enqueue, handlers.record)
        (line,) = runs.wait("end")
        wait_until(lambda: nothing_is_left(queue))
        proxy.cut()
        assert told.result(10).id == line.job_id
    runs.wait("end", job_id=line.job_id, times=2)
    far.close()


@pytest.mark.row(12)
def test_many_that_were_enqueued_into_the_void_are_there_once(server: Server, proxy: Proxy) -> None:
    queue = Queue(url=proxy.url)
    proxy.lose_reply(script("enqueue"), times=3)
    jobs = queue.enqueue_many(call(handlers.record, str(number)) for number in range(2_500))
    assert queue.redis.llen(queue.keys.ready) == len({job.id for job in jobs}) == 2_500
    queue.close()


@pytest.mark.row(12)
@pytest.mark.slow
def test_who_never_hears_of_its_job_is_told_the_truth(server: Server, proxy: Proxy, queue: Queue) -> None:
    far = Queue(url=proxy.url)
    queue.cancel(queue.enqueue(handlers.record).id)  # so that the server knows the script
    rule = proxy.lose_reply(script("enqueue"), times=99)
    with pytest.raises(EnqueueUnknown) as told:
        far.enqueue(handlers.record)
    assert rule.used > 1
    (job_id,) = told.value.job_ids
    assert queue.redis.lrange(queue.keys.ready, 0, -1) == [job_id.encode()]
    far.close()


@pytest.mark.parametrize("processes", [0, 1])
def test_a_lost_reply_costs_no_short_lease(
    queue: Queue, proxy: Proxy, worker: Start, runs: Runs, gate: Path, processes: int
) -> None:
    process = worker(processes=processes, url=proxy.url, lease=5.0)
    job = queue.enqueue(handlers.wait, str(gate))
    runs.wait("start", job_id=job.id)
    worker(processes=0, lease=5.0)  # who sweeps it as soon as its lease has run out
    rule = proxy.hold_reply(script("heartbeat"))
    proxy.wait_for(rule)
    process.says("the server is back")
    assert queue.sweep().retired == 0
    gate.touch()
    runs.wait("end", job_id=job.id)
    assert runs.count("start", job_id=job.id) == 1
