"""Work for later: at a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from redjobs import Queue, SettingsError, State
from tests.fundamentals.conftest import Work

inbox: list[str] = []

NEW_YEAR = datetime(2090, 1, 1, 9, tzinfo=ZoneInfo("Europe/Berlin"))


def send_greetings(user_id: int) -> None:
    inbox.append(f"greetings to user {user_id}")


def test_a_job_may_wait_for_a_moment(queue: Queue) -> None:
    """An aware datetime, or a POSIX timestamp."""
    job = queue.enqueue_at(NEW_YEAR, send_greetings, 7)
    assert job.state is State.SCHEDULED
    assert job.run_at == NEW_YEAR
    assert queue.enqueue_at(NEW_YEAR.timestamp(), send_greetings, 8).run_at == NEW_YEAR


def test_the_keyword_form(queue: Queue) -> None:
    """The same with names."""
    assert queue.enqueue_at(at=NEW_YEAR, fn=send_greetings, args=(7,)).run_at == NEW_YEAR


def test_a_moment_in_the_past_is_now(queue: Queue, work: Work) -> None:
    """What should have happened already happens as soon as possible."""
    job = queue.enqueue_at(datetime.now(UTC) - timedelta(days=1), send_greetings, 7)
    assert job.state is State.READY
    work()
    assert inbox == ["greetings to user 7"]


def test_a_datetime_without_a_zone_is_refused(queue: Queue) -> None:
    """It names no moment: the web process and the worker may be in two zones."""
    with pytest.raises(SettingsError, match="no time zone"):
        queue.enqueue_at(NEW_YEAR.replace(tzinfo=None), send_greetings, 7)
