"""What all commands have in common: their form, their scripts, and how replies are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from redjobs.ids import priority_of
from redjobs.lua import Script, load

T = TypeVar("T")
Arg = bytes | str | int

#: One call moves or stores at most this many jobs, so that no call holds the server for long: 250 were at
#: times more than 5 ms, and of 128 a worker drains a queue more slowly.
BATCH = 160
#: And `enqueue` so many bytes of arguments, but for one job that has more: what is longer holds the server
#: up, and takes a slow connection longer than it waits for a reply.
ENQUEUE_BYTES = 1_000_000

SCRIPTS = {
    name: load(name)
    for name in (
        "begin",
        "bury",
        "cancel",
        "cancels",
        "complete",
        "delete",
        "discard",
        "enqueue",
        "heartbeat",
        "holder",
        "peek",
        "recover",
        "release",
        "requeue",
        "reschedule",
        "retire",
        "retry",
        "stranded",
        "sweep",
        "take",
    )
}


@dataclass(frozen=True, slots=True)
class Command(Generic[T]):
    """One script call: what to send, and how to read the reply."""

    script: Script
    keys: tuple[str, ...]
    args: tuple[Arg, ...]
    parse: Callable[[Any], T]

    @property
    def words(self) -> tuple[Arg, ...]:
        """What is sent: the script by its hash."""
        return ("EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.args)

    @property
    def whole(self) -> tuple[Arg, ...]:
        """What is sent to a server that does not know the script: its text."""
        return ("EVAL", self.script.text, len(self.keys), *self.keys, *self.args)


def word(reply: Any) -> str:
    """A reply that is a word."""
    return str(reply.decode())


def first_word(reply: Any) -> str:
    """The word at the head of a reply."""
    return word(reply[0])


def word_and_text(reply: Any) -> tuple[str, str]:
    """A reply of a word and a text."""
    return word(reply[0]), word(reply[1])


def texts(reply: Any) -> list[str]:
    """A reply that is a list of ids."""
    # What is no ASCII is no id of ours; it must not stop who finds it.
    return [item.decode("ascii", "backslashreplace") for item in reply]


def by_priority(ids: Sequence[str]) -> list[tuple[int, list[str]]]:
    """Ids in groups of one priority, each in the order given."""
    groups: dict[int, list[str]] = {}
    for job_id in ids:
        groups.setdefault(priority_of(job_id), []).append(job_id)
    return list(groups.items())
