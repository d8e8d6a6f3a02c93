"""redjobs: the delayed job queue for Python on Redis.

queue = Queue("default")
queue.enqueue(send_confirmation, user.id)
queue.enqueue_in(timedelta(days=3), send_reminder, user.id)
"""

from redjobs.aio import AsyncQueue
from redjobs.call import Call, call
from redjobs.current import CurrentJob, current_job
from redjobs.errors import (
    Bury,
    EnqueueUnknown,
    HandlerError,
    JobCancelled,
    JobFailed,
    JobInterrupted,
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
from redjobs.registry import registry as _registry
from redjobs.version import __version__

#: A decorator that calls a function at an event of a job's life: see `redjobs.hooks`.
on = _registry.hooks.on
#: Calls the methods of an object at the events of their names.
add_plugin = _registry.hooks.add_plugin
#: Lets arguments and results hold a type of yours: see docs/payloads.md.
register_type = _registry.codec.register
#: Default options of all jobs of a queue: `queue_options("mail", priority=-5, timeout=30)`.
queue_options = _registry.set_queue_options

__all__ = [
    "AsyncQueue",
    "Bury",
    "Call",
    "CurrentJob",
    "EnqueueUnknown",
    "HandlerError",
    "Job",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobInterrupted",
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
    "add_plugin",
    "call",
    "current_job",
    "job",
    "on",
    "queue_options",
    "register_type",
]
