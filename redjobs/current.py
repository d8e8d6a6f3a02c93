"""The job that is running here: `redjobs.current_job()`."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Protocol

from redjobs.clock import from_ms
from redjobs.jobs import Claim


class Running(Protocol):
    """What a worker knows of a job while it runs."""

    claim: Claim
    lost: bool


class CurrentJob:
    """What a handler may know about the job it runs: `redjobs.current_job()`.

    `id` and `attempt` together name this attempt, and make a key for work that must not be done
    twice: a job whose worker crashed runs again with the same id and attempt.
    """

    __slots__ = ("_running", "attempt", "id", "name", "queue")

    def __init__(self, running: Running) -> None:
        claim = running.claim
        self._running = running
        self.id = claim.id
        self.queue = claim.queue
        #: Its handler, `module:qualname`.
        self.name = claim.name
        #: 1 for the first.
        self.attempt = claim.attempt

    @property
    def enqueued_at(self) -> datetime:
        """When the server accepted it."""
        return from_ms(self._running.claim.enqueued_at_ms)

    @property
    def run_at(self) -> datetime:
        """When it was due."""
        return from_ms(self._running.claim.run_at_ms)

    @property
    def lost(self) -> bool:
        """Whether this worker's lease has run out: another one has the job, and what this one does
        to it will not be recorded. A long job may look now and then, and stop."""
        return self._running.lost

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines carry the job's id."""
        return _JobLog(logging.getLogger(self.name.partition(":")[0]), {"job_id": self.id})

    def __repr__(self) -> str:
        return f"<job {self.id} ({self.name}), attempt {self.attempt}>"


class _JobLog(logging.LoggerAdapter[logging.Logger]):
    """Keeps a caller's `extra`, which an ordinary adapter drops."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, {**kwargs, "extra": {**(kwargs.get("extra") or {}), **(self.extra or {})}}


current: ContextVar[Running | None] = ContextVar("redjobs_current_job", default=None)


def current_job() -> CurrentJob | None:
    """The job that is running here; None outside of a handler."""
    work = current.get()
    return None if work is None else CurrentJob(work)


def current_id() -> str | None:
    """The id of the job that is running here: what a log line needs of it."""
    work = current.get()
    return None if work is None else work.claim.id
