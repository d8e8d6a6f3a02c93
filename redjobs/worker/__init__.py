"""The worker: processes that run jobs. A child imports this package, so it holds what a child needs."""

from redjobs.worker.options import WorkerOptions
from redjobs.worker.worker import Worker

__all__ = ["Worker", "WorkerOptions"]
