"""redjobs: the delayed job queue for Python on Redis.

queue = Queue("default")
queue.enqueue(send_confirmation, user.id)
queue.enqueue_in(timedelta(days=3), send_reminder, user.id)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from redjobs.version import __version__

if TYPE_CHECKING:
    from redjobs.aio import AsyncQueue
    from redjobs.calls import Call, call
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
        NotReplicated,
        PayloadError,
        RedjobsError,
        ResultTimeout,
        Retry,
        ServerUnavailable,
        SettingsError,
        Snooze,
        UnknownHandler,
    )
    from redjobs.jobs import Job, JobError, State, Verdict
    from redjobs.queue import Queue, job
    from redjobs.registry import add_plugin, on, queue_options, register_type

#: Where each name lives. Modules are imported when a name is first used: a command that only
#: prints its help, or a settings file that names an error, need not wait for redis.
_HOME = {
    "AsyncQueue": "aio",
    **dict.fromkeys(("Call", "call"), "calls"),
    **dict.fromkeys(("CurrentJob", "current_job"), "current"),
    **dict.fromkeys(
        (
            "Bury",
            "EnqueueUnknown",
            "HandlerError",
            "JobCancelled",
            "JobFailed",
            "JobInterrupted",
            "JobNotFound",
            "JobTimeout",
            "NotReplicated",
            "PayloadError",
            "RedjobsError",
            "ResultTimeout",
            "Retry",
            "ServerUnavailable",
            "SettingsError",
            "Snooze",
            "UnknownHandler",
        ),
        "errors",
    ),
    **dict.fromkeys(("Job", "JobError", "State", "Verdict"), "jobs"),
    **dict.fromkeys(("Queue", "job"), "queue"),
    **dict.fromkeys(("add_plugin", "on", "queue_options", "register_type"), "registry"),
}

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
    "NotReplicated",
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


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'redjobs' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"redjobs.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
