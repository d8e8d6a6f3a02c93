"""Those who enqueue, cancel and reschedule, as an application would, while everything breaks."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import redis

from redjobs import AsyncQueue, Queue
from redjobs.calls import Call
from redjobs.errors import EnqueueUnknown, RedjobsError
from redjobs.jobs import Job, NewJob, Verdict
from tests.chaos import jobs
from tests.chaos.history import History
from tests.chaos.record import Record

QUEUES = ("critical", "default")
#: So many jobs may wait before the load pauses: the end of a run must not take longer than the run.
_BACKLOG = 250
_REFUSED = (RedjobsError, redis.RedisError)
#: Jobs with a key: a few keys that are often held.
_KEYS = 8


class _Overheard(Queue):
    """Its jobs are known when they are sent, whatever becomes of the calls; also through `options`."""

    history: History

    def _new(self, wanted: Call) -> NewJob:
        return _remember(self.history, self.name, super()._new(wanted))


class _OverheardAsync(AsyncQueue):
    """The same for coroutines."""

    history: History

    def _new(self, wanted: Call) -> NewJob:
        return _remember(self.history, self.name, super()._new(wanted))


def _remember(history: History, queue: str, job: NewJob) -> NewJob:
    history.attempted.add(job.id)
    if job.options.key is not None:
        history.keyed[job.id] = f"{queue} {job.options.key}"
    if job.name == jobs.poison.name:
        history.poison.add(job.id)
    return job


class Load(threading.Thread):
    """Enqueues until it is stopped, from a seed."""

    def __init__(
        self, seed: int, url: str, history: History, record: Record, *, lease: float, poison: bool
    ) -> None:
        super().__init__(name="load", daemon=True)
        #: About as long as a lease; shorter than the grace of a stop.
        self._long_ms = round(min(lease, 4.0) * 1000)
        self._random = random.Random(f"load {seed}")
        self._history = history
        self._record = record
        self._poison = poison
        self._queues = [_Overheard(name, url=url) for name in QUEUES]
        self._runner = asyncio.Runner()
        self._async_queues = [_OverheardAsync(name, url=url) for name in QUEUES]
        for queue in self._queues:
            queue.history = history
        for async_queue in self._async_queues:
            async_queue.history = history
        self._number = 0
        #: The newest jobs that are for later, and others: whom people meddle with.
        self._later: deque[tuple[Queue, str]] = deque(maxlen=50)
        self._newest: deque[tuple[Queue, str]] = deque(maxlen=50)
        self._told_to_end = threading.Event()
        self.problem: BaseException | None = None

    def stop(self) -> None:
        """No more; returns when the last call has returned."""
        self._told_to_end.set()
        self.join()
        for queue in self._queues:
            queue.close()
        for async_queue in self._async_queues:
            self._runner.run(async_queue.close())
        self._runner.close()

    def run(self) -> None:
        try:
            while not self._told_to_end.is_set():
                if self._history.waiting(self._record.done) > _BACKLOG:
                    self._told_to_end.wait(0.05)
                    continue
                self._turn()
                self._told_to_end.wait(self._random.expovariate(60.0))
        except BaseException as problem:  # the campaign raises it
            self.problem = problem

    def _turn(self) -> None:
        """One thing that an application does."""
        choose = self._random
        position = choose.randrange(len(QUEUES))
        queue: Any = self._queues[position]
        if choose.random() < 0.2:
            queue = self._async_queues[position]
        kinds: Sequence[Callable[[Any], None]] = (
            self._now,
            self._soon,
            self._many,
            self._keyed,
            self._answer,
            self._cancel,
            self._reschedule,
        )
        (turn,) = choose.choices(kinds, (30, 25, 6, 10, 8, 6, 6))
        try:
            turn(queue)
        except _REFUSED as error:
            self._history.error(turn.__name__.strip("_"), error)

    # What is enqueued ------------------------------------------------------------------------

    def _call(self) -> Call:
        """A call of some handler, with a number of its own."""
        self._number += 1
        n, choose = self._number, self._random
        sealed, ms = jobs.seal(n), choose.choice((0, 0, 5, 20, 50, 200, 500))
        kind = choose.random()
        if self._poison and kind < 0.01:
            return Call(jobs.poison, (n, sealed))
        if kind < 0.3:
            return Call(jobs.quick, (n, sealed))
        if kind < 0.6:
            return Call(jobs.work, (n, sealed, min(ms, 200)))
        if kind < 0.91:
            return Call(jobs.wait, (n, sealed, ms))
        if kind < 0.92:
            return Call(jobs.falter, (n, sealed, self._long_ms))
        return Call(jobs.flaky, (n, sealed, choose.randrange(1, 3), min(ms, 200)))

    def _do(self, told: Any) -> Any:
        return self._runner.run(told) if asyncio.iscoroutine(told) else told

    def _accepted(self, queue: Any, call: Call, job: Job) -> None:
        # Also where it is another one that holds the key: it lives, whatever its own caller was told.
        self._history.acknowledged.add(job.id)
        if not job.created:
            return
        self._history.numbers[job.id] = call.args[0]
        sync = next(each for each in self._queues if each.name == queue.name)
        self._newest.append((sync, job.id))

    def _now(self, queue: Any) -> None:
        call = self._call()
        priority = self._random.choice((None, None, None, -5, 7))
        target = queue if priority is None else queue.options(priority=priority)
        self._accepted(queue, call, self._do(target.enqueue(call.fn, *call.args)))

    def _soon(self, queue: Any) -> None:
        call = self._call()
        delay = self._random.choice((0.05, 0.3, 1.0, 2.0))
        before_ms = round((time.time() + delay) * 1000) - 1
        job = self._do(queue.enqueue_in(seconds=delay, fn=call.fn, args=call.args))
        self._history.later(job.id, 0.0, before_ms)
        self._accepted(queue, call, job)
        sync, _ = self._newest.pop()
        self._later.append((sync, job.id))

    def _many(self, queue: Any) -> None:
        calls = [self._call() for _ in range(self._random.randrange(2, 40))]
        mixed = [
            call.with_options(priority=self._random.choice((0, 0, 0, 3)))
            if self._random.random() < 0.3
            else call
            for call in calls
        ]
        for call, job in zip(calls, self._do(queue.enqueue_many(mixed)), strict=True):
            self._accepted(queue, call, job)

    def _keyed(self, queue: Any) -> None:
        call = self._call()
        keyed = queue.options(key=f"key-{self._random.randrange(_KEYS)}")
        try:
            job = self._do(keyed.enqueue(call.fn, *call.args))
        except EnqueueUnknown as error:
            self._history.error("keyed", error)
            job = self._do(keyed.enqueue(call.fn, *call.args))
            outcome = "there already" if job.id in error.job_ids else "made" if job.created else "another's"
            self._history.errors[f"keyed again: {outcome}"] += 1
        self._accepted(queue, call, job)

    def _answer(self, queue: Any) -> None:
        self._number += 1
        call = Call(jobs.answer, (self._number, jobs.seal(self._number)))
        job = self._do(queue.enqueue(call.fn, *call.args))
        self._accepted(queue, call, job)
        self._history.answers.append(job.id)

    # Meddling --------------------------------------------------------------------------------

    def _cancel(self, _queue: Any) -> None:
        jobs_ = self._later if self._random.random() < 0.6 else self._newest
        if not jobs_:
            return
        queue, job = jobs_[self._random.randrange(len(jobs_))]
        self._history.doubtful.add(job)  # until there is an answer
        verdict = queue.cancel(job)
        if verdict is Verdict.CANCELLED:
            self._history.cancelled.setdefault(job, time.monotonic())
        if verdict is Verdict.RUNNING:
            self._history.asked.add(job)
        if verdict is not Verdict.NOT_FOUND:
            # Of a job that is not found nobody knows whether this call's first sending has cancelled it.
            self._history.doubtful.discard(job)

    def _reschedule(self, _queue: Any) -> None:
        if not self._later:
            return
        queue, job = self._later[self._random.randrange(len(self._later))]
        delay = self._random.choice((0.0, 0.2, 2.0))
        before_ms = round((time.time() + delay) * 1000) - 1
        # From here on nobody knows its time, until a reply says it: of a job that runs or is gone, this
        # call's first sending may have moved it before that.
        self._history.later(job, time.monotonic(), 0)
        if queue.reschedule(job, delay):
            self._history.later(job, time.monotonic(), before_ms)
