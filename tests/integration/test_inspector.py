"""The read side: what it counts, how late it says things are, and that it never reads a whole queue."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from redjobs import commands
from redjobs.access import Role
from redjobs.errors import SettingsError
from redjobs.inspector import MAX_SCAN, Inspector
from redjobs.jobs import State
from redjobs.keys import BELL, Keys, queues_key
from redjobs.snapshots import Page
from tests.lua.seeds import DAY, HOUR, NAME, Lab
from tests.servers import Server

STATES = list(State)


@pytest.fixture
def lab(server: Server, keys: Keys) -> Lab:
    return Lab(server, keys)


@pytest.fixture
def inspector(lab: Lab) -> Inspector:
    return Inspector(lab.server.client_as(Role.ADMIN), lab.keys.prefix)


def page(inspector: Inspector, lab: Lab, state: State, **options: Any) -> Page:
    return inspector.jobs(lab.keys.queue, state, **options)


def ids(page: Page) -> list[str]:
    return [job.id for job in page.jobs]


# One queue ---------------------------------------------------------------------------------------


def test_queues_are_the_names_in_use(inspector: Inspector, lab: Lab) -> None:
    assert inspector.queues() == []
    lab.redis.sadd(queues_key(lab.keys.prefix), "mail", "default", "{no}", "", b"\xff")
    assert inspector.queues() == ["default", "mail"]


def test_a_queue_that_nobody_used_is_empty(inspector: Inspector) -> None:
    status = inspector.queue("nobody")
    assert (status.scheduled, status.ready, status.processing, status.dead, status.completed) == (0,) * 5
    assert (status.latency_ms, status.lateness_ms, status.next_ms, status.late) == (0, 0, None, 0)
    assert status.counters == {}


def test_a_queue_is_counted_by_state_and_over_all_priorities(inspector: Inspector, lab: Lab) -> None:
    lab.dead(2)
    lab.completed(1)
    lab.begun("w1", 3)
    lab.taken("w2", 4)
    lab.scheduled(5)
    lab.ready(2)
    lab.ready(3, priority=-10)
    lab.ready(1, priority=7)
    status = inspector.queue(lab.keys.queue)
    assert (status.scheduled, status.ready, status.processing, status.dead, status.completed) == (
        5,
        6,
        7,
        2,
        1,
    )
    assert status.due == 0
    assert status.late == 6
    assert status.workers == 4  # w1, w2, and those that made the dead and the completed ones
    lab.redis.zadd(lab.keys.workers, {"w1": 1})
    assert inspector.queue(lab.keys.queue).workers == 3, "a lease that has run out is none"
    assert status.counters["enqueued"] == 21
    assert status.counters["dead"] == 2


def test_a_bell_is_never_counted(inspector: Inspector, lab: Lab) -> None:
    lab.scheduled()
    assert lab.redis.lrange(lab.keys.ready, 0, -1) == [BELL.encode()]
    lab.redis.lpush(lab.keys.processing(lab.worker("w1")), BELL)
    assert inspector.queue(lab.keys.queue).ready == 0
    assert inspector.queue(lab.keys.queue).processing == 0
    assert page(inspector, lab, State.READY).total == 0
    assert page(inspector, lab, State.PROCESSING).jobs == ()
    lab.ready(2)
    assert inspector.queue(lab.keys.queue).ready == 2
    assert len(page(inspector, lab, State.READY).jobs) == 2
    assert inspector.workers(lab.keys.queue)[0].jobs == 0


def test_latency_is_the_age_of_the_job_that_is_first_in_its_list(inspector: Inspector, lab: Lab) -> None:
    first, _, third = lab.ready(3)
    lab.redis.hset(lab.keys.job(first), "enqueued_at", lab.now_ms() - 60_000)
    lab.redis.hset(lab.keys.job(third), "enqueued_at", lab.now_ms() - 500_000)
    assert 60_000 <= inspector.queue(lab.keys.queue).latency_ms < 70_000


def test_latency_counts_from_when_a_job_was_due_and_not_from_when_it_was_enqueued(
    inspector: Inspector, lab: Lab
) -> None:
    (job_id,) = lab.ready(1)
    lab.redis.hset(lab.keys.job(job_id), mapping={"enqueued_at": 1, "run_at": lab.now_ms() - 5_000})
    assert 5_000 <= inspector.queue(lab.keys.queue).latency_ms < 15_000


def test_latency_is_that_of_the_slowest_priority(inspector: Inspector, lab: Lab) -> None:
    (slow,) = lab.ready(1, priority=5)
    lab.ready(1)
    lab.redis.hset(lab.keys.job(slow), "enqueued_at", lab.now_ms() - 90_000)
    assert 90_000 <= inspector.queue(lab.keys.queue).latency_ms < 100_000


def test_a_bell_that_lies_first_does_not_hide_the_oldest_job(inspector: Inspector, lab: Lab) -> None:
    lab.scheduled()
    (oldest,) = lab.ready(1)
    assert lab.redis.lindex(lab.keys.ready, -1) == BELL.encode()
    lab.redis.hset(lab.keys.job(oldest), "enqueued_at", lab.now_ms() - 90_000)
    assert 90_000 <= inspector.queue(lab.keys.queue).latency_ms < 100_000


def test_jobs_that_are_due_and_not_promoted_are_late(inspector: Inspector, lab: Lab) -> None:
    lab.scheduled(3)
    assert inspector.queue(lab.keys.queue).lateness_ms == 0
    assert HOUR - 60_000 < (inspector.queue(lab.keys.queue).next_ms or 0) <= HOUR
    lab.due(2, ago_ms=30_000)
    status = inspector.queue(lab.keys.queue)
    assert (status.scheduled, status.due, status.late) == (5, 2, 2)
    assert 30_000 <= status.lateness_ms < 40_000
    assert status.waiting_ms == status.lateness_ms
    assert status.next_ms == 0


def test_a_status_is_plain_data(inspector: Inspector, lab: Lab) -> None:
    lab.ready(1)
    told = inspector.queue(lab.keys.queue).as_dict()
    assert told["name"] == lab.keys.queue
    assert told["ready"] == told["late"] == 1


# Workers -----------------------------------------------------------------------------------------


def test_workers_are_listed_with_their_leases_and_jobs(inspector: Inspector, lab: Lab) -> None:
    name = "web-1.4711.VP7CA5UF"
    lab.begun(name, 2)
    lab.taken(name, 1)
    (worker,) = inspector.workers(lab.keys.queue)
    assert (worker.worker, worker.host, worker.pid, worker.jobs) == (name, "web-1", 4711, 3)
    assert DAY - 60_000 < (worker.lease_left_ms or 0) <= DAY
    assert worker.as_dict()["host"] == "web-1"


def test_a_retired_worker_is_listed_as_long_as_it_holds_jobs(inspector: Inspector, lab: Lab) -> None:
    lab.begun("gone", 1)
    lab.worker("idle")
    lab.lose("gone")
    lab.lose("idle")
    (worker,) = inspector.workers(lab.keys.queue)
    assert (worker.worker, worker.lease_left_ms, worker.jobs, worker.pid) == ("gone", None, 1, None)
    assert inspector.queue(lab.keys.queue).processing == 1
    lab.recover("gone")
    assert inspector.workers(lab.keys.queue) == []


def test_a_lease_that_is_over_is_negative(inspector: Inspector, lab: Lab) -> None:
    lab.worker("late")
    lab.run(commands.heartbeat(lab.keys, ["late"], -5_000))
    (worker,) = inspector.workers(lab.keys.queue)
    assert worker.lease_left_ms is not None and worker.lease_left_ms <= -5_000


# Pages -------------------------------------------------------------------------------------------


def test_each_state_is_listed_in_its_order(inspector: Inspector, lab: Lab) -> None:
    dead = [lab.dead(1)[0] for _ in range(2)]
    lab.redis.zadd(lab.keys.dead, {dead[0]: 1_000, dead[1]: 2_000})
    completed = lab.completed(1)
    ready, urgent, lazy = lab.ready(2), lab.ready(2, priority=-5), lab.ready(1, priority=5)
    scheduled = lab.scheduled(2, in_ms=DAY) + lab.scheduled(1, in_ms=2 * DAY)
    begun = lab.begun("w1", 2)
    assert ids(page(inspector, lab, State.DEAD)) == dead[::-1]
    assert ids(page(inspector, lab, State.COMPLETED)) == completed
    assert ids(page(inspector, lab, State.READY)) == urgent + ready + lazy
    assert ids(page(inspector, lab, State.SCHEDULED)) == scheduled
    assert ids(page(inspector, lab, State.PROCESSING)) == begun


def test_a_page_holds_whole_jobs_but_not_their_arguments(inspector: Inspector, lab: Lab) -> None:
    (job_id,) = lab.dead(1, key="mail:7", max_attempts=3, priority=-2)
    (job,) = page(inspector, lab, State.DEAD).jobs
    assert (job.id, job.name, job.state, job.key, job.priority) == (job_id, NAME, State.DEAD, "mail:7", -2)
    assert job.options.max_attempts == 3
    assert job.errors[0].error == "ValueError: no such user"
    assert job.ended_at_ms is not None
    assert job.payload == b""
    (scheduled,) = lab.scheduled(1)
    (job,) = page(inspector, lab, State.SCHEDULED).jobs
    assert job.run_at_ms == lab.run_at(scheduled)


@pytest.mark.parametrize("state", STATES)
def test_pages_join_without_gap_or_overlap(inspector: Inspector, lab: Lab, state: State) -> None:
    if state is State.READY:
        lab.scheduled()  # a bell lies among them
        wanted = lab.ready(5) + lab.ready(6, priority=3)
    elif state is State.PROCESSING:
        wanted = lab.begun("w1", 5) + lab.begun("w2", 6, token="t2")
    else:
        wanted = {"scheduled": lab.scheduled, "dead": lab.dead, "completed": lab.completed}[state](11)
    found: list[str] = []
    cursor: int | None = 0
    while cursor is not None:
        one = page(inspector, lab, state, cursor=cursor, limit=4)
        assert one.total == 11
        found += ids(one)
        cursor = one.cursor
    assert sorted(found) == sorted(wanted)
    assert len(found) == 11


def test_a_cursor_behind_the_end_is_an_empty_page(inspector: Inspector, lab: Lab) -> None:
    lab.ready(2)
    for state in STATES:
        one = page(inspector, lab, state, cursor=100)
        assert (one.jobs, one.cursor) == ((), None)


def test_a_page_by_name_or_pattern(inspector: Inspector, lab: Lab) -> None:
    first, second, third = lab.scheduled(3)
    lab.redis.hset(lab.keys.job(second), "name", "shop.video:encode")
    assert ids(page(inspector, lab, State.SCHEDULED, name=NAME)) == [first, third]
    assert ids(page(inspector, lab, State.SCHEDULED, name="shop.video:*")) == [second]
    assert ids(page(inspector, lab, State.SCHEDULED, name="shop.*", limit=2)) == [first, second]
    one = page(inspector, lab, State.SCHEDULED, name=NAME, limit=1)
    assert (one.cursor, one.scanned) == (1, 1)
    assert ids(page(inspector, lab, State.SCHEDULED, name=NAME, limit=1, cursor=1)) == [third]


@pytest.mark.parametrize(
    ("options", "problem"), [({"limit": 0}, "limit"), ({"limit": 1_001}, "limit"), ({"cursor": -1}, "cursor")]
)
def test_what_is_no_page_is_refused(inspector: Inspector, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        inspector.jobs("default", State.READY, **options)


@pytest.mark.unchecked("a million jobs would take a minute to enqueue: these have no hashes")
def test_a_page_of_a_long_queue_costs_no_more_than_one_of_a_short_one(inspector: Inspector, lab: Lab) -> None:
    count = 3 * MAX_SCAN
    for start in range(0, count, 10_000):
        lab.redis.zadd(lab.keys.scheduled, {f"id{i:08}": DAY + i for i in range(start, start + 10_000)})
        lab.redis.lpush(lab.keys.ready, *(f"id{i:08}" for i in range(start, start + 10_000)))
    for state in (State.SCHEDULED, State.READY):
        lab.redis.config_resetstat()
        assert page(inspector, lab, state, cursor=count // 2).total == count
        assert _calls(lab) <= 62  # fifty jobs, and what it takes to find them
        lab.redis.config_resetstat()
        one = page(inspector, lab, state, name="nobody:*", cursor=7)
        assert (one.jobs, one.scanned, one.cursor) == ((), MAX_SCAN, MAX_SCAN + 7)
        assert _calls(lab) <= MAX_SCAN + 30
    lab.redis.config_resetstat()
    assert inspector.queue(lab.keys.queue).ready == count
    assert _calls(lab) <= 20


def _calls(lab: Lab) -> int:
    stats = lab.redis.info("commandstats")
    assert not {"cmdstat_keys", "cmdstat_scan", "cmdstat_eval"} & stats.keys()
    return sum(one["calls"] for name, one in stats.items() if not name.startswith("cmdstat_config"))


# What others wrote -------------------------------------------------------------------------------


@pytest.mark.unchecked("holds what redjobs never writes")
@pytest.mark.parametrize(
    "fields",
    [
        {"name": b"\xff\xfe", "enqueued_at": "1"},
        {"name": "shop:x", "enqueued_at": "soon"},
        {"name": "shop:x", "enqueued_at": "9" * 40},
        {"name": "shop:x", "enqueued_at": "1", "options": b"\xc1"},
        {"name": "shop:x", "enqueued_at": "1", "errors": msgpack.packb([["when", None, 3, {}], [1]])},
        {"name": "shop:x", "enqueued_at": "1", "errors": msgpack.packb([["when", None, 3, {}]])},
    ],
)
def test_one_unreadable_job_does_not_hide_the_others(
    inspector: Inspector, lab: Lab, fields: dict[str, Any]
) -> None:
    good = lab.ready(1)
    for strange in ("no-id", "\x1b]0;title\x07", "VP7CA5UFQmMmZfE4Ye9T.x"):
        lab.redis.lpush(lab.keys.ready, strange)
        lab.redis.hset(lab.keys.job(strange), mapping=fields)
    one = page(inspector, lab, State.READY)
    assert len(one.jobs) == 4
    assert one.jobs[0].id == good[0]
    assert len(one.as_dict()["jobs"]) == 4
    assert inspector.queue(lab.keys.queue).ready == 4


def test_a_job_that_is_over_by_now_is_left_out(inspector: Inspector, lab: Lab) -> None:
    gone, stays = lab.ready(2)
    saved = lab.redis.hgetall(lab.keys.job(gone))
    lab.redis.delete(lab.keys.job(gone))
    assert ids(page(inspector, lab, State.READY)) == [stays]
    assert inspector.queue(lab.keys.queue).latency_ms == 0
    lab.redis.hset(lab.keys.job(gone), mapping=saved)
