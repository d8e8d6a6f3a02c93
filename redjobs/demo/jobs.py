"""The jobs of the demo: what a worker runs (`redjobs worker --app redjobs.demo.jobs --threads 4 demo`).

A job may run twice: a worker that dies after the work and before it could say so is no different,
seen from Redis, from one that died before the work. So handlers are written to be repeated: here a
row in the table `sent` says that a mail has left, and a second run finds it and does nothing.

What remains is the moment between the mail server's "accepted" and our commit. A crash just there
sends the mail a second time, and no order of the two steps avoids it: the other order would lose the
mail instead. So both copies carry the same Message-ID, by which a mail server can drop one.
"""

from __future__ import annotations

import logging
import time

import redjobs
from redjobs.demo import mail
from redjobs.demo.config import Config, from_environ
from redjobs.demo.users import User, Users

logger = logging.getLogger("redjobs.demo")


@redjobs.job(timeout=60, max_attempts=10)
def send_confirmation(user_id: int) -> None:
    """The mail that is sent as soon as somebody has signed up."""
    _send_once(user_id, "confirmation")


@redjobs.job(timeout=60, max_attempts=10)
def send_reminder(user_id: int) -> None:
    """The mail that is sent three days later."""
    _send_once(user_id, "reminder")


def _send_once(user_id: int, kind: str) -> None:
    config = from_environ()
    users = Users(config.users)
    user = users.get(user_id)
    if user is None:
        # Trying again would not help: either the data was deleted, or it never was on this machine.
        raise redjobs.Bury(
            f"there is no user {user_id} in {config.users}; do web and worker share that disk?"
        )
    message = mail.compose(config, user, kind)
    _take_your_time(config, user)
    if users.was_sent(user_id, kind):
        logger.info("%s to user %d was sent before; nothing to do", kind, user_id)
        return
    try:
        mail.send(config, message)
    except mail.Refused as error:
        raise redjobs.Bury(str(error)) from error
    users.mark_sent(user_id, kind)
    logger.info("%s sent to user %d", kind, user_id)


def _take_your_time(config: Config, user: User) -> None:
    """A slow mail server, for those who want to stop or kill the worker in the middle of it."""
    if user.is_slow:
        time.sleep(config.slow_seconds)
