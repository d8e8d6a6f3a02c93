"""A cluster: each queue has one node, which may change; producers and workers follow."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from redjobs import AsyncQueue, Job, JobNotFound, Queue, State, Verdict, call, connect
from redjobs.access import WISHES, Role
from redjobs.connect import patience
from redjobs.errors import NotReplicated, ServerUnavailable, SettingsError
from redjobs.inspector import Inspector
from redjobs.keys import Keys, queues_key
from redjobs.settings import resolve_url
from redjobs.worker.link import Link
from tests import invariants
from tests.accounts import NO_RIGHT, member
from tests.cli import Cli
from tests.groups import Cluster, Node, cluster
from tests.waiting import wait_until
from tests.worker.conftest import Start
from tests.worker.handlers import record, wait
from tests.worker.runs import Runs

TAG = "{default}"


@pytest.fixture
def server() -> Iterator[Cluster]:
    with cluster() as six:
        yield six


class Load:
    """A thread that enqueues one job after the other, and remembers which were accepted."""

    def __init__(self, queue: Queue) -> None:
        self.accepted: list[str] = []
        self.refused = 0
        self._queue = queue
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._ends.is_set():
            number += 1
            try:
                self._queue.enqueue(record, str(number))
            except ServerUnavailable:
                self.refused += 1
            else:
                self.accepted.append(str(number))

    def goes_on(self) -> None:
        """Wait until more jobs are accepted."""
        enough = len(self.accepted) + 100
        wait_until(lambda: len(self.accepted) >= enough, 30, "jobs are accepted")

    def stop(self) -> list[str]:
        """What was accepted."""
        self._ends.set()
        self._thread.join(30)
        return self.accepted


@pytest.fixture
def start_load(queue: Queue) -> Iterator[Callable[[], Load]]:
    """Ends the load before the servers are ended, however the test does."""
    with contextlib.ExitStack() as stack:

        def start() -> Load:
            load = Load(queue)
            stack.callback(load.stop)
            load.goes_on()
            return load

        yield start


def other(server: Cluster, key: str = TAG) -> tuple[Node, Node]:
    """The node of a key, and another primary."""
    home = server.home_of(key)
    return home, server.other_than(home)


def move_by_key(server: Cluster, key: str = TAG) -> None:
    source, target = other(server, key)
    slot = server.open_slot(key, source, target)
    while server.move_keys(key, source, target):
        pass
    server.close_slot(slot, target)
    wait_until(lambda: server.home_of(key) is target)


def move_at_once(server: Cluster, key: str = TAG) -> None:
    if not server.moves_at_once:
        pytest.skip("this server moves slots key by key only")
    server.migrate(key, *other(server, key))


def move_slot(server: Cluster, key: str = TAG) -> None:
    """As this server does it best."""
    (move_at_once if server.moves_at_once else move_by_key)(server, key)


@pytest.mark.slow
@pytest.mark.row(22)
def test_a_queue_goes_on_where_its_slot_has_moved(
    server: Cluster, queue: Queue, worker: Start, runs: Runs
) -> None:
    others = Queue("others", url=server.url, shards=3)
    queue.enqueue(record, "before")
    others.enqueue(record, "others")
    # Not before: shards that are new to it a worker finds within half a minute.
    process = worker(queues=("default", "others"))
    runs.wait("end", "before")
    runs.wait("end", "others")

    move_slot(server)
    queue.enqueue(record, "after")
    runs.wait("end", "after")

    async def enqueue() -> None:
        async_queue = AsyncQueue(url=server.url)
        await async_queue.enqueue(record, "async")
        await async_queue.close()

    asyncio.run(enqueue())
    runs.wait("end", "async")
    # A job's end is told a moment after it has written it down.
    wait_until(lambda: Inspector(queue.redis).queue("default").counters["completed"] == 3)
    assert process.stop() == 0
    others.close()
    invariants.check(server.client())


@pytest.mark.slow
@pytest.mark.row(22)
def test_nodes_that_are_to_be_known_by_their_hostnames_and_have_none(
    server: Cluster, queue: Queue, worker: Start, runs: Runs
) -> None:
    """As `?` they are listed, and that is where one is sent whose slot has moved."""
    for node in server.nodes:
        try:
            node.client().config_set("cluster-preferred-endpoint-type", "hostname")
        except redis.ResponseError:
            pytest.skip("this server knows addresses only")
    queue.enqueue(record, "before")
    process = worker()
    runs.wait("end", "before")
    move_slot(server)
    queue.enqueue(record, "after")
    runs.wait("end", "after")
    assert process.stop() == 0


@pytest.mark.row(22)
def test_a_slot_moves_and_its_node_is_killed_under_load(
    server: Cluster, start_load: Callable[[], Load], worker: Start, runs: Runs
) -> None:
    """A short round of the slow ones that follow."""
    process = worker(threads=2)
    load = start_load()
    move_slot(server)
    load.goes_on()
    moved = set(load.accepted)
    wait_until(lambda: set(runs.texts()) >= moved, 30, "all have run that were accepted while it moved")

    home = server.home_of(TAG)
    wait_until(server.is_well, 20, "its replica has the slot, too")
    home.kill()
    load.goes_on()
    accepted = load.stop()
    wait_until(lambda: set(runs.texts()) >= set(accepted[-100:]), 30, "all that the new node accepted")
    wait_until(lambda: len(set(accepted) - set(runs.texts())) < 50, 30, "all but the last before it")
    lost = set(accepted) - set(runs.texts())
    print(f"{len(lost)} of {len(accepted)} lost, {load.refused} refused")
    assert process.stop() == 0
    invariants.check(server.client())


@pytest.mark.slow
@pytest.mark.row(22)
@pytest.mark.parametrize("move", [move_by_key, move_at_once])
def test_a_slot_moves_under_load_and_nothing_is_lost(
    server: Cluster,
    start_load: Callable[[], Load],
    worker: Start,
    runs: Runs,
    move: Callable[[Cluster], None],
) -> None:
    process = worker(threads=2)
    load = start_load()
    for _ in range(3):
        move(server)
        load.goes_on()
    accepted = load.stop()

    wait_until(lambda: set(runs.texts()) >= set(accepted), 30, "all have run")
    assert load.refused == 0
    assert len(runs.texts()) == len(set(runs.texts())), "none has run twice"
    assert process.stop() == 0
    invariants.check(server.client())


@pytest.mark.slow
@pytest.mark.row(22)
def test_while_a_slot_moves_key_by_key_its_queue_says_that_it_waits(
    server: Cluster, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", 0.5)
    queue.enqueue(record, "before")
    others = Queue("others", url=server.url)
    source, target = other(server)
    slot = server.open_slot(TAG, source, target)
    server.move_keys(TAG, source, target)
    with pytest.raises(ServerUnavailable, match=r"key by key.*nothing was done"):
        queue.enqueue(record, "meanwhile")
    assert others.enqueue(record, "others").created

    server.close_slot(slot, target)
    assert queue.enqueue(record, "after").created
    status = Inspector(queue.redis).queue("default")
    assert status.ready == 2
    others.close()


@pytest.mark.slow
@pytest.mark.row(22)
@pytest.mark.parametrize("which", ["all keys", "every other key"])
def test_while_a_slot_moves_key_by_key_a_job_goes_on_that_runs(
    server: Cluster, queue: Queue, worker: Start, runs: Runs, gate: Path, which: str
) -> None:
    """For longer than a lease, which nobody can renew meanwhile; others wait in the queue, and before it."""
    workers = [worker(processes=processes, threads=2, lease=3.0) for processes in (1, 0)]
    slow = [queue.enqueue(wait, str(gate)) for _ in range(6)]
    runs.wait("start", times=4)
    backlog = queue.enqueue_many(call(record, str(number)) for number in range(20))
    later = [queue.enqueue_in(timedelta(seconds=2), record, f"later {number}") for number in range(5)]

    source, target = other(server)
    slot = server.open_slot(TAG, source, target)
    moved = sorted(server.keys_of(TAG, source))[:: 1 if which == "all keys" else 2]
    server.move_some(moved, source, target)
    for process in workers:
        process.says("key by key")
    at = time.monotonic()
    wait_until(lambda: time.monotonic() > at + 7.0, 10)
    while server.move_keys(TAG, source, target):
        pass
    server.close_slot(slot, target)
    gate.touch()

    accepted = {each.id for each in (*slow, *backlog, *later)}
    wait_until(lambda: {line.job_id for line in runs.lines("end")} == accepted, 30, "all have run")
    wait_until(lambda: not jobs_left(server), 20, "all are settled")
    assert sorted(line.job_id for line in runs.lines("start")) == sorted(accepted), "each has run once"
    assert {line.attempt for line in runs.lines("start")} == {1}
    for process in workers:
        assert process.count("swept") == 0, process.log
        assert process.stop() == 0
    invariants.check(server.client())


def jobs_left(server: Cluster) -> list[bytes]:
    """The keys of jobs of the queue `default`."""
    return [key for key in server.keys_of(TAG, server.home_of(TAG)) if b":job:" in key]


@pytest.mark.slow
@pytest.mark.row(22)
@pytest.mark.parametrize("round_", range(3))
def test_the_node_of_a_queue_is_killed(
    server: Cluster,
    queue: Queue,
    start_load: Callable[[], Load],
    worker: Start,
    runs: Runs,
    round_: int,
) -> None:
    process = worker(threads=2)
    queue.enqueue(record, f"before {round_}")
    runs.wait("end")
    home = server.home_of(TAG)
    assert queue.redis.wait(1, 5000) == 1
    load = start_load()
    home.kill()
    load.goes_on()
    accepted = load.stop()

    wait_until(lambda: set(runs.texts()) >= set(accepted[-100:]), 30, "all that the new node accepted")
    # What was acknowledged and not yet replicated is lost: the last milliseconds before it was killed.
    # What the worker was just beginning is found by its next comparison.
    wait_until(lambda: len(set(accepted) - set(runs.texts())) < 50, 30, "all but the last before it")
    assert process.stop() == 0
    invariants.check(server.client())


def names_on(server: Cluster, node: Node, count: int) -> list[str]:
    """Queues of this node."""
    names = (f"queue-{number}" for number in range(1000))
    return list(itertools.islice((name for name in names if server.home_of(f"{{{name}}}") is node), count))


@pytest.mark.slow
@pytest.mark.row(22)
def test_a_node_that_hangs_costs_the_queues_of_the_others_no_lease(
    server: Cluster, worker: Start, runs: Runs, gate: Path
) -> None:
    home = server.home_of(TAG)
    server.replica_of(home).kill()  # so that nobody takes its place
    lame = names_on(server, home, 4)
    (well,) = names_on(server, server.other_than(home), 1)
    queue = Queue(well, url=server.url)
    process = worker(processes=1, queues=(well, *lame), lease=12.0)
    job = queue.enqueue(wait, str(gate))
    runs.wait("start", job_id=job.id)
    home.process.send_signal(signal.SIGSTOP)
    try:
        (name,) = map(bytes, cast(list[bytes], queue.redis.zrange(queue.keys.workers, 0, -1)))
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            assert float(queue.redis.zscore(queue.keys.workers, name) or 0) > time.time() * 1000
    finally:
        home.process.send_signal(signal.SIGCONT)
    gate.touch()
    (line,) = runs.wait("end", job_id=job.id)
    assert line.attempt == 1
    assert process.stop(30) == 0
    queue.close()


@pytest.mark.slow
@pytest.mark.row(21, 22)
def test_a_node_that_hung_wakes_up_when_its_replica_has_taken_over(
    server: Cluster, worker: Start, runs: Runs
) -> None:
    """It carries out what it has got meanwhile, before it hears that the slot is not its own any more."""
    queues = [Queue(url=server.url) for _ in range(3)]
    for queue in queues:
        queue.enqueue(record, "before")
    former = server.home_of(TAG)
    with ThreadPoolExecutor(4) as producers:
        former.process.send_signal(signal.SIGSTOP)
        try:
            calls = [producers.submit(queue.enqueue, record, "meanwhile") for queue in queues]
            calls.append(producers.submit(enqueue_async, server.url, "meanwhile, async"))
            wait_until(lambda: server.has_lost(former, TAG), 40, "all others name its replica")
        finally:
            former.process.send_signal(signal.SIGCONT)
        jobs = [call.result(30) for call in calls]
    process = worker()
    for job in jobs:
        runs.wait("end", job_id=job.id, timeout=30)
    assert process.stop(30) == 0
    for queue in queues:
        queue.close()


@pytest.mark.slow
def test_an_idle_queue_costs_no_more_than_its_own_calls(server: Cluster, queue: Queue) -> None:
    """A blocking call that ends with its time is not taken for the answer of a node that hung."""
    link = Link(connect.connect_worker(resolve_url(server.url)))
    link.pop(queue.keys, "worker")
    before = maps_read(server)
    assert link.wait(10) == [(queue.name, None)]
    assert maps_read(server) == before
    link.close()


def maps_read(server: Cluster) -> int:
    """How often nodes were asked who has which slot."""
    found: list[Any] = [node.client().info("commandstats") for node in server.nodes]
    return sum(stats.get("cmdstat_cluster|slots", {"calls": 0})["calls"] for stats in found)


def enqueue_async(url: str, text: str) -> Job:
    async def enqueue() -> Job:
        queue = AsyncQueue(url=url)
        job = await queue.enqueue(record, text)
        await queue.close()
        return job

    return asyncio.run(enqueue())


def other_name(server: Cluster) -> str:
    """A queue on another node."""
    home, names = server.home_of(TAG), ["others", *"abcdefgh"]
    found: str = next(name for name in names if server.home_of(f"{{{name}}}") is not home)
    return found


@pytest.mark.slow
def test_a_queue_on_another_node_goes_on(server: Cluster, worker: Start, runs: Runs) -> None:
    # Without its replica, so that the node stays away.
    name = other_name(server)
    home = server.home_of(TAG)
    replica = server.replica_of(home)
    queue, others = Queue(url=server.url), Queue(name, url=server.url)
    process = worker(queues=("default", name))
    queue.enqueue(record, "before")
    runs.wait("end", "before")

    replica.kill()
    home.kill()
    for number in range(20):
        others.enqueue(record, f"meanwhile {number}")
    runs.wait("end", "meanwhile 19")
    process.says("its node does not answer")

    home.start()
    wait_until(home.answers)
    wait_until(server.is_served, 20)
    queue.enqueue(record, "after")
    runs.wait("end", "after", timeout=20)
    assert process.stop() == 0
    queue.close()
    others.close()


@pytest.mark.slow
def test_the_node_that_has_the_names_of_queues_keeps_nobody_from_starting(
    server: Cluster, worker: Start, runs: Runs
) -> None:
    home = server.home_of(queues_key())
    (name,) = names_on(server, server.other_than(home), 1)
    server.replica_of(home).kill()
    home.kill()
    queue = Queue(name, url=server.url)
    queue.enqueue(record, "before")
    process = worker(queues=(name,))
    runs.wait("end", "before", timeout=20)
    queue.enqueue(record, "after")
    runs.wait("end", "after")

    home.start()
    wait_until(home.answers)
    wait_until(server.is_served, 20)
    names = home.client()
    wait_until(lambda: name.encode() in names.smembers(queues_key()), 20)
    assert process.stop() == 0
    queue.close()


@pytest.mark.slow
@pytest.mark.row(22)
def test_one_queue_on_all_nodes(server: Cluster, worker: Start, runs: Runs, gate: Path) -> None:
    queue = Queue("mail", url=server.url, shards=8)
    assert len({server.home_of(f"{{mail/{number}}}").port for number in range(8)}) == 3
    queue.enqueue_many(call(record, str(number)) for number in range(200))
    later = [
        queue.options(key=f"key-{number}").enqueue_in(timedelta(hours=1), record, f"later {number}")
        for number in range(16)
    ]
    assert [queue.cancel(later[0].id), queue.cancel("key-1")] == [Verdict.CANCELLED] * 2
    assert queue.get("key-2").id == queue.get(later[2].id).id == later[2].id
    assert queue.reschedule("key-3", 0) is Verdict.RESCHEDULED
    assert not queue.options(key="key-4").enqueue(record, "twice").created
    cli = Cli(server, queue.keys)  # type: ignore[arg-type]  # it has a url, too
    shards = cli.json("status")["queues"]
    assert [sum(shard[place] for shard in shards) for place in ("ready", "scheduled")] == [200, 14]

    asyncio.run(use_shards(server.url))
    process = worker(queues=("mail",))
    ran = {*map(str, range(200)), "later 3", "async", *(f"async {number}" for number in range(50))}
    wait_until(lambda: set(runs.texts()) == ran, 30)
    status = cli.json("status")["queues"]
    assert [sum(shard[place] for shard in status) for place in ("ready", "scheduled")] == [0, 12]

    # A shard moves, the worker dies, a sweep recovers: as with a queue of one part.
    held = queue.enqueue(wait, str(gate), "held")
    runs.wait("start", job_id=held.id)
    move_slot(server, "{mail/0}")
    process.destroy()
    wait_until(lambda: queue.sweep().recovered, 40, "a sweep finds the dead worker's jobs")
    gate.touch()
    worker(queues=("mail",))
    runs.wait("end", job_id=held.id, timeout=30)
    queue.close()


@pytest.mark.slow
@pytest.mark.row(22)
def test_one_replica_of_a_sharded_queue_does_not_answer(server: Cluster) -> None:
    """All jobs are there, and those are named that their node alone has."""
    queue = Queue("mail", url=server.url, shards=8, wait_replicas=1)
    before = {job.id for job in queue.enqueue_many(call(record, "before") for _ in range(40))}
    home = server.home_of("{mail/0}")
    replica = server.replica_of(home)
    replica.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(NotReplicated, match="accepted, not replicated: 0 of 1 replicas") as caught:
            queue.enqueue_many(call(record, "bulk") for _ in range(200))
    finally:
        replica.process.send_signal(signal.SIGCONT)
    there = {job.id: job.queue for job in jobs_of(server) if job.id not in before}
    assert len(there) == 200
    at_home = {job_id for job_id, shard in there.items() if server.home_of(f"{{{shard}}}") is home}
    assert set(caught.value.job_ids) == at_home and 0 < len(at_home) < 200
    queue.close()


async def use_shards(url: str) -> None:
    """What coroutines do with a sharded queue. One of the scheduled jobs is gone afterwards."""
    queue = AsyncQueue("mail", url=url, shards=8)
    job = await queue.enqueue(record, "async")
    many = await queue.enqueue_many(call(record, f"async {number}") for number in range(50))
    assert len({each.queue for each in many}) == 8
    for each in (job, many[0], many[-1]):
        assert (await queue.get(each.id)).id == each.id
    assert (await queue.get("key-5")).key == "key-5"
    assert await queue.cancel("key-5") is Verdict.CANCELLED
    with pytest.raises(JobNotFound):
        await queue.get("key-5")
    await queue.close()


def jobs_of(server: Cluster) -> list[Job]:
    """All that are ready, in all shards."""
    client = connect.connect(resolve_url(server.url))
    inspector = Inspector(client)
    found = [inspector.jobs(f"mail/{n}", State.READY, limit=1000).jobs for n in range(8)]
    client.close()
    return list(itertools.chain(*found))


@pytest.mark.slow
def test_the_command_line(server: Cluster, queue: Queue) -> None:
    cli = Cli(server, queue.keys)  # type: ignore[arg-type]  # it has a url, too
    others = Queue("others", url=server.url, shards=4)
    job = queue.enqueue(record, "x")
    others.enqueue_many(call(record, str(number)) for number in range(40))

    found = {one["name"]: one["ready"] for one in cli.json("status")["queues"]}
    assert found.pop("default") == 1
    assert sum(found.values()) == 40 and min(found.values()) > 0
    assert cli.json("jobs", "show", job.id)["id"] == job.id
    assert cli.json("sweep")["queues"]
    assert not any(each["ids"] for each in cli.json("sweep", "--deep")["strays"].values())
    gone = others.get(others.enqueue(record, "gone").id)
    others.redis.delete(Keys(gone.queue).job(gone.id))
    strays = cli.json("sweep", "--deep", code=1)["strays"]
    assert {part: each["ids"] for part, each in strays.items() if each["ids"]} == {gone.queue: [gone.id]}
    assert cli.json("clear", "others", "--yes")["removed"]["ready"] == 40
    others.close()


@pytest.mark.row(27)
def test_the_printed_rights_are_enough_in_a_cluster(
    server: Cluster, worker: Start, runs: Runs, tmp_path: Path
) -> None:
    roles = {role: member(server, tmp_path, role) for role in Role}
    queue = Queue(url=roles[Role.PRODUCER].url, wait_replicas=1)
    process = worker(url=roles[Role.WORKER].url, queues=("default", "others"))
    queue.enqueue(record, "before")
    runs.wait("end", "before")
    move_slot(server)
    queue.enqueue(record, "after")
    runs.wait("end", "after")
    queue.enqueue_in(timedelta(hours=1), record, "later")
    queue.close()
    assert process.stop() == 0
    assert process.count("no permission") == process.count("Traceback") == 0, process.log
    cli = Cli(server, Keys("default"), env={"REDJOBS_URL": roles[Role.ADMIN].url})  # type: ignore[arg-type]
    assert cli.json("clear", "default", "--yes")["removed"]["scheduled"] == 1
    waits = [(role, "wait") for role in (Role.PRODUCER, Role.WORKER)]  # its handlers may enqueue
    for role, denied in (*waits, *((role, "cluster|slots") for role in Role)):
        allowed = Queue(url=roles[role].url, wait_replicas=int(denied == "wait"))
        assert allowed.enqueue(record, "allowed").created
        allowed.close()
        roles[role].lacks(denied)
        refused = Queue(url=roles[role].url, wait_replicas=1)
        with pytest.raises((redis.ResponseError, NotReplicated), match=NO_RIGHT):
            refused.enqueue(record, "refused")
        refused.close()
        roles[role].may_again(denied)


@pytest.mark.slow
def test_a_worker_in_a_cluster_does_without_its_wishes(
    server: Cluster, queue: Queue, worker: Start, runs: Runs, tmp_path: Path
) -> None:
    user = member(server, tmp_path, Role.WORKER)
    for wish in WISHES:
        user.lacks(wish)
    process = worker(url=user.url)
    queue.enqueue(record, "x")
    runs.wait("end", "x")
    assert process.stop() == 0
    for word in ("refuses", "no permission", "Traceback"):
        assert process.count(word) == 0, process.log


@pytest.mark.slow
def test_nobody_there_and_clients_of_others() -> None:
    queue = Queue(url="redis+cluster://127.0.0.1:1,127.0.0.1:2")
    with pytest.raises(ServerUnavailable, match="no node of the cluster at"):
        queue.enqueue(record, "x")
    queue.close()


def test_redis_pys_own_client_for_clusters_is_refused() -> None:
    client: Any = object.__new__(redis.RedisCluster)  # a whole one would have asked a cluster
    with pytest.raises(SettingsError, match=r"redis\+cluster://"):
        Queue(client=client)
