"""What may be said about a job: its priority, a key that makes it unique, another queue."""

from __future__ import annotations

from datetime import timedelta

from redjobs import Queue
from tests.fundamentals.conftest import Work

inbox: list[str] = []


def remind(user_id: int) -> None:
    inbox.append(f"user {user_id}")


def test_a_lower_priority_runs_first(queue: Queue, work: Work) -> None:
    """Any integer, as with `nice`; 0 where nothing is said."""
    queue.options(priority=10).enqueue(remind, 3)
    queue.enqueue(remind, 2)
    queue.options(priority=-10).enqueue(remind, 1)
    work()
    assert inbox == ["user 1", "user 2", "user 3"]


def test_a_key_makes_a_job_unique_while_it_lives(queue: Queue, work: Work) -> None:
    """A second one with the same key is not enqueued: what comes back is the first."""
    reminders = queue.options(key="reminder:7")
    first = reminders.enqueue_in(timedelta(days=3), remind, 7)
    second = reminders.enqueue(remind, 7)
    assert first.created and not second.created
    assert second.id == first.id
    work()
    assert inbox == []


def test_a_key_is_free_again_when_its_job_is_done(queue: Queue, work: Work) -> None:
    """So the next reminder can be enqueued under the same key."""
    reminders = queue.options(key="reminder:7")
    reminders.enqueue(remind, 7)
    work()
    assert reminders.enqueue(remind, 7).created
    work()
    assert inbox == ["user 7", "user 7"]


def test_a_job_is_found_by_its_key(queue: Queue) -> None:
    """Nobody has to remember ids."""
    job = queue.options(key="reminder:7").enqueue_in(timedelta(days=3), remind, 7)
    assert queue.get("reminder:7").id == job.id


def test_options_may_name_another_queue(queue: Queue, work: Work) -> None:
    """And workers say which queues they serve."""
    job = queue.options(queue="mail").enqueue(remind, 7)
    assert job.queue == "mail"
    work()
    assert inbox == ["user 7"]


def test_options_add_up_and_change_nothing(queue: Queue) -> None:
    """`options` makes another queue object; the old one stays as it was."""
    urgent = queue.options(priority=-10)
    unique = urgent.options(key="a")
    assert unique.enqueue_in(timedelta(days=1), remind, 1).priority == -10
    assert queue.enqueue_in(timedelta(days=1), remind, 1).priority == 0
