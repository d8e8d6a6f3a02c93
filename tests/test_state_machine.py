"""Any order of commands, stale and repeated ones too: Redis holds what a simple model holds.

The same steps are taken on every kind of server, and after each of them all hold the same. Hypothesis
chooses them; a failure is told as the shortest list of steps that it could find, and with a
`@reproduce_failure` that replays it. With `REDJOBS_TEST_RUNS=100` the test looks longer.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from redjobs import commands
from redjobs.commands import Command, Duplicate, Finished
from redjobs.jobs import Claim, Job, NewJob
from redjobs.keys import BELL, Keys
from tests import invariants
from tests.conftest import Pool
from tests.invariants import Contents
from tests.lua.seeds import ERRORS, HOUR, Lab
from tests.model import Model
from tests.servers import FAKE, Server, real_kinds

T = TypeVar("T")

PRIORITIES = (-1, 0, 5)
UNIQUE = ("a", "b")

_numbers = itertools.count(1)


class Chance:
    """What is chosen at random, from a source of numbers below a number."""

    def __init__(self, below: Callable[[int], int]) -> None:
        self.randrange = below

    def choice(self, items: Sequence[T]) -> T:
        return items[self.randrange(len(items))]

    def randint(self, first: int, last: int) -> int:
        return first + self.randrange(last - first + 1)


class Machine:
    """Sends commands to Redis and tells the model; afterwards both must hold the same."""

    rng: Chance

    def __init__(self, lab: Lab, made: list[NewJob]) -> None:
        self.lab = lab
        self.keys = lab.keys
        self.model = Model()
        #: Jobs that other machines have made: this one sends the same.
        self.made = made
        self.sent: list[NewJob] = []
        self.claims: list[Claim] = []
        self.workers: list[str] = []
        self.numbers = 0
        #: What was sent and answered, for people.
        self.log: list[str] = []

    def run(self, command: Command[T]) -> T:
        reply = self.lab.run(command)
        self.log.append(f"{command.script.name} {command.args} -> {reply}")
        return reply

    # What a step is about -------------------------------------------------------------------

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def chance(self, percent: int) -> bool:
        return self.rng.randrange(100) < percent

    def a_job(self) -> str:
        """A job that was sent lately, whatever has become of it."""
        return self.rng.choice(self.sent[-12:]).id

    def a_worker(self) -> str:
        """Mostly one that is alive, sometimes one that was."""
        alive = sorted(self.model.workers)
        return self.rng.choice(alive if alive and self.chance(85) else self.workers[-6:])

    def a_claim(self) -> Claim:
        """Mostly one that holds, sometimes a stale one, or one that was never made."""
        if not self.claims:
            return self.lab.claim("never-begun")
        holding = [claim for claim in self.claims if self.model.holds(claim.token, claim.id)]
        return self.rng.choice(holding if holding and self.chance(70) else self.claims[-20:])

    # People and programs --------------------------------------------------------------------

    def enqueue(self) -> None:
        self._enqueue(self._new([None, None, *UNIQUE]))

    def enqueue_many(self) -> None:
        # The key that is new is free, so that some of them are in each other's way.
        keys = [None, self.rng.choice(UNIQUE), *[f"new-{self.number()}"] * 2]
        jobs = [self._new(keys) for _ in range(self.rng.randint(2, 5))]
        if self.chance(30):
            old = self.rng.choice(self.sent[: -len(jobs)])
            jobs.insert(self.rng.randrange(len(jobs)), old)
        self._enqueue(*jobs)

    def enqueue_again_after_a_lost_reply(self) -> None:
        self._enqueue(self.rng.choice(self.sent[-12:]))

    def _new(self, keys: Sequence[str | None]) -> NewJob:
        later, priority, key = self.chance(40), self.rng.choice(PRIORITIES), self.rng.choice(keys)
        if len(self.made) == len(self.sent):
            self.made.append(self.lab.new(f"+{HOUR}" if later else "", priority=priority, key=key))
        self.sent.append(self.made[len(self.sent)])
        return self.sent[-1]

    def _enqueue(self, *jobs: NewJob) -> None:
        replies = self.run(commands.enqueue(self.keys, jobs))
        for job, reply in zip(jobs, replies, strict=True):
            word = self.model.enqueue(job, self.lab.run_at(job.id))
            if word in ("exists", job.id):
                assert isinstance(reply, Job)
            else:
                assert reply == Duplicate(word)

    def the_time_of_a_job_comes(self) -> None:
        if self.model.scheduled:
            job_id = self.rng.choice(sorted(self.model.scheduled))
            self.lab.fall_due(job_id, HOUR - self.number())
            self.model.scheduled[job_id] = self.lab.run_at(job_id) or 0

    def cancel(self) -> None:
        job_id = self.a_claim().id if self.chance(40) else self.a_job()
        word, key = self.run(commands.cancel(self.keys, job_id))
        if word == "keyed":
            word, _ = self.run(commands.cancel(self.keys, job_id, key))
        assert word == self.model.cancel(job_id)

    def reschedule(self) -> None:
        job_id, run_at = self.a_job(), self.rng.choice(["", f"+{2 * HOUR}"])
        word, at_ms = self.run(commands.reschedule(self.keys, job_id, run_at))
        assert word == (self.model.settled(job_id) or "rescheduled")
        if word == "rescheduled":
            self.model.reschedule(job_id, at_ms)

    def requeue(self) -> None:
        job_id = self.rng.choice([self.a_job(), *sorted(self.model.dead)])
        word, key = self.run(commands.requeue(self.keys, job_id))
        if word == "keyed":
            word, _ = self.run(commands.requeue(self.keys, job_id, key))
        assert word == self.model.requeue(job_id)

    def delete(self) -> None:
        job_id = self.a_job()
        for key, place in (
            (self.keys.dead, self.model.dead),
            (self.keys.completed, self.model.completed),
        ):
            gone = self.run(commands.delete(self.keys, key, [job_id]))
            assert gone == self.model.delete(place, job_id)

    def look_at_jobs(self) -> None:
        for job in self.sent[-12:]:
            self._look_at(job.id)

    def _look_at(self, job_id: str) -> None:
        state, found = self.model.state(job_id), self.run(commands.peek(self.keys, job_id))
        assert state == ("missing" if found is None else found.state)
        if found is not None:
            job = self.model.jobs[job_id]
            assert (found.attempt, found.crashes) == (job.attempt, job.crashes)
            assert (found.key, found.worker or "") == (job.key, job.worker)
            assert (found.result_payload == b"result") == (state == "completed")

    def look_at_a_unique_key(self) -> None:
        key = self.rng.choice([*UNIQUE, *sorted(self.model.unique)])
        assert self.run(commands.holder(self.keys, key)) == self.model.unique.get(key, "")

    def look_at_wishes(self) -> None:
        wishes = self.run(commands.cancels(self.keys, {*self.model.jobs, *self.model.wishes}))
        assert set(wishes) == self.model.wishes

    # Workers --------------------------------------------------------------------------------

    def a_worker_comes(self) -> None:
        self.workers.append(name := f"w{self.number()}")
        assert self.run(commands.heartbeat(self.keys, [name], HOUR, register=True)) == [True]
        self.model.workers.add(name)

    def a_worker_heartbeats(self) -> None:
        worker = self.a_worker()
        alive = self.run(commands.heartbeat(self.keys, [worker], HOUR))
        assert alive == [worker in self.model.workers]

    def a_worker_takes(self) -> None:
        worker, count = self.a_worker(), self.rng.randint(0, 4)
        priorities = self.rng.choice([[], [-1], [5], [-1, 5], [-1, 5]])
        now = self.lab.now_ms()
        taken = self.run(commands.take(self.keys, worker, count, priorities))
        expected = self.model.take(worker, count, priorities, now)
        assert taken.lapsed == (expected is None)
        if expected is not None:
            assert (taken.ids, set(taken.missing)) == expected
            jobs = sum(len(self.model.ready[priority]) for priority in (0, *priorities))
            assert taken.more in ((jobs, jobs + 1) if jobs else (0,))  # a bell may lie between jobs

    def a_blocked_worker_is_served(self) -> None:
        worker = self.a_worker()
        if self.model.ready[0] and worker in self.model.workers | self.model.retired:
            popped = self.lab.redis.rpoplpush(self.keys.ready, self.keys.processing(worker))
            if popped != BELL.encode():
                self.model.pop(worker)

    def a_worker_begins(self) -> None:
        worker, token = self.a_worker(), f"t{self.number()}"
        ids = [i for i in self.model.processing[worker] if not self.model.jobs[i].token]
        if self.chance(20):
            ids.append(self.rng.choice([self.a_job(), *self.model.processing[worker]]))
        solo = self.rng.randrange(3)
        begun = self.run(commands.begin(self.keys, worker, token, ids, solo))
        expected = self.model.begin(worker, token, ids, solo)
        assert begun.lapsed == (expected is None)
        if expected is not None:
            assert [claim.id for claim in begun.claims] == expected["begun"]
            assert (begun.strange, begun.wait) == (expected["strange"], expected["wait"])
            assert begun.missing == []
        for claim in begun.claims:
            assert claim.attempt == self.model.jobs[claim.id].attempt
        self.claims += begun.claims

    def a_worker_completes(self) -> None:
        one, keeps = self.a_claim(), self.chance(30)
        batch = [c for c in self.claims if c.token == one.token] if self.chance(50) else [one]
        done = [Finished(claim.id, claim.key, HOUR * keeps, b"result") for claim in batch]
        lost = self.run(commands.complete(self.keys, one.worker, one.token, done))
        assert lost == self.model.complete(one.token, [claim.id for claim in batch], keeps)

    def a_worker_retries(self) -> None:
        claim, later, refund = self.a_claim(), self.chance(50), self.chance(30)
        word = self.run(commands.retry(self.keys, claim, HOUR * later, ERRORS, refund=refund))
        wanted = "discarded" if claim.id in self.model.wishes else "scheduled"
        if self._fenced(claim, word, wanted):
            assert self.model.retry(claim.id, self.lab.run_at(claim.id) or 0, refund) == wanted

    def a_worker_buries(self) -> None:
        claim = self.a_claim()
        word = self.run(commands.bury(self.keys, claim, ERRORS))
        wanted = "discarded" if claim.id in self.model.wishes else "dead"
        if self._fenced(claim, word, wanted):
            assert self.model.bury(claim.id) == wanted

    def a_worker_discards(self) -> None:
        claim = self.a_claim()
        if self._fenced(claim, self.run(commands.discard(self.keys, claim)), "discarded"):
            self.model.discard(claim.id)

    def _fenced(self, claim: Claim, word: str, done: str) -> bool:
        held = self.model.holds(claim.token, claim.id)
        assert word == (done if held else "lost")
        return held

    def a_worker_releases(self) -> None:
        worker, token = self.a_worker(), ""
        if self.claims and self.chance(50):
            worker, token = self.a_claim().worker, self.a_claim().token
        ids = list(self.model.processing[worker]) if self.chance(70) else [self.a_job()]
        released = 0
        for command in commands.release(self.keys, worker, token, ids):
            released += self.run(command)
        assert released == self.model.release(worker, token, ids)

    def a_worker_leaves(self) -> None:
        worker, clean = self.a_worker(), self.chance(50)
        if worker not in self.model.retired:
            word = self.run(commands.retire(self.keys, worker, clean=clean))
            assert word == self.model.retire(worker, clean)

    def a_lease_runs_out(self) -> None:
        worker = self.a_worker()
        if worker in self.model.workers:
            self.run(commands.heartbeat(self.keys, [worker], -1))
            looked = self.run(commands.sweep(self.keys, dead_age_ms=HOUR, dead_max=1_000))
            assert (looked.expired, looked.late) == (0, 1)
            swept = self.run(
                commands.sweep(self.keys, dead_age_ms=HOUR, dead_max=1_000, asked_ms=looked.now_ms)
            )
            assert (swept.expired, swept.late) == (1, 0)
            assert swept.completed == swept.dead == []
            self.model.retire(worker, clean=False)

    def what_is_over_is_swept(self) -> None:
        """Results that have expired go, and of the dead those that are old, or the oldest of too many."""
        results = self._aged(self.keys.completed, self.model.completed)
        dead = self._aged(self.keys.dead, self.model.dead)
        by_age, most = self.chance(50), len(self.model.dead)
        age, most = (HOUR, most) if by_age else (3 * HOUR, most - len(dead))
        swept = self.run(commands.sweep(self.keys, dead_age_ms=age, dead_max=most))
        assert (swept.expired, set(swept.retired)) == (0, self.model.retired)
        assert (swept.completed, swept.dead) == (results, dead)
        for key, place, ids in (
            (self.keys.completed, self.model.completed, results),
            (self.keys.dead, self.model.dead, dead),
        ):
            assert self.run(commands.delete(self.keys, key, ids)) == len(ids)
            for job_id in ids:
                self.model.delete(place, job_id)

    def _aged(self, key: str, place: set[str]) -> list[str]:
        """Some of these, as if they had been there for two hours, the oldest first."""
        now, ids = self.lab.now_ms(), sorted(place)
        ids = ids[: 1 + self.rng.randrange(len(ids))] if ids else []
        for job_id in ids:
            self.lab.redis.zadd(key, {job_id: now - 2 * HOUR + self.number()})
        return ids

    def two_sweepers_recover(self) -> None:
        worker, charge = self.rng.choice([self.a_worker(), *sorted(self.model.retired)]), self.chance(60)
        ids = list(self.model.processing[worker])
        if self.chance(20):
            ids = list(dict.fromkeys([*ids, self.a_job()]))
        for command in commands.recover(self.keys, worker, ids, charge=lambda _: charge) * 2:
            named = [str(arg) for arg in command.args[3::3]]
            assert self.run(command) == self.model.recover(worker, named, charge)

    def old_workers_are_forgotten(self) -> None:
        listed = self.run(commands.stranded(self.keys, self.workers, keep_ms=-HOUR))
        for worker, ids in zip(self.workers, listed, strict=True):
            assert [i for i in ids if i != BELL] == self.model.processing[worker][::-1]
            if not ids:
                self.model.retired.discard(worker)

    # What must hold after each step ---------------------------------------------------------

    def check(self) -> None:
        queues, wrong = invariants.read(self.lab.redis)
        redis, model = queues[0], self.model
        assert wrong + invariants.broken_rules(redis) == []
        for name, members in (
            ("dead", model.dead),
            ("completed", model.completed),
            ("cancels", model.wishes),
            ("workers", model.workers),
            ("retired", model.retired),
            ("levels", {str(priority) for priority in model.levels}),
        ):
            assert set(redis.scores.get(name, {})) == members
        assert redis.scores.get("scheduled", {}) == model.scheduled
        assert _orders(redis.ready) == _orders(model.ready, -1)
        assert _orders(redis.processing) == _orders(model.processing, -1)
        assert redis.unique == model.unique
        assert redis.stats == +model.stats
        assert redis.hashes.keys() == model.jobs.keys()
        for job_id, job in model.jobs.items():
            fields = redis.hashes[job_id]
            assert int(fields.get("attempt", 0)) == job.attempt
            assert int(fields.get("crashes", 0)) == job.crashes
            assert fields.get("token", b"").decode() == job.token


def _orders(lists: dict[Any, list[str]], step: int = 1) -> dict[Any, list[str]]:
    ids = {name: [i for i in found if i != BELL][::step] for name, found in lists.items()}
    return {name: found for name, found in ids.items() if found}


#: Each step that there is, as often as it should come.
STEPS: dict[Callable[[Machine], None], int] = {
    Machine.enqueue: 10,
    Machine.enqueue_many: 4,
    Machine.enqueue_again_after_a_lost_reply: 2,
    Machine.the_time_of_a_job_comes: 4,
    Machine.cancel: 3,
    Machine.reschedule: 3,
    Machine.requeue: 3,
    Machine.delete: 2,
    Machine.look_at_jobs: 2,
    Machine.look_at_a_unique_key: 1,
    Machine.look_at_wishes: 1,
    Machine.a_worker_comes: 3,
    Machine.a_worker_heartbeats: 1,
    Machine.a_worker_takes: 10,
    Machine.a_blocked_worker_is_served: 4,
    Machine.a_worker_begins: 12,
    Machine.a_worker_completes: 5,
    Machine.a_worker_retries: 4,
    Machine.a_worker_buries: 4,
    Machine.a_worker_discards: 1,
    Machine.a_worker_releases: 4,
    Machine.a_worker_leaves: 1,
    Machine.a_lease_runs_out: 1,
    Machine.what_is_over_is_swept: 4,
    Machine.two_sweepers_recover: 4,
    Machine.old_workers_are_forgotten: 1,
}


#: So that later steps have something to be about.
FIRST: list[Callable[[Machine], None]] = [
    Machine.a_worker_comes,
    *[Machine.enqueue] * 6,
    *[Machine.a_worker_takes, Machine.a_worker_begins] * 3,
]


def _again(drawn: list[int]) -> Callable[[int], int]:
    numbers = iter(drawn)
    return lambda _most: next(numbers)


WEIGHTED = [step for step, weight in STEPS.items() for _ in range(weight)]


def timeless(found: Contents) -> dict[str, Any]:
    """Everything that a queue holds, but what its times are: these are each server's own."""
    return {
        "hashes": {
            job_id: {name: b"" if name.endswith("_at") else value for name, value in fields.items()}
            for job_id, fields in found.hashes.items()
        },
        "fading": found.fading,
        "members": {name: set(scores) for name, scores in found.scores.items()},
        "stats": found.stats,
        "ready": found.ready,
        "processing": found.processing,
        "unique": found.unique,
    }


