"""What the web process asks of the queue: enqueue, look, cancel, make due. It never sends a mail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import redjobs
from redjobs.clock import from_ms
from redjobs.demo.jobs import send_confirmation, send_reminder
from redjobs.demo.users import User, Users
from redjobs.errors import JobNotFound
from redjobs.jobs import Job, State, Verdict

REMINDER_DAYS = 3
KINDS = ("confirmation", "reminder")
#: The page shows the jobs of so many people; each costs a few round trips.
SHOWN_USERS = 12


@dataclass(frozen=True, slots=True)
class Planned:
    """One mail that has not been sent yet."""

    user: User
    kind: str
    state: State
    run_at: datetime
    attempt: int
    #: Why the last attempt failed, in one line; '' where none did.
    error: str

    @property
    def can_change(self) -> bool:
        """Whether it can be cancelled or made due: not once a worker has it."""
        return self.state in (State.SCHEDULED, State.READY)

    @property
    def waits(self) -> bool:
        """Whether there is a time to count down to."""
        return self.state is State.SCHEDULED


def key_of(kind: str, user_id: int) -> str:
    """The unique key of a mail: by it the page finds, cancels and reschedules its job."""
    return f"{kind}:{user_id}"


def sign_up(queue: redjobs.Queue, users: Users, name: str, email: str) -> bool:
    """Store a user, enqueue the confirmation and plan the reminder; False for a known address.

    Two databases cannot be changed at once. So the user is stored first, and marked once both jobs
    are enqueued: whoever signs up again after a crash or an error in between gets what is missing.
    What is there already stays: the keys are unique, and a mail that was sent is not sent again.
    """
    user = users.add(name, email)
    if user.planned:
        return False
    queue.options(key=key_of("confirmation", user.id)).enqueue(send_confirmation, user.id)
    queue.options(key=key_of("reminder", user.id)).enqueue_in(
        days=REMINDER_DAYS, fn=send_reminder, args=(user.id,)
    )
    users.mark_planned(user.id)
    return True


def cancel_reminder(queue: redjobs.Queue, user_id: int) -> Verdict:
    """Forget a reminder that has not begun."""
    return queue.cancel(key_of("reminder", user_id))


def make_reminder_due(queue: redjobs.Queue, user_id: int) -> Verdict:
    """Send a reminder now instead of in three days."""
    return queue.reschedule(key_of("reminder", user_id), 0)


def planned(queue: redjobs.Queue, users: Users) -> list[Planned]:
    """The mails that the newest users are still to get, those that come first first."""
    found = [_planned(user, kind, job) for user, kind, job in _jobs(queue, users)]
    return sorted(found, key=lambda mail: (mail.run_at, mail.user.id))


def _jobs(queue: redjobs.Queue, users: Users) -> Iterator[tuple[User, str, Job]]:
    for user in users.newest(SHOWN_USERS):
        for kind in KINDS:
            try:
                yield user, kind, queue.get(key_of(kind, user.id))
            except JobNotFound:
                continue


def _planned(user: User, kind: str, job: Job) -> Planned:
    return Planned(
        user=user,
        kind=kind,
        state=job.state,
        run_at=from_ms(job.run_at_ms),
        attempt=job.attempt,
        error=job.errors[-1].error.splitlines()[0] if job.errors else "",
    )
