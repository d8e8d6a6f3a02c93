"""What the inspector answers: frozen data with `as_dict()`. Verbs live on the inspector and the queue."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from redjobs.clock import from_ms
from redjobs.ids import is_id
from redjobs.jobs import Job, State


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """How much a queue holds, and how late it is."""

    name: str
    #: When this was read, by the server's clock.
    at_ms: int
    #: Planned for later, or due and not promoted yet: those are counted in `due` as well.
    scheduled: int
    ready: int
    processing: int
    dead: int
    completed: int
    due: int
    #: The age of the oldest ready job since it was due; 0 where nothing is ready.
    latency_ms: int
    #: How long the first of `scheduled` has been due; 0 where it is not.
    lateness_ms: int
    #: How long until the first of `scheduled` is due; None: nothing is scheduled.
    next_ms: int | None
    #: Workers that hold a lease.
    workers: int
    #: What has happened so far: enqueued, completed, retried, dead and so on.
    counters: dict[str, int]

    @property
    def late(self) -> int:
        """Jobs that are due and have not begun. Those planned for later are never among them."""
        return self.ready + self.due

    @property
    def waiting_ms(self) -> int:
        """How long the job that has waited longest has been due."""
        return max(self.latency_ms, self.lateness_ms)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self) | {"late": self.late, "waiting_ms": self.waiting_ms}


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One incarnation of a worker, as one queue knows it."""

    queue: str
    #: `host.pid.random`
    worker: str
    #: How long its lease still holds; below 0 it has run out, and the next sweep retires the worker.
    #: None: it is retired, and its jobs are given to others.
    lease_left_ms: int | None
    #: How many jobs it has: those that it runs, and those that it has taken and not begun.
    jobs: int

    @property
    def host(self) -> str:
        """Where it runs, or the name it was given."""
        return self.worker.rsplit(".", 2)[0]

    @property
    def pid(self) -> int | None:
        """Its process, where its name tells."""
        parts = self.worker.rsplit(".", 2)
        return int(parts[1]) if len(parts) == 3 and parts[1].isdecimal() else None

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self) | {"host": self.host, "pid": self.pid}


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs of one state, without their arguments."""

    queue: str
    state: State
    #: When this was read, by the server's clock.
    at_ms: int
    jobs: tuple[Job, ...]
    #: Where the next page begins; None: this was the last one.
    cursor: int | None
    #: How many jobs of this state there are, whatever their names.
    total: int
    #: How many were looked at.
    scanned: int

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "queue": self.queue,
            "state": self.state.value,
            "at_ms": self.at_ms,
            "jobs": [job_as_dict(job) for job in self.jobs],
            "cursor": self.cursor,
            "total": self.total,
            "scanned": self.scanned,
        }


def job_as_dict(job: Job) -> dict[str, Any]:
    """A job for `--json`, without its arguments and its result."""
    return {
        "id": job.id,
        "queue": job.queue,
        "name": job.name,
        "state": job.state.value,
        "key": job.key,
        "priority": job.priority if is_id(job.id) else None,
        "enqueued_at": moment(job.enqueued_at_ms),
        "run_at": moment(job.run_at_ms),
        "started_at": moment(job.started_at_ms),
        "ended_at": moment(job.ended_at_ms),
        "attempt": job.attempt,
        "crashes": job.crashes,
        "format": job.format,
        "max_attempts": job.options.max_attempts,
        "timeout": job.options.timeout,
        "result_ttl": job.options.result_ttl,
        "worker": job.worker,
        "errors": [
            {
                "at": moment(error.at_ms),
                "attempt": error.attempt,
                "error": error.error,
                "traceback": error.traceback,
            }
            for error in job.errors
        ],
    }


def moment(at_ms: int | None) -> str | None:
    """Epoch milliseconds as ISO 8601 in UTC; None for none, and for what is no moment."""
    try:
        return None if at_ms is None else from_ms(at_ms).isoformat(timespec="milliseconds")
    except (TypeError, ValueError, OverflowError, OSError):
        return None
