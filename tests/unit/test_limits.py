"""When a process is due for replacement: not all that were started together at the same time."""

from __future__ import annotations

import pytest

from redjobs.worker import WorkerOptions, limits
from redjobs.worker.limits import Limits


def lasts(options: WorkerOptions, monkeypatch: pytest.MonkeyPatch) -> int:
    """After how many jobs, each of which leaves a byte behind, this process is due."""
    process, jobs = Limits(options), 0
    monkeypatch.setattr(limits, "_MEMORY_SECONDS", 0.0)
    monkeypatch.setattr(limits, "memory_used", lambda: jobs)
    while not process.reached(busy=False, due=True):
        process.done(1)
        jobs += 1
    return jobs


@pytest.mark.parametrize(
    ("options", "least", "most"),
    [
        (WorkerOptions(max_jobs=500), 500, 550),
        (WorkerOptions(max_memory=500), 450, 501),
    ],
)
def test_processes_that_were_started_together_are_not_replaced_together(
    options: WorkerOptions, least: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {lasts(options, monkeypatch) for _ in range(20)}
    assert len(found) > 5
    assert least <= min(found) <= max(found) <= most
