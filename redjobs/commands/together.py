"""Calls of several callers that share a round trip; new jobs of one queue share a call of the script, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redjobs.commands.command import BATCH, ENQUEUE_BYTES, SCRIPTS

_ENQUEUE = SCRIPTS["enqueue"].sha
#: Of an enqueue: the command, the hash and the number of keys; the keys of the queue; the words of one job.
_HEAD, _SHARED, _PER_JOB = 3, 4, 7
_PAYLOAD = -2


class Round:
    """What is sent for many callers at once, and which reply is whose."""

    def __init__(self, calls: Sequence[Sequence[Any]], *, alone: bool = False) -> None:
        self._calls = calls
        #: The reply to each call; an error of the server stands in its call's place.
        self.answers: list[Any] = [None] * len(calls)
        #: Calls that go as one, by their places.
        self._groups: list[list[int]] = []
        #: One WAIT at the end speaks for all that were sent before it.
        self._waits = [place for place, call in enumerate(calls) if call[0] == "WAIT"]
        mergeable: dict[Any, list[int]] = {}
        room: dict[Any, int] = {}
        for place, call in enumerate(calls):
            if call[0] == "WAIT":
                continue
            queue = None if alone else _queue_of_one_job(call)
            group = mergeable.get(queue) if queue else None
            size = len(call[_PAYLOAD]) if queue else 0
            if group is None or len(group) == BATCH or room[queue] < size:
                group = []
                self._groups.append(group)
                if queue:
                    mergeable[queue], room[queue] = group, ENQUEUE_BYTES
            if queue:
                room[queue] -= size
            group.append(place)

    @property
    def words(self) -> list[Sequence[Any]]:
        """What is sent."""
        merged = [_merged([self._calls[place] for place in group]) for group in self._groups]
        return [*merged, *[self._calls[place] for place in self._waits[:1]]]

    def read(self, replies: Sequence[Any]) -> list[int]:
        """Learn the answers; returns the places of calls that have to be asked again, each on its own.

        A call that is refused has changed nothing, and whose fault that is its error does not say.
        """
        refused: list[int] = []
        for group, reply in zip(self._groups, replies, strict=False):
            if len(group) == 1:
                self.answers[group[0]] = reply
            elif isinstance(reply, Exception):
                refused += group
            else:
                for place, answer in zip(group, _split(reply), strict=True):
                    self.answers[place] = answer
        for place in self._waits:
            self.answers[place] = replies[-1]
        return [*refused, *self._waits] if refused else []


def _queue_of_one_job(call: Sequence[Any]) -> Any:
    """What calls have in common that can be merged; None for all but an ordinary enqueue of one job."""
    if len(call) < _HEAD or call[1] != _ENQUEUE:
        return None
    keys = int(call[2])
    if len(call) != _HEAD + keys + 2 + _PER_JOB or call[_HEAD + keys + 1] != "":
        return None  # several jobs, or one whose key is held by a job that is gone
    return tuple(call[_HEAD : _HEAD + _SHARED])


def _merged(calls: Sequence[Sequence[Any]]) -> Sequence[Any]:
    first = calls[0]
    if len(calls) == 1:
        return first
    keys: list[Any] = list(first[_HEAD : _HEAD + _SHARED])
    jobs: list[Any] = []
    for call in calls:
        keys += call[_HEAD + _SHARED : -_PER_JOB - 2]
        jobs += call[-_PER_JOB:]
    return (*first[:2], len(keys), *keys, *first[-_PER_JOB - 2 : -_PER_JOB], *jobs)


def _split(reply: Any) -> list[Any]:
    """The reply for each job of a call, as if it had come alone."""
    now_ms, words, holders = reply
    held = dict(zip(holders[::2], holders[1::2], strict=True))
    return [
        [now_ms, [word], [1, held[position]] if position in held else []]
        for position, word in enumerate(words, 1)
    ]
