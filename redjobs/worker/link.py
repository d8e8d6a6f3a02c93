"""A worker's connections: commands in shared round trips, blocking pops, and what wakes it.

The pops are sent on connections of their own and read when their sockets say so. So one thread
waits for several queues, for the next due time and for its own process at once, and to the
millisecond: the server itself ends a blocked call only when its timer ticks, up to 100 ms late.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.exceptions import NoScriptError, ResponseError

from redjobs.commands import Command
from redjobs.connect.cluster import ClusterClient, near
from redjobs.keys import BELL, Keys
from redjobs.wire import Words, borrow, exchange_on

#: How long a pop blocks on the server. It bounds how long the server can serve a client that
#: is gone, and how late a worker is that was told nothing.
BLOCK_SECONDS = 1.5
#: A pop without an answer this long after its time is on a dead connection.
_OVERDUE_SECONDS = 3.0

#: How often running works are looked at while there are any.
TEND_SECONDS = 0.05

#: FD_SETSIZE: files from this number on `select` cannot wait for.
_MOST_SELECTED = 1024

LOST = (redis.ConnectionError, redis.TimeoutError)

#: Of a blocking pop: an id, nothing, or why the server refuses it.
Answer = str | None | ResponseError


class Unreachable(ResponseError):
    """One node of a cluster does not answer: stands where an answer would, as the other nodes go on.

    Nobody knows whether it was run.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(f"its node does not answer ({type(error).__name__}: {error})")


class Pop:
    """One blocking BRPOPLPUSH from a queue's ready list to this worker's list."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self.keys = keys
        #: Of the node that has the queue.
        self.client = client
        self._pool: Any = client.connection_pool
        self._connection: Any = None
        self._client_id: int | None = None
        #: When the answer is overdue; None: no call is under way.
        self.overdue_at: float | None = None
        #: A call was given up: the server may serve it all the same.
        self.is_ghost = False

    @property
    def pending(self) -> bool:
        """Whether a call is under way."""
        return self.overdue_at is not None

    def start(self, worker: str) -> None:
        """Send the call; the answer is read by `finish` once the socket has it."""
        if self._connection is None:
            self._connection = borrow(self._pool)
            with contextlib.suppress(ResponseError):  # an ACL may forbid CLIENT: then it times out
                self._connection.send_command("CLIENT", "ID")
                self._client_id = self._connection.read_response()
        self.overdue_at = time.monotonic() + BLOCK_SECONDS + _OVERDUE_SECONDS
        self._connection.send_command(
            "BRPOPLPUSH", self.keys.ready, self.keys.processing(worker), BLOCK_SECONDS
        )

    def fileno(self) -> int:
        """For select. redis-py has no public way to wait for several connections."""
        sock = self._connection._sock if self._connection is not None else None
        if sock is None:
            raise redis.ConnectionError("the blocking connection is closed")
        return int(sock.fileno())

    def finish(self) -> Answer:
        """The id that was moved; None after the time, or for a bell; or the server's refusal."""
        try:
            reply = self._connection.read_response()
        except ResponseError as error:
            reply = error
        self.overdue_at = None
        if isinstance(reply, ResponseError):
            return reply
        text = reply.decode("ascii", "backslashreplace") if isinstance(reply, bytes) else None
        return None if text == BELL else text

    def unblock_command(self) -> tuple[Any, ...] | None:
        """What makes the server answer now; None where it can only time out."""
        return None if self._client_id is None else ("CLIENT", "UNBLOCK", self._client_id)

    def drop(self) -> None:
        """Close the connection: what it was told in the meantime is found in the list."""
        self.is_ghost = self.is_ghost or self.pending
        if self._connection is not None:
            self._connection.disconnect()
            with contextlib.suppress(Exception):
                self._pool.release(self._connection)
        self._connection = None
        self.overdue_at = None


