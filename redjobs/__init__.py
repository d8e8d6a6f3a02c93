"""redjobs: the delayed job queue for Python on Redis.

>>> import redjobs
>>> sorted(name for name in redjobs.__all__ if name.islower())
['call', 'job']
"""

from redjobs.aio import AsyncQueue
from redjobs.call import Call, call
from redjobs.errors import (
    Bury,
    EnqueueUnknown,
    HandlerError,
    JobFailed,
    JobNotFound,
    JobTimeout,
    PayloadError,
    RedjobsError,
    ResultTimeout,
    Retry,
    ServerUnavailable,
    SettingsError,
    Snooze,
    UnknownHandler,
)
from redjobs.job import Job, JobError, State, Verdict
from redjobs.queue import Queue, job

from redjobs.version import __version__

__all__ = [
    "AsyncQueue",
    "Bury",
    "Call",
    "EnqueueUnknown",
    "HandlerError",
    "Job",
    "JobError",
    "JobFailed",
    "JobNotFound",
    "JobTimeout",
    "PayloadError",
    "Queue",
    "RedjobsError",
    "ResultTimeout",
    "Retry",
    "ServerUnavailable",
    "SettingsError",
    "Snooze",
    "State",
    "UnknownHandler",
    "Verdict",
    "__version__",
    "call",
    "job",
]
