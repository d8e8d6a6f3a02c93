"""Messages between a supervisor and a child that does not read them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from redjobs.keys import Keys
from redjobs.worker import WorkerOptions
from redjobs.worker.brood import Child
from redjobs.worker.care import _tell_lapsed
from redjobs.worker.seat import Channel
from redjobs.worker.slots import Slots, shared_file


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = map(Channel, socket.socketpair())
    yield ours, theirs
    ours.close()
    theirs.close()


def test_whoever_posts_waits_for_nobody_and_what_there_was_no_room_for_comes_later(
    ends: tuple[Channel, Channel],
) -> None:
    ours, theirs = ends
    for number in range(20_000):
        ours.post(do="something", number=number)
    read: list[int] = []
    while told := theirs.receive():
        read += [message["number"] for message in told]
        ours.push()
    assert read == list(range(len(read)))
    assert 500 < len(read) < 20_000, "no end of them is kept"
    ours.post(do="something", number=-1)
    assert theirs.receive() == [{"do": "something", "number": -1}]


@pytest.fixture
def child(ends: tuple[Channel, Channel]) -> Iterator[Child]:
    child = Child(WorkerOptions(), os.getpid(), ends[0], Slots(shared_file(Slots.size(1)), 1), shared_file(0))
    yield child
    child.close()


def test_a_child_is_told_once_that_a_lease_of_its_is_gone(
    child: Child, ends: tuple[Channel, Channel]
) -> None:
    child.lanes.append((Keys("mail"), "first"))
    for _ in range(3):
        _tell_lapsed([child], {"first", "another's"})
    assert ends[1].receive() == [{"do": "lapsed", "worker": "first"}]


def test_a_name_that_lost_its_lease_is_forgotten_once_another_one_has_its_place(child: Child) -> None:
    mail, other = Keys("mail"), Keys("other")
    child.serves(mail, "first")
    child.serves(other, "first of other")
    child.serves(mail, "second")
    assert child.lanes == [(other, "first of other"), (mail, "second")]
