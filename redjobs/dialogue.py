"""What is said to a server and read from it, by whatever sends it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar, cast

import redis

from redjobs import connect
from redjobs.commands import SCRIPTS, Command
from redjobs.errors import NotReplicated, ServerUnavailable, SettingsError
from redjobs.jobs import Job
from redjobs.keys import queues_key
from redjobs.settings import Server
from redjobs.shards import Shards
from redjobs.wire import Words

T = TypeVar("T")

LOST = (redis.ConnectionError, redis.TimeoutError)

#: How long replicas have to confirm that they have an accepted job.
REPLICAS_MS = 1_000


class Dialogue:
    """What both drivers know of their server, and what they say to it and of it."""

    def __init__(self, server: Server | None, replicas: int) -> None:
        if replicas < 0:
            raise SettingsError(f"wait_replicas is a number of replicas, not {replicas!r}")
        self._server = server
        self._replicas = replicas
        #: Whether it has answered yet: before, a lost connection is a mistake in the settings.
        self._answered = False
        self._announced: set[str] = set()

    def _words(self, command: Command[Any], *, known: bool = True) -> list[Words]:
        """What to send for a command: its script by hash or as a text, and WAIT where it enqueues."""
        script = ("EVALSHA", command.script.sha) if known else ("EVAL", command.script.text)
        words: list[Words] = [(*script, len(command.keys), *command.keys, *command.args)]
        if self._replicas and command.script is SCRIPTS["enqueue"]:
            words.append(("WAIT", self._replicas, REPLICAS_MS))
        return words

    def _read(self, command: Command[T], replies: list[Any]) -> T:
        """What the replies say. Raises the server's error, and NotReplicated."""
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        found = command.parse(replies[0])
        if len(replies) > 1 and replies[1] < self._replicas:
            ids = [job.id for job in cast(list[Any], found) if isinstance(job, Job)]
            if ids:
                raise NotReplicated(ids, replies[1], self._replicas)
        return found

    def _lost(self, error: Exception) -> ServerUnavailable | None:
        """What to raise in place of a lost connection; None: the error itself."""
        if self._answered or self._server is None:
            return None
        return connect.unavailable(self._server, error)

    def _announcement(self, shards: Shards) -> Words | None:
        """What lets the CLI and the dashboard know the queue's name; once per process and queue."""
        if self._announced.issuperset(shards.names):
            return None
        return ("SADD", queues_key(shards.whole.prefix), *shards.names)


def made(commands: Iterator[Command[T]]) -> tuple[Command[T] | None, Exception | None]:
    """The next command, or why it cannot be made."""
    try:
        return next(commands, None), None
    except Exception as problem:  # noqa: BLE001 - it is raised once what was sent is answered
        return None, problem