def turned(one: Contents, other: Contents) -> list[str]:
    """What stands in one order here and in the opposite one there.

    Two things of one millisecond here may be of two there: they have no order.
    """
    return [
        f"{first} and {second} in {name}"
        for name, scores in one.scores.items()
        for first, second in itertools.combinations(scores, 2)
        # `scores` is in its order: the first has not the greater score here.
        if scores[first] < scores[second] and other.scores[name][first] > other.scores[name][second]
    ]


class AnyOrder(RuleBasedStateMachine):
    """One machine per server; each takes the same steps."""

    def __init__(self, servers: Sequence[Server]) -> None:
        super().__init__()
        for server in servers:
            server.client().flushall()
        keys, made = Keys("queue", f"test-run-{next(_numbers)}"), list[NewJob]()
        self.machines = [Machine(Lab(server, keys), made) for server in servers]

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        for step in FIRST:
            self._take(step, data)

    @rule(step=st.sampled_from(WEIGHTED), data=st.data())
    def step(self, step: Callable[[Machine], None], data: st.DataObject) -> None:
        self._take(step, data)

    def _take(self, step: Callable[[Machine], None], data: st.DataObject) -> None:
        first, *others = self.machines
        drawn: list[int] = []

        def draw(most: int) -> int:
            drawn.append(data.draw(st.integers(0, most - 1)))
            return drawn[-1]

        first.rng = Chance(draw)
        step(first)
        for other in others:
            other.rng = Chance(_again(drawn))
            step(other)

    @invariant()
    def all_hold_what_the_model_holds(self) -> None:
        for machine in self.machines:
            if machine.sent:
                machine.check()

    @invariant()
    def all_hold_the_same(self) -> None:
        first, *others = self.machines
        if first.sent:
            expected = first.lab.contents()
            for other in others:
                found, kinds = other.lab.contents(), f"{other.lab.server.kind} and {first.lab.server.kind}"
                assert timeless(found) == timeless(expected), kinds
                assert turned(expected, found) == [], kinds


@pytest.mark.row(30, 31, 36)
@pytest.mark.timeout(600)
def test_any_order_of_commands_leaves_what_the_model_says(pool: Pool) -> None:
    servers = [pool.get(kind) for kind in (FAKE, *real_kinds())]
    run_state_machine_as_test(
        cast(Any, lambda: AnyOrder(servers)),
        settings=settings(
            max_examples=int(os.environ.get("REDJOBS_TEST_RUNS", "8")),
            stateful_step_count=100,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    for server in servers:
        server.client().flushall()
