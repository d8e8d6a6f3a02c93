"""Any order of commands, stale and repeated ones too: Redis holds what a simple model holds.

`REDJOBS_TEST_EXAMPLES=1000 pytest tests/test_state_machine.py` looks longer, and
`--hypothesis-seed=N` replays a run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from redjobs import commands
from redjobs.commands import Duplicate, Finished
from redjobs.job import Claim, Job, NewJob
from redjobs.keys import BELL, Keys
from tests import invariants
from tests.lua.seeds import ERRORS, HOUR, Lab
from tests.model import Model
from tests.servers import Server

pytestmark = pytest.mark.fakeredis

PRIORITIES = (-1, 0, 5)
#: Which one of those that there are; the same numbers mean the same things when an example shrinks.
picks = st.integers(0, 31)
flags = st.booleans()
priorities = st.sampled_from(PRIORITIES)
unique_keys = st.sampled_from([None, None, "a", "b"])


class Machine(RuleBasedStateMachine):
    """Sends commands to Redis and tells the model; afterwards both must hold the same."""

    server: Server

    def __init__(self) -> None:
        super().__init__()
        self.server.client().flushall()
        self.lab = Lab(self.server, Keys("queue", "machine"))
        self.keys = self.lab.keys
        self.model = Model()
        self.sent: list[NewJob] = []
        self.claims: list[Claim] = []
        self.names: list[str] = []
        self.numbers = 0

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    @initialize()
    def two_workers_and_some_jobs(self) -> None:
        self.a_worker_comes()
        self.a_worker_comes()
        self.enqueue([(0, "a"), (0, None), (5, None), (-1, "b")], later=False)

    def worker_of(self, pick: int) -> str:
        """Mostly a worker that is alive, sometimes any that there ever was."""
        alive = [name for name in self.names if name in self.model.workers]
        names = alive if alive and pick % 4 else self.names
        return names[-1 - pick // 4 % len(names)]

    def job_of(self, pick: int) -> str:
        """Any job that there ever was; the newest more often."""
        return self.sent[-1 - pick % len(self.sent)].id

    def claim_of(self, pick: int) -> Claim:
        return self.claims[-1 - pick % len(self.claims)]

    # People and programs

    @rule(jobs=st.lists(st.tuples(priorities, unique_keys), min_size=1, max_size=3), later=flags)
    def enqueue(self, jobs: list[tuple[int, str | None]], later: bool) -> None:
        for priority, key in jobs:
            job = self.lab.new(f"+{HOUR}" if later else "", priority=priority, key=key)
            self.sent.append(job)
            self._enqueue(job)

    @rule(pick=picks)
    def enqueue_again_after_a_lost_reply(self, pick: int) -> None:
        self._enqueue(self.sent[-1 - pick % len(self.sent)])

    def _enqueue(self, job: NewJob) -> None:
        (reply,) = self.lab.run(commands.enqueue(self.keys, [job]))
        word = self.model.enqueue(job, self.lab.run_at(job.id))
        assert isinstance(reply, Job) if word in ("exists", job.id) else reply == Duplicate(word)

    @precondition(lambda self: self.model.scheduled)
    @rule(pick=picks)
    def the_time_of_a_job_comes(self, pick: int) -> None:
        job_id = sorted(self.model.scheduled)[pick % len(self.model.scheduled)]
        self.lab.fall_due(job_id, HOUR - self.number())
        run_at = self.lab.run_at(job_id)
        assert run_at is not None
        self.model.scheduled[job_id] = run_at

    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        job_id = self.job_of(pick)
        word, key = self.lab.run(commands.cancel(self.keys, job_id))
        if word == "keyed":
            word, _ = self.lab.run(commands.cancel(self.keys, job_id, key))
        assert word == self.model.cancel(job_id)

    @rule(pick=picks, later=flags)
    def reschedule(self, pick: int, later: bool) -> None:
        job_id = self.job_of(pick)
        run_at = f"+{2 * HOUR}" if later else ""
        word, at_ms = self.lab.run(commands.reschedule(self.keys, job_id, run_at))
        assert word == (self.model.settled(job_id) or "rescheduled")
        if word == "rescheduled":
            self.model.reschedule(job_id, at_ms)

    @rule(pick=picks)
    def requeue(self, pick: int) -> None:
        job_id = self.job_of(pick)
        word, key = self.lab.run(commands.requeue(self.keys, job_id))
        if word == "keyed":
            word, _ = self.lab.run(commands.requeue(self.keys, job_id, key))
        assert word == self.model.requeue(job_id)

    @rule(pick=picks, dead=flags)
    def delete(self, pick: int, dead: bool) -> None:
        job_id = self.job_of(pick)
        key, place = (
            (self.keys.dead, self.model.dead) if dead else (self.keys.completed, self.model.completed)
        )
        assert self.lab.run(commands.delete(self.keys, key, [job_id])) == self.model.delete(place, job_id)

    # Workers

    @rule()
    def a_worker_comes(self) -> None:
        name = f"w{self.number()}"
        self.names.append(self.lab.worker(name))
        self.model.workers.add(name)

    @rule(pick=picks)
    def a_worker_heartbeats(self, pick: int) -> None:
        worker = self.worker_of(pick)
        alive = self.lab.run(commands.heartbeat(self.keys, [worker], HOUR))
        assert alive == [worker in self.model.workers]

    @rule(pick=picks, count=st.integers(1, 4))
    def a_worker_takes_and_begins(self, pick: int, count: int) -> None:
        self.take(pick, count, [-1, 5])
        self.begin(pick, None)

    @rule(pick=picks, count=st.integers(0, 4), priorities=st.sampled_from([[], [-1], [5], [-1, 5]]))
    def take(self, pick: int, count: int, priorities: list[int]) -> None:
        worker = self.worker_of(pick)
        now = self.lab.now_ms()
        taken = self.lab.run(commands.take(self.keys, worker, count, priorities))
        expected = self.model.take(worker, count, priorities, now)
        assert (None if taken.lapsed else taken.ids) == expected
        if expected is not None:
            left = {priority for priority in PRIORITIES if self.model.ready[priority]}
            assert left - {0, *priorities} <= set(taken.missing)
            assert taken.more == sum(len(self.model.ready[priority]) for priority in (0, *priorities))

    @precondition(lambda self: self.model.ready[0])
    @rule(pick=picks)
    def a_blocked_worker_is_served(self, pick: int) -> None:
        known = sorted(self.model.workers | self.model.retired)
        if known:
            worker = known[pick % len(known)]
            popped = self.lab.redis.rpoplpush(self.keys.ready, self.keys.processing(worker))
            if popped != BELL.encode():
                self.model.pop(worker)

    @rule(pick=picks, extra=st.none() | picks)
    def begin(self, pick: int, extra: int | None) -> None:
        worker, token = self.worker_of(pick), f"t{self.number()}"
        ids = [i for i in self.model.processing[worker] if not self.model.jobs[i].token]
        ids += [] if extra is None else [self.job_of(extra)]
        begun = self.lab.run(commands.begin(self.keys, worker, token, ids))
        expected = self.model.begin(worker, token, ids)
        assert begun.lapsed == (expected is None)
        if expected is not None:
            assert [claim.id for claim in begun.claims] == expected["begun"]
            assert (begun.strange, begun.wait, begun.missing) == (expected["strange"], expected["wait"], [])
        for claim in begun.claims:
            assert claim.attempt == self.model.jobs[claim.id].attempt
        self.claims += begun.claims

    @precondition(lambda self: self.claims)
    @rule(pick=picks, whole=flags, keeps=flags)
    def complete(self, pick: int, whole: bool, keeps: bool) -> None:
        one = self.claim_of(pick)
        claims = [c for c in self.claims if c.token == one.token] if whole else [one]
        done = [Finished(claim.id, claim.key, HOUR * keeps, b"result") for claim in claims]
        lost = self.lab.run(commands.complete(self.keys, one.worker, one.token, done))
        assert lost == self.model.complete(one.token, [claim.id for claim in claims], keeps)

    @precondition(lambda self: self.claims)
    @rule(pick=picks, later=flags, refund=flags)
    def retry(self, pick: int, later: bool, refund: bool) -> None:
        claim = self.claim_of(pick)
        word = self.lab.run(commands.retry(self.keys, claim, HOUR * later, ERRORS, refund=refund))
        if self._fenced(claim, word, "scheduled"):
            run_at = self.lab.run_at(claim.id)
            assert run_at is not None
            self.model.retry(claim.id, run_at, refund)

    @precondition(lambda self: self.claims)
    @rule(pick=picks)
    def bury(self, pick: int) -> None:
        claim = self.claim_of(pick)
        if self._fenced(claim, self.lab.run(commands.bury(self.keys, claim, ERRORS)), "dead"):
            self.model.bury(claim.id)

    @precondition(lambda self: self.claims)
    @rule(pick=picks)
    def discard(self, pick: int) -> None:
        claim = self.claim_of(pick)
        if self._fenced(claim, self.lab.run(commands.discard(self.keys, claim)), "discarded"):
            self.model.discard(claim.id)

    def _fenced(self, claim: Claim, word: str, done: str) -> bool:
        held = self.model.holds(claim.token, claim.id)
        assert word == (done if held else "lost")
        return held

    @rule(pick=picks, begun=flags, only=st.none() | picks)
    def release(self, pick: int, begun: bool, only: int | None) -> None:
        if begun and self.claims:
            worker, token = self.claim_of(pick).worker, self.claim_of(pick).token
        else:
            worker, token = self.worker_of(pick), ""
        ids = list(self.model.processing[worker]) if only is None else [self.job_of(only)]
        assert self.lab.release(worker, token, ids) == self.model.release(worker, token, ids)

    @rule(pick=picks, clean=flags)
    def a_worker_leaves(self, pick: int, clean: bool) -> None:
        worker = self.worker_of(pick)
        if worker not in self.model.retired:
            word = self.lab.run(commands.retire(self.keys, worker, clean=clean))
            assert word == self.model.retire(worker, clean)

    @precondition(lambda self: self.model.workers)
    @rule(pick=picks)
    def a_lease_runs_out(self, pick: int) -> None:
        worker = sorted(self.model.workers)[pick % len(self.model.workers)]
        self.lab.run(commands.heartbeat(self.keys, [worker], -1))
        assert self.lab.sweep().expired == 1
        self.model.retire(worker, clean=False)

    @rule(pick=picks, charge=flags, extra=st.none() | picks, times=st.integers(1, 2))
    def sweepers_recover(self, pick: int, charge: bool, extra: int | None, times: int) -> None:
        worker = self.worker_of(pick)
        ids = list(self.model.processing[worker])
        ids += [self.job_of(extra)] if extra is not None else []
        ids = list(dict.fromkeys(ids))
        for _ in range(times):
            replies = [
                self.lab.run(command)
                for command in commands.recover(self.keys, worker, ids, charge=lambda _: charge)
            ]
            counts = (sum(back for back, _ in replies), sum(crashed for _, crashed in replies))
            assert counts == self.model.recover(worker, ids, charge)

    @rule()
    def old_workers_are_forgotten(self) -> None:
        listed = self.lab.run(commands.stranded(self.keys, self.names, keep_ms=-HOUR))
        for worker, ids in zip(self.names, listed, strict=True):
            assert [i for i in ids if i != BELL] == self.model.processing[worker][::-1]
            if not ids:
                self.model.retired.discard(worker)

    # What must hold after each step

    @invariant()
    def redis_holds_what_the_model_holds(self) -> None:
        (redis,), wrong = invariants.read(self.lab.redis)
        model = self.model
        assert wrong + invariants.broken_rules(redis) == []
        places = {name: set(redis.scores.get(name, {})) for name in ("dead", "completed", "cancels")}
        assert places == {"dead": model.dead, "completed": model.completed, "cancels": model.wishes}
        assert redis.scores.get("scheduled", {}) == model.scheduled
        assert set(redis.scores.get("workers", {})) == model.workers
        assert set(redis.scores.get("retired", {})) == model.retired
        assert redis.unique == model.unique
        for theirs, ours in ((redis.ready, model.ready), (redis.processing, model.processing)):
            assert _orders(theirs) == _orders({name: ids[::-1] for name, ids in ours.items()})  # type: ignore[attr-defined]
        for job_id, job in model.jobs.items():
            fields = redis.hashes[job_id]
            assert (int(fields.get("attempt", 0)), int(fields.get("crashes", 0))) == (job.attempt, job.crashes)
            assert fields.get("token", b"").decode() == job.token
        assert redis.hashes.keys() == model.jobs.keys()
        assert redis.stats == +model.stats


def _orders(lists: dict[Any, list[str]]) -> dict[Any, list[str]]:
    ids = {name: [i for i in found if i != BELL] for name, found in lists.items()}
    return {name: found for name, found in ids.items() if found}


@pytest.mark.timeout(600)  # to shrink an example that fails takes its time
def test_any_order_of_commands_leaves_what_the_model_says(server: Server) -> None:
    machine: Callable[[], Machine] = type("MachineOnServer", (Machine,), {"server": server})
    # fakeredis takes four times as long as a real server, and finds the same.
    examples = int(os.environ.get("REDJOBS_TEST_EXAMPLES", "0")) or (40 if server.real else 15)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
