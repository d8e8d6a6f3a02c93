"""The worker: processes that run jobs. A supervisor imports this package, too: `Worker` it does not need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redjobs.worker.options import WorkerOptions

if TYPE_CHECKING:
    from redjobs.worker.worker import Worker

__all__ = ["Worker", "WorkerOptions"]


def __getattr__(name: str) -> object:
    if name == "Worker":
        from redjobs.worker.worker import Worker

        return Worker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
