"""Many jobs at once: 160 in each call of the server, the next on its way while it works on the last."""

from __future__ import annotations

from datetime import timedelta

from redjobs import Queue, State, call
from tests.fundamentals.conftest import Work

inbox: list[int] = []


def welcome(user_id: int) -> None:
    inbox.append(user_id)


def test_many_calls_are_enqueued_together(queue: Queue, work: Work) -> None:
    """Each is written as `call(function, arguments)`; any iterable will do, a generator too."""
    jobs = queue.enqueue_many(call(welcome, user_id) for user_id in range(2_500))
    assert len({job.id for job in jobs}) == 2_500
    work()
    assert sorted(inbox) == list(range(2_500))


def test_each_call_may_have_its_own_time_and_options(queue: Queue, work: Work) -> None:
    """As `enqueue_in`, `enqueue_at` and `options` take them."""
    now, later, urgent = queue.enqueue_many(
        [
            call(welcome, 1),
            call(welcome, 2).in_(timedelta(days=3)),
            call(welcome, 3).with_options(priority=-10, key="welcome:3"),
        ]
    )
    assert (now.state, later.state, urgent.key) == (State.READY, State.SCHEDULED, "welcome:3")
    work()
    assert inbox == [3, 1]
