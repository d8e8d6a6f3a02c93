"""Every exception of redjobs, and the three signals that a handler may raise.

RedjobsError
├── SettingsError          a URL, option or setting that cannot be used
├── ServerUnavailable      nothing answers at the URL; says the ways to get going
├── EnqueueUnknown         the reply was lost: the job may or may not be there
├── NotReplicated          the job is accepted, and too few replicas have it
├── HandlerError           the function cannot be a job
│   └── UnknownHandler     no registered function has this name
├── PayloadError           arguments or a result that cannot be encoded or decoded
├── JobNotFound            no job with this id or key
├── JobFailed              `result()` of a job that is dead
├── ResultTimeout          `result()` waited long enough
├── JobTimeout             raised inside a handler that ran longer than its timeout
├── JobCancelled           raised inside a handler whose job was cancelled
└── JobInterrupted         raised inside a handler whose worker has to stop

Signal                     raised by a handler on purpose, never a failure of redjobs
├── Retry                  run me again, this attempt counts
├── Snooze                 run me again, this attempt does not count
└── Bury                   give up on me now

Errors of the server itself (out of memory, read-only, no permission) pass through
`Queue` as redis-py raises them; the worker handles them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any


class RedjobsError(Exception):
    """The root of all errors that redjobs raises itself."""


class SettingsError(RedjobsError):
    """A URL, option or setting that cannot be used; the message shows the remedy."""


class ServerUnavailable(RedjobsError):
    """Nothing answers at the URL; the message lists the ways to get going."""


class EnqueueUnknown(RedjobsError):
    """The server's reply was lost after all retries: the job may or may not be enqueued.

    `job_ids` are the ids that were sent. Looking one up with `queue.get(id)` tells.
    """

    def __init__(self, message: str, job_ids: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.job_ids = job_ids


class NotReplicated(RedjobsError):
    """Jobs are accepted, but too few replicas have confirmed that they have them.

    They will run; only a failover right now might lose them. `job_ids` are theirs. Enqueueing again would
    make others: use a unique key if you do. Where the server refused to wait, `__cause__` is its error.
    When `enqueue_many` raises it, all of its jobs are accepted, and those that are not named are confirmed.
    """

    #: What became of all jobs of the call.
    replies: Any = ()

    def __init__(
        self, job_ids: list[str], confirmed: int, wanted: int, refusal: Exception | None = None
    ) -> None:
        shown = f"job {job_ids[0]} is" if len(job_ids) == 1 else f"{len(job_ids)} jobs are"
        if refusal is None:
            why = (
                f"{confirmed} of {wanted} replicas confirmed within a second;"
                " look at INFO replication, or ask for fewer with wait_replicas"
            )
        else:
            why = f"the server refused WAIT: {refusal}"
        super().__init__(f"{shown} accepted, not replicated: {why}")
        self.job_ids = tuple(job_ids)
        self.confirmed = confirmed
        self.wanted = wanted


class HandlerError(RedjobsError):
    """This object cannot be a job: a lambda, a nested function, a builtin, a re-export."""


class UnknownHandler(HandlerError):
    """No registered function has this name."""


class PayloadError(RedjobsError):
    """Arguments or a result that cannot be encoded or decoded; names the path to the value."""


class JobNotFound(RedjobsError):
    """No job with this id or key: it never existed, has completed, or was deleted."""


class JobFailed(RedjobsError):
    """`queue.result()` of a job that is dead; the message is its last error."""


class ResultTimeout(RedjobsError):
    """`queue.result()` waited as long as it was told; the job goes on."""


class JobTimeout(RedjobsError):
    """Raised inside a handler that ran longer than its `timeout`, so that it can clean up."""


class JobCancelled(RedjobsError):
    """Raised inside a handler whose job was cancelled while it ran. A coroutine is cancelled instead.

    When the handler ends with an exception the job is forgotten; a handler that goes on and
    returns has completed.
    """


class JobInterrupted(RedjobsError):
    """Raised inside a handler whose worker has to stop and has waited for the grace time.

    The job goes back to the front of its queue, and this attempt does not count.
    """


class Signal(Exception):
    """What a handler raises to say what should happen to its job."""


class Retry(Signal):
    """Run this job again after `after` (a timedelta or seconds); None: the job's backoff.

    The attempt counts: a job that keeps asking is buried after `max_attempts`.
    """

    def __init__(self, reason: str = "", *, after: timedelta | float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class Snooze(Signal):
    """Run this job again after `after` (a timedelta or seconds), without counting this attempt."""

    def __init__(self, after: timedelta | float, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class Bury(Signal):
    """Give this job up now: it goes to `dead` with `reason`, whatever attempts are left."""

    def __init__(self, reason: str = "buried by its handler") -> None:
        super().__init__(reason)
        self.reason = reason


# What the server answers ----------------------------------------------------------------------

# redis-py tells which command of a pipeline it was, Redis 6.2 where in which script.
_BEFORE = re.compile(
    r"(?:Command # \d+ \(.*\) of pipeline caused error: )?"
    r"(?:Error running script \(call to \w+\): (?:@user_script: ?\d+: )+-?)?",
    re.DOTALL,
)
# Arguments are quoted behind the reason, and later versions say there where in which script it was.
_BEHIND = re.compile(r",? with args|, args:| script: (?:[0-9a-f]{40}, )?on @user_script")
#: For a command or a key, outside and inside of a script.
_NO_RIGHT = re.compile(r"no permissions to|user executing the script can't", re.IGNORECASE)


def reason_of(error: Exception) -> str:
    """Why the server refused something, without the arguments that its text quotes: they may be secrets."""
    text = str(error)
    text = text[_BEFORE.match(text).end() :]  # type: ignore[union-attr]  # it matches ''
    text = _BEHIND.split(text)[0]
    if _NO_RIGHT.search(text):
        text += " (`redjobs acl` prints the rights that each role needs)"
    return text or type(error).__name__


def closest(word: str, known: Iterable[str], *, most: int = 1, likeness: float = 0.6) -> list[str]:
    """What somebody may have meant who wrote a word that is not known, the likeliest first."""
    import difflib  # here: it costs each process that makes no such mistake 0.2 MB

    return difflib.get_close_matches(word, list(known), n=most, cutoff=likeness)
