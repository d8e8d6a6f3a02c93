"""How much of everything: seconds for a smoke test, minutes for a quick look, hours for figures."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Scale:
    """Sizes of one run."""

    name: str
    #: Rounds over all peers, of redjobs and its limits and of the others: A B C A B C.
    own_rounds: int
    rounds: int
    #: How long a rate is measured, roughly; the number of jobs follows from a peer's pace.
    seconds: float
    #: Upper bound for that number; 0: none.
    most: int
    #: Jobs for idle latency.
    latency_jobs: int
    #: Jobs due within `late_seconds`, and jobs that wait in the schedule meanwhile.
    late_jobs: int
    late_seconds: float
    waiting: int
    #: Of a peer that has to schedule one by one.
    waiting_of_peers: int
    #: Jobs due in the same second.
    burst: int
    burst_of_peers: int
    #: Ready or scheduled jobs for the growth of costs, compared with a hundredth of them.
    growth: int
    #: Jobs for memory; seconds of idleness; seconds until a killed worker's job must run again.
    memory_jobs: int
    idle_seconds: float
    recovery_seconds: float
    #: Cases that peers take part in; empty: all.
    peer_cases: tuple[str, ...] = ()
    #: Of peers, their best settings only; as they come they take part in these cases, in one process.
    only_best: bool = False
    as_they_come: tuple[str, ...] = ()
    #: How many measurements run side by side; 0: one after the other, as figures want it.
    all_at_once: int = 0

    @property
    def is_timed(self) -> bool:
        """Whether figures mean anything: where they do not, it is enough that everything runs."""
        return not self.all_at_once

    def jobs(self, pace: int, seconds: float | None = None) -> int:
        """How many jobs take the time that a measurement should have."""
        wanted = max(50, round(pace * (seconds or self.seconds)))
        return min(wanted, self.most) if self.most else wanted


SMOKE = Scale(
    name="smoke",
    own_rounds=1,
    rounds=1,
    seconds=0.1,
    most=100,
    latency_jobs=5,
    late_jobs=50,
    late_seconds=0.5,
    waiting=1_000,
    waiting_of_peers=100,
    burst=1_000,
    burst_of_peers=100,
    growth=2_000,
    memory_jobs=500,
    idle_seconds=0.5,
    recovery_seconds=5,
    peer_cases=("enqueue", "bulk", "drain"),
    all_at_once=6,
)

QUICK = Scale(
    name="quick",
    own_rounds=2,
    rounds=1,
    seconds=0.5,
    most=0,
    latency_jobs=50,
    late_jobs=200,
    late_seconds=2,
    waiting=100_000,
    waiting_of_peers=2_000,
    burst=20_000,
    burst_of_peers=1_000,
    growth=100_000,
    memory_jobs=10_000,
    idle_seconds=5,
    recovery_seconds=30,
    peer_cases=("bulk", "drain", "latency"),
    only_best=True,
)

FULL = Scale(
    name="full",
    own_rounds=5,
    rounds=3,
    seconds=2.5,
    most=0,
    latency_jobs=300,
    late_jobs=1_000,
    late_seconds=10,
    waiting=1_000_000,
    waiting_of_peers=20_000,
    burst=100_000,
    burst_of_peers=10_000,
    growth=1_000_000,
    memory_jobs=20_000,
    idle_seconds=20,
    recovery_seconds=90,
)

BEST = replace(
    FULL,
    name="best",
    own_rounds=3,
    rounds=2,
    peer_cases=("bulk", "drain", "latency", "lateness"),
    only_best=True,
    as_they_come=("drain",),
)