class Link:
    """The connections of one worker process; used by its claim thread only, but for `wake`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        #: Whether each queue has a node of its own, and an outage of its own.
        self._parted = isinstance(client, ClusterClient)
        #: For all commands but the pops; whatever breaks is connected anew by the next one.
        self._held: dict[redis.Redis, Any] = {}
        #: Of pops that could not be started.
        self._failed: list[tuple[str, Answer]] = []
        self._pops: dict[str, Pop] = {}
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._watched: list[Any] = []
        #: Called again and again while a reply is waited for, until it returns False.
        self.tend: Callable[[], bool] = lambda: False
        #: Monotonic time when a server has answered last.
        self.answered_at = 0.0

    # Commands ------------------------------------------------------------------------------

    def run_all(
        self, wanted: Sequence[Command[Any]], meanwhile: Callable[[], object] = lambda: None
    ) -> list[Any]:
        """All commands in one round trip. An error of the server stands in its command's place.

        `meanwhile` is called while the server works on them, in a cluster for each node, and not where
        they could not be sent. Raises redis-py's ConnectionError or TimeoutError when the connection is
        lost; then nobody knows which of them were run. In a cluster it is a round trip per queue, and
        Unreachable stands in the place of those commands whose node is lost.
        """
        if not wanted:
            return []
        if not self._parted:
            return self._run_on(self.client, wanted, meanwhile)
        replies: list[Any] = [None] * len(wanted)
        places: dict[redis.Redis, list[int]] = {}
        for place, command in enumerate(wanted):
            places.setdefault(near(self.client, command.keys[0]), []).append(place)
        for client, these in places.items():
            try:
                found = self._run_on(client, [wanted[place] for place in these], meanwhile)
            except LOST as error:
                self._drop_near(client)
                found = [Unreachable(error)] * len(these)
            for place, reply in zip(these, found, strict=True):
                replies[place] = reply
        return replies

    def _run_on(
        self, client: redis.Redis, wanted: Sequence[Command[Any]], meanwhile: Callable[[], object]
    ) -> list[Any]:
        calls = [("EVALSHA", each.script.sha, len(each.keys), *each.keys, *each.args) for each in wanted]
        replies = self._exchange(client, calls, meanwhile)
        self.answered_at = time.monotonic()
        return [self._read(client, command, reply) for command, reply in zip(wanted, replies, strict=True)]

    def _exchange(
        self,
        client: redis.Redis,
        calls: Sequence[Words],
        meanwhile: Callable[[], object] = lambda: None,
    ) -> list[Any]:
        held = self._hold(client)

        def wait() -> None:
            meanwhile()
            until = time.monotonic() + (held.socket_timeout or math.inf)
            while self.tend() and not _readable([held._sock], TEND_SECONDS):
                if time.monotonic() > until:
                    raise redis.TimeoutError("the server did not answer in time")

        return exchange_on(held, calls, wait)

    def _hold(self, client: redis.Redis) -> Any:
        """The connection that is held: to borrow it anew costs as much as a small command."""
        held = self._held.get(client)
        if held is None:
            held = self._held[client] = borrow(client.connection_pool)
        return held

    def ask(self, key: str, *words: str) -> Any:
        """One command that is no script. Raises its error, and Unreachable where `run_all` has it."""
        client = near(self.client, key)
        try:
            (reply,) = self._exchange(client, [words])
        except LOST as error:
            if not self._parted:
                raise
            raise Unreachable(error) from error
        if isinstance(reply, Exception):
            raise reply
        return reply

    def run(self, command: Command[Any]) -> Any:
        """One command. Raises its error."""
        (reply,) = self.run_all([command])
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _read(self, client: redis.Redis, command: Command[Any], reply: Any) -> Any:
        if isinstance(reply, NoScriptError):
            keys = command.keys
            (reply,) = self._exchange(
                client, [("EVAL", command.script.text, len(keys), *keys, *command.args)]
            )
        if isinstance(reply, LOST):
            raise reply
        return reply if isinstance(reply, Exception) else command.parse(reply)

    # Waiting -------------------------------------------------------------------------------

    def pop(self, keys: Keys, worker: str) -> None:
        """Start a blocking pop on a queue, if none is under way."""
        if keys.queue not in self._pops:
            self._pops[keys.queue] = Pop(near(self.client, keys.ready), keys)
        pop = self._pops[keys.queue]
        if pop.pending:
            return
        try:
            pop.start(worker)
        except LOST as error:
            self._failed.append((keys.queue, self._lost(pop, error)))

    def _finish(self, pop: Pop) -> tuple[str, Answer]:
        try:
            return pop.keys.queue, pop.finish()
        except LOST as error:
            return pop.keys.queue, self._lost(pop, error)

    def _lost(self, pop: Pop, error: Exception) -> Answer:
        """A pop whose connection was lost. Raises that, unless it is only one node of several."""
        if not self._parted:
            raise error
        pop.drop()
        return Unreachable(error)

    def _drop_near(self, client: redis.Redis) -> None:
        """What is said to one node is lost: so may be its pops, and what is said to it about other queues."""
        for pop in self._pops.values():
            if pop.client is client:
                pop.drop()
        lost = self._held.get(client)
        for held in self._held.values():
            if lost is not None and (held.host, held.port) == (lost.host, lost.port):
                held.disconnect()

    @property
    def popping(self) -> bool:
        """Whether a blocking pop is under way."""
        return any(pop.pending for pop in self._pops.values())

    def pops(self, queue: str) -> bool:
        """Whether a blocking pop is under way on this queue."""
        return queue in self._pops and self._pops[queue].pending

    def watch(self, readable: Any) -> None:
        """Let `wait` end when this file or socket can be read, too."""
        self._watched.append(readable)

    def unwatch(self, readable: Any) -> None:
        """It has ended: it could be read for ever."""
        self._watched.remove(readable)

    @property
    def has_ghosts(self) -> bool:
        """Whether a pop was given up that the server may still serve."""
        return any(pop.is_ghost for pop in self._pops.values())

    def wait(self, seconds: float) -> list[tuple[str, Answer]]:
        """Sleep until a pop is answered, somebody wakes us, or the time is over.

        Returns the queues and their answers. Raises ConnectionError.
        """
        if self._failed:
            failed, self._failed = self._failed, []
            return failed
        pending = [pop for pop in self._pops.values() if pop.pending]
        overdue_at = min((pop.overdue_at or 0.0 for pop in pending), default=float("inf"))
        seconds = min(seconds, max(0.0, overdue_at - time.monotonic()))
        readable = _readable([*pending, self._wake_read, *self._watched], seconds)
        now = time.monotonic()
        answers = [self._finish(pop) for pop in pending if pop in readable]
        for pop in pending:
            if pop not in readable and pop.overdue_at is not None and now >= pop.overdue_at:
                error = redis.TimeoutError("the server did not answer a blocking call in time")
                answers.append((pop.keys.queue, self._lost(pop, error)))
        return answers

    def pause(self, seconds: float, readable: Sequence[Any] = ()) -> bool:
        """Sleep until somebody wakes us, one of these can be read, or the time is over. Whether it is not."""
        return bool(_readable([self._wake_read, *self._watched, *readable], seconds))

    def unblock(self) -> list[tuple[str, Answer]]:
        """End all pops that are under way. Returns their answers: an id may have come first."""
        pending = [pop for pop in self._pops.values() if pop.pending]
        ends: dict[redis.Redis, list[Words]] = {}
        for pop in pending:
            if command := pop.unblock_command():
                ends.setdefault(pop.client, []).append(command)
        for client, commands in ends.items():
            try:
                self._exchange(client, commands)
            except LOST:
                if not self._parted:
                    raise
                # Their answers, or that there are none, come with their time.
        return [self._finish(pop) for pop in pending]

    def drop_pop(self, queue: str) -> None:
        """Close one queue's blocking connection."""
        if queue in self._pops:
            self._pops[queue].drop()

    def drop_all(self) -> None:
        """One connection is lost, so the others may be: each is connected anew when it is needed.

        What the pops may have been told is found in the lists.
        """
        for pop in self._pops.values():
            pop.drop()
        for held in self._held.values():
            held.disconnect()

    def wake(self, message: bytes = b"\0") -> None:
        """End `wait` now. For any thread; a full pipe means that it will end anyway."""
        with contextlib.suppress(BlockingIOError, OSError):
            self._wake_write.send(message)

    def wake_fileno(self) -> int:
        """Where a byte wakes `wait`: for signal.set_wakeup_fd."""
        return self._wake_write.fileno()

    def messages(self) -> bytes:
        """What was written to wake us since the last call; signal numbers, mostly zeros."""
        with contextlib.suppress(BlockingIOError):
            return self._wake_read.recv(4096)
        return b""

    def close(self) -> None:
        """Close all connections."""
        self.drop_all()
        for client, held in self._held.items():
            client.connection_pool.release(held)
        self.client.close()
        self._wake_read.close()
        self._wake_write.close()


def _readable(files: Sequence[Any], seconds: float) -> list[Any]:
    """Those of the files that can be read, within this time.

    `select` counts in microseconds, `poll` in milliseconds; but `select` fails where an app has
    more than a thousand files open.
    """
    of_fd = {file.fileno(): file for file in files}
    seconds = min(seconds, 3600.0)
    if max(of_fd) < _MOST_SELECTED:
        return [of_fd[fd] for fd in select.select(list(of_fd), (), (), seconds)[0]]
    poll = select.poll()
    for fd in of_fd:
        poll.register(fd, select.POLLIN)
    return [of_fd[fd] for fd, _ in poll.poll(math.ceil(seconds * 1000))]
