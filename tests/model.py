"""A queue in a hundred lines of plain Python: what the Lua files must do, without Redis."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from redjobs.ids import priority_of
from redjobs.jobs import NewJob


@dataclass
class ModelJob:
    """What a job's hash says, as far as transitions care."""

    key: str | None = None
    worker: str = ""
    token: str = ""
    attempt: int = 0
    crashes: int = 0


@dataclass
class Model:
    """One queue. Lists hold what is taken first, first; a method's answer is the script's."""

    jobs: dict[str, ModelJob] = field(default_factory=dict)
    scheduled: dict[str, int] = field(default_factory=dict)
    ready: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    #: Priorities other than 0 that may hold jobs; `take` finds out which do not any more.
    levels: set[int] = field(default_factory=set)
    processing: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    dead: set[str] = field(default_factory=set)
    completed: set[str] = field(default_factory=set)
    unique: dict[str, str] = field(default_factory=dict)
    wishes: set[str] = field(default_factory=set)
    workers: set[str] = field(default_factory=set)
    retired: set[str] = field(default_factory=set)
    stats: Counter[str] = field(default_factory=Counter)

    def enqueue(self, job: NewJob, run_at: int | None) -> str:
        """`run_at` is None for now."""
        key = job.options.key
        if job.id in self.jobs:
            return "exists"
        if key in self.unique:
            return self.unique[key]
        self.jobs[job.id] = ModelJob(key)
        self._hold(job.id)
        if run_at is None:
            self._put(job.id, len(self.ready[priority_of(job.id)]))
        else:
            self.scheduled[job.id] = run_at
        self.stats["enqueued"] += 1
        return job.id

    def take(
        self, worker: str, count: int, priorities: Sequence[int], now: int
    ) -> tuple[list[str], set[int]] | None:
        """What is taken, and which priorities should have been declared; None without a lease."""
        if count and worker not in self.workers:
            return None
        declared, missing = {0, *priorities}, set()
        for job_id in sorted(self.scheduled, key=lambda i: (self.scheduled[i], i)):
            priority = priority_of(job_id)
            if self.scheduled[job_id] > now:
                break
            if priority not in declared:
                missing.add(priority)
                continue
            del self.scheduled[job_id]
            self._put(job_id, len(self.ready[priority]))
        taken: list[str] = []
        for priority in sorted({0, *self.levels}):
            if priority not in declared:
                missing.add(priority)
                continue
            wanted = 0 if missing else count - len(taken)
            waiting = self.ready[priority]
            taken += waiting[:wanted]
            del waiting[:wanted]
            if not waiting:
                self.levels.discard(priority)
        self.processing[worker] += taken
        return taken, missing

    def _put(self, job_id: str, position: int) -> None:
        """Into the ready list of its priority."""
        priority = priority_of(job_id)
        self.ready[priority].insert(position, job_id)
        self.levels |= {priority} - {0}

    def pop(self, worker: str) -> None:
        """What a blocked worker is given."""
        self.processing[worker].append(self.ready[0].pop(0))

    def begin(
        self, worker: str, token: str, ids: Sequence[str], solo: int = 0
    ) -> dict[str, list[str]] | None:
        if worker not in self.workers:
            return None
        mine = set(self.processing[worker])
        found: dict[str, list[str]] = {"begun": [], "strange": [], "wait": []}
        for job_id in ids:
            if job_id not in mine or self.jobs[job_id].token:
                found["strange"].append(job_id)
            elif 0 < solo <= self.jobs[job_id].crashes:
                found["wait"].append(job_id)
            else:
                mine.remove(job_id)
                found["begun"].append(job_id)
        for job_id in found["begun"]:
            job = self.jobs[job_id]
            job.worker, job.token, job.attempt = worker, token, job.attempt + 1
        return found

    def holds(self, token: str, job_id: str) -> bool:
        """Whether this claim is still the job's."""
        return job_id in self.jobs and self.jobs[job_id].token == token

    def _end(self, job_id: str) -> ModelJob:
        job = self.jobs[job_id]
        self.processing[job.worker].remove(job_id)
        job.worker = job.token = ""
        return job

    def _hold(self, job_id: str) -> None:
        if key := self.jobs[job_id].key:
            self.unique[key] = job_id

    def _free(self, job_id: str) -> None:
        key = self.jobs[job_id].key
        if key and self.unique.get(key) == job_id:
            del self.unique[key]

    def complete(self, token: str, ids: Sequence[str], keeps: bool) -> list[str]:
        held = [job_id for job_id in ids if self.holds(token, job_id)]
        for job_id in held:
            self._end(job_id)
            self._free(job_id)
            if keeps:
                self.completed.add(job_id)
            else:
                del self.jobs[job_id]
            self.stats["completed"] += 1
        return [job_id for job_id in ids if job_id not in held]

    def retry(self, job_id: str, run_at: int, refund: bool) -> str:
        if job_id in self.wishes:
            self.discard(job_id)
            return "discarded"
        job = self._end(job_id)
        job.attempt -= refund
        job.crashes = 0
        self.scheduled[job_id] = run_at
        self.stats["snoozed" if refund else "retried"] += 1
        return "scheduled"

    def bury(self, job_id: str) -> str:
        if job_id in self.wishes:
            self.discard(job_id)
            return "discarded"
        self._end(job_id)
        self._free(job_id)
        self.dead.add(job_id)
        self.stats["dead"] += 1
        return "dead"

    def discard(self, job_id: str) -> None:
        self._end(job_id)
        self._free(job_id)
        del self.jobs[job_id]
        self.wishes.discard(job_id)
        self.stats["cancelled"] += 1

    def release(self, worker: str, token: str, ids: Sequence[str]) -> int:
        mine = [i for i in ids if i in self.processing[worker] and self.jobs[i].token == token]
        for job_id in reversed(mine):
            self._give_back(worker, job_id)
        self.stats["released"] += len(mine)
        return len(mine)

    def recover(self, worker: str, ids: Sequence[str], charge: bool) -> tuple[int, int]:
        theirs = [i for i in ids if i in self.processing[worker]] if worker in self.retired else []
        crashed = [i for i in theirs if self.jobs[i].token and charge]
        for job_id in reversed(theirs):
            self._give_back(worker, job_id)
        for job_id in crashed:
            self.jobs[job_id].crashes += 1
        self.stats["recovered"] += len(theirs)
        return len(theirs), len(crashed)

    def _give_back(self, worker: str, job_id: str) -> None:
        job = self.jobs[job_id]
        self.processing[worker].remove(job_id)
        job.attempt -= bool(job.token)
        job.worker = job.token = ""
        self._put(job_id, 0)

    def retire(self, worker: str, clean: bool) -> str:
        self.workers.discard(worker)
        if clean and not self.processing[worker]:
            return "left"
        self.retired.add(worker)
        return "stranded"

    def state(self, job_id: str) -> str:
        """What a look at a job says; what was taken and not begun is ready still."""
        if job_id not in self.jobs:
            return "missing"
        for name in ("scheduled", "dead", "completed"):
            if job_id in getattr(self, name):
                return name
        return "processing" if self.jobs[job_id].token else "ready"

    def settled(self, job_id: str) -> str:
        """Why a job cannot be cancelled or rescheduled; '' where it can."""
        if job_id not in self.jobs:
            return "missing"
        for place, word in ((self.dead, "dead"), (self.completed, "completed")):
            if job_id in place:
                return word
        waits = job_id in self.scheduled or job_id in self.ready[priority_of(job_id)]
        return "" if waits else "processing"

    def cancel(self, job_id: str) -> str:
        if word := self.settled(job_id):
            if word == "processing":
                self.wishes.add(job_id)
            return word
        self._unplace(job_id)
        self._free(job_id)
        del self.jobs[job_id]
        self.wishes.discard(job_id)
        self.stats["cancelled"] += 1
        return "cancelled"

    def _unplace(self, job_id: str) -> None:
        if self.scheduled.pop(job_id, None) is None:
            self.ready[priority_of(job_id)].remove(job_id)

    def reschedule(self, job_id: str, run_at: int) -> None:
        self._unplace(job_id)
        self.scheduled[job_id] = run_at

    def requeue(self, job_id: str) -> str:
        if job_id not in self.jobs:
            return "missing"
        if job_id not in self.dead:
            return "notdead"
        job = self.jobs[job_id]
        if job.key in self.unique:
            return "duplicate"
        self.dead.remove(job_id)
        job.attempt = job.crashes = 0
        self._hold(job_id)
        self._put(job_id, len(self.ready[priority_of(job_id)]))
        self.stats["requeued"] += 1
        return "ready"

    def delete(self, place: set[str], job_id: str) -> int:
        if job_id not in place:
            return 0
        place.remove(job_id)
        del self.jobs[job_id]
        return 1
