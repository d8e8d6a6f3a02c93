"""What an operator may say about a worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from redjobs.keys import DEFAULT_PREFIX
from redjobs.sweeper import SweepPolicy


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Settings of one worker; durations in seconds, memory in bytes."""

    #: Names, or patterns like `mail-*` and `*` that are resolved against the queues in use.
    queues: tuple[str, ...] = ("default",)
    exclude: tuple[str, ...] = ()
    #: Weights by queue name or pattern; empty: the order of `queues` is strict.
    weights: tuple[tuple[str, int], ...] = ()
    #: Take only jobs whose priority is within these, inclusively.
    min_priority: int | None = None
    max_priority: int | None = None
    prefix: str = DEFAULT_PREFIX
    #: Queues with a number of processes each; empty: all processes serve `queues`.
    pools: tuple[tuple[tuple[str, ...], int], ...] = ()
    #: Modules whose functions may be run; imported by the processes that run them.
    apps: tuple[str, ...] = ()
    #: 0: no supervisor, one process does everything.
    processes: int = 1
    threads: int = 1
    concurrency: int = 100
    #: A worker that is silent for so long is dead: others get its jobs.
    lease: float = 15.0
    #: How long running jobs may take to end when the worker is told to stop.
    grace: float = 25.0
    #: Exit when nothing is due any more.
    burst: bool = False
    #: Exit after so long without a job.
    max_idle: float | None = None
    #: Replace a child after about so many jobs, or once it uses about so much memory.
    max_jobs: int | None = None
    max_memory: int | None = None
    #: Shown in lists of workers; by default host and process.
    name: str | None = None
    #: Import the app once in a process from which the children are forked.
    preload: bool = False
    #: Restart the children when a file of the app changes.
    reload: bool = False
    #: Answer health checks on this port (0: any free one), of this address.
    health_port: int | None = None
    health_host: str = "127.0.0.1"
    #: A job that was running when so many workers crashed is quarantined.
    max_crashes: int = 3
    sweep: SweepPolicy = field(default_factory=SweepPolicy)

    @property
    def beat_interval(self) -> float:
        """A lease survives four lost heartbeats."""
        return self.lease / 5

    @property
    def answer_seconds(self) -> float:
        """How long the server may take for an answer. One that is lost must cost no lease, if that can be.

        Not shorter than a blocked pop takes.
        """
        return max(2.0, self.lease / 3)

    @property
    def sweep_interval(self) -> float:
        """With the lease it bounds how long a dead worker's jobs wait."""
        return self.lease / 3

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> WorkerOptions:
        """What `dataclasses.asdict` made of options, after a way through JSON."""
        values = {name: _tuples(value) for name, value in told.items()}
        return cls(**{**values, "sweep": SweepPolicy(**told["sweep"])})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
