"""What runs commands for a queue; `redjobs.aiodriver` does for coroutines: the only place where they differ.

Calls that are made while another one is under way wait for it, and go out together in one round trip:
coroutines of one event loop, or threads that share a queue. Whoever is alone waits for nobody.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Self, TypeVar, cast

import redis
from redis.exceptions import NoScriptError, ResponseError

from redjobs import commands, connect, flows
from redjobs.ahead import Bulk
from redjobs.commands import SCRIPTS, Command, Duplicate, Round
from redjobs.errors import NotReplicated, ServerUnavailable, SettingsError
from redjobs.flows import Flow, Taken
from redjobs.jobs import Job, NewJob
from redjobs.keys import queues_key
from redjobs.settings import Server
from redjobs.shards import Shards
from redjobs.wire import Words, exchange

logger = logging.getLogger("redjobs")

T = TypeVar("T")

LOST = (redis.ConnectionError, redis.TimeoutError)
#: What is the error of all whose calls were sent together.
_OF_ALL = (redis.RedisError, OSError, ServerUnavailable)

#: So many callers share a round trip at most.
MOST = 200
#: How long replicas have to confirm that they have an accepted job.
REPLICAS_MS = 1_000
#: How long a queue's name is taken for known: the server may have been started anew without it, and another
#: process have been the one to notice.
_KNOWN_S = 30.0
#: Who waits for so long looks whether whoever was to send, or to wake it, was interrupted and has gone.
_LOOK_S = 0.5


class _Asked:
    """What one caller wants sent, and what came of it."""

    __slots__ = ("answer", "answered", "appointed", "calls", "error", "taken", "turn")

    def __init__(self, calls: list[Words]) -> None:
        self.calls = calls
        self.answer: list[Any] = []
        self.error: BaseException | None = None
        #: Locked until there is an answer, or until it is this caller's turn to send.
        self.turn = threading.Lock()
        self.turn.acquire()
        self.appointed = False
        #: Somebody has begun to send it.
        self.taken = False
        self.answered = False

    def wake(self) -> None:
        """There is an answer, or it is its turn; or both."""
        with contextlib.suppress(RuntimeError):
            self.turn.release()


class _Heard:
    """Whether a server has answered yet. The nodes of a cluster are one server."""

    __slots__ = ("_central", "yet")

    def __init__(self, central: Any) -> None:
        self._central = central
        self.yet = False

    def anything(self) -> bool:
        """Whether what gets no reply now may be done."""
        return self.yet or (self._central is not None and self._central.neighbours.are_known)


class BaseDriver:
    """What both drivers know of their server, and what they say to it and of it."""

    def __init__(self, client: Any, server: Server | None, replicas: int) -> None:
        if replicas < 0:
            raise SettingsError(f"wait_replicas is a number of replicas, not {replicas!r}")
        self._server = server
        self._replicas = replicas
        self._introduced = False
        self._pool: Any = getattr(client, "connection_pool", None)
        self._wait: Words = ("WAIT", replicas, _wait_ms(self._pool))
        #: In a cluster, the client that has one for each slot, and the drivers of these.
        self._central: Any = client if connect.is_cluster(client) else None
        self._near: dict[Any, Self] = {}
        #: Before it has answered, a lost connection is a mistake in the settings.
        self._heard = _Heard(self._central)
        #: Names of queues, and until when (monotonic) each is taken for known.
        self._announced: dict[str, float] = {}

    def _words(self, command: Command[Any], *, known: bool = True) -> list[Words]:
        """What to send for a command: its script by hash or as a text, and WAIT where it enqueues."""
        words: list[Words] = [command.words if known else command.whole]
        if self._replicas and command.script is SCRIPTS["enqueue"]:
            # WAIT answers for what this connection has written. A job that was sent again after a
            # lost reply writes nothing: without this write, any replica would do.
            words += (("HINCRBY", command.keys[3], "enqueued", 0), self._wait)
        return words

    def _at(self, key: str) -> Self:
        """The driver for a key: this one, but in a cluster."""
        if self._central is None:
            return self
        client = connect.near(self._central, key)
        if client not in self._near:
            self._near[client] = type(self)(client, self._server, self._replicas)
            # Where another node has answered, what this one does not answer may be done.
            self._near[client]._heard = self._heard
        return self._near[client]

    def _stream_pool(self, command: Command[Any]) -> Any:
        """Where a bulk sends its calls ahead; None: one by one, so that each is confirmed."""
        driver = self._at(command.keys[0])
        introduced, driver._introduced = driver._introduced, True
        # The first goes alone, and brings the script: so jobs keep their order.
        return driver._pool if introduced and not self._replicas else None

    def _read(self, command: Command[T], replies: list[Any]) -> T:
        """What the replies say. Raises the server's error, and NotReplicated."""
        if isinstance(replies[0], Exception):
            raise replies[0]
        found = command.parse(replies[0])
        if len(replies) > 1:
            # What the server refuses to say is no confirmation.
            refusal = replies[-1] if isinstance(replies[-1], Exception) else None
            confirmed = 0 if refusal else replies[-1]
            # Whoever holds a unique key was accepted before, and perhaps not confirmed then.
            ids = [one.id if isinstance(one, Job) else one.holder for one in cast(list[Any], found)]
            if ids and confirmed < self._replicas:
                problem = NotReplicated(ids, confirmed, self._replicas, refusal)
                problem.replies = found
                raise problem from refusal
        return found

    def _lost(self, error: Exception) -> ServerUnavailable | None:
        """What to raise in place of a lost connection; None: the error itself."""
        if self._server is None or self._heard.anything():
            return None
        return connect.unavailable(self._server, error)

    def _announcement(self, shards: Shards, *, before: bool) -> Words | None:
        """What lets workers and the CLI know the queue's name, where it is time to say it."""
        if before and self._central is not None:
            return None  # the names may be on another node than the queue, which goes on where that is down
        now = time.monotonic()
        if min([self._announced.get(name, 0.0) for name in shards.names]) > now:
            return None
        # Whoever else enqueues meanwhile need not say it, too.
        self._announced.update(dict.fromkeys(shards.names, now + _KNOWN_S))
        return ("SADD", queues_key(shards.whole.prefix), *shards.names)

    def _heed(self, shards: Shards, outcome: object, *, before: bool) -> None:
        """What came of an announcement. Its error is raised `before` an enqueue, and logged after it."""
        if not isinstance(outcome, Exception):
            if self._central is not None:  # no other server's start means that these are lost
                self._announced.update(dict.fromkeys(shards.names, math.inf))
            return
        if before:
            self._unsaid(shards)
            raise self._undone(outcome)
        logger.warning(
            "could not say that queue %s is in use, to workers that serve patterns and to the CLI: %s;"
            " it is said again in %d s",
            shards.whole.queue,
            outcome,
            _KNOWN_S,
        )

    def _unsaid(self, shards: Shards) -> None:
        """It was not announced after all: whoever enqueues next does it."""
        for name in shards.names:
            self._announced.pop(name, None)

    def _undone(self, error: Exception) -> Exception:
        """What to raise where nothing is sent any more: without a reply, nothing was enqueued."""
        if self._server is None or isinstance(error, ServerUnavailable) or not isinstance(error, LOST):
            return error
        what = f"{self._server} does not answer ({type(error).__name__}: {error}): nothing was enqueued"
        problem = ServerUnavailable(what)
        problem.__cause__ = error
        return problem


def _wait_ms(pool: Any) -> int:
    """How long WAIT may take: the answer must come before the connection gives up waiting for it."""
    patience_s = getattr(pool, "connection_kwargs", {}).get("socket_timeout")
    return REPLICAS_MS if not patience_s else min(REPLICAS_MS, math.ceil(patience_s * 500))


class Driver(BaseDriver):
    """Runs commands on one redis-py client. For any thread; survives a fork."""

    def __init__(self, client: redis.Redis, server: Server | None, replicas: int = 0) -> None:
        super().__init__(client, server, replicas)
        self.client = client
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._lock = threading.Lock()
        #: Held by whoever sends. What a signal handler raises finds no gap between such a lock and its
        #: `with`; whatever else it leaves undone, those who wait find out once they have this lock.
        self._line = threading.Lock()
        #: Somebody sends, or is about to, as far as is known.
        self._busy = False
        self._waiting: deque[_Asked] = deque()
        #: Set last: another thread of a child must not find the locks of the parent, which nobody opens.
        self._pid = os.getpid()

    def run(self, command: Command[T]) -> T:
        """Send a command, load its script where the server does not have it, read the reply."""
        driver = self._at(command.keys[0])
        replies = driver._call(self._words(command))
        if isinstance(replies[0], NoScriptError):
            self._announced.clear()  # a server that was started anew may have lost that, too
            replies = driver._call(self._words(command, known=False))
        return self._read(command, replies)

    def drive(self, flow: Flow[T]) -> T:
        """Run the commands that a flow yields; returns what it returns."""
        reply: Any = None
        try:
            while True:
                reply = self.run(flow.send(reply))
        except StopIteration as stop:
            result: T = stop.value
            return result

    def announce(self, shards: Shards, *, before: bool = True) -> None:
        """Let workers and the CLI know the queue's name, now and then: `before` an enqueue, or after it."""
        if words := self._announcement(shards, before=before):
            outcome: object
            try:
                (outcome,) = self._at(str(words[1]))._call([words])
            except (*LOST, ServerUnavailable) as error:
                outcome = error
            except BaseException:  # an interrupt, or a task that is cancelled
                self._unsaid(shards)
                raise
            self._heed(shards, outcome, before=before)

    def enqueue(self, shards: Shards, job: NewJob) -> Job:
        """Enqueue one job. One round trip, and one or two more where its unique key is taken."""
        self.announce(shards)
        keys = shards.of(job.id)
        try:
            (found,) = self.run(commands.enqueue(keys, [job]))
            if isinstance(found, Duplicate):
                return self.drive(flows.existing(keys, job, found.holder))
        except LOST as error:
            raise flows.enqueue_unknown([job.id], error) from error
        self.announce(shards, before=False)  # again, where the server turned out to be another one
        return found

    def enqueue_many(self, shards: Shards, jobs: Iterable[NewJob]) -> list[Job]:
        """Enqueue many jobs: the next call is made while the server works on the last one."""
        self.announce(shards)
        bulk = Bulk(self.run, self._stream_pool, self._announced.clear)
        try:
            stored = bulk.store(flows.batches(shards, jobs))
            found = [self._existing(one, bulk) if isinstance(one, Taken) else one for one in stored]
        except (*LOST, ServerUnavailable) as error:
            if bulk.did_nothing(error):
                raise
            raise flows.enqueue_unknown(bulk.sent, error) from error
        self.announce(shards, before=False)  # again, where the server turned out to be another one
        bulk.doubts.tell()
        return found

    def _existing(self, taken: Taken, bulk: Bulk) -> Job:
        try:
            return self.drive(flows.existing(taken.keys, taken.job, taken.holder))
        except NotReplicated as error:
            (job,) = bulk.doubts.noted(error)
            return cast(Job, job)

    def _call(self, calls: list[Words]) -> list[Any]:
        try:
            replies = self._share(calls)
        except LOST as error:
            if instead := self._lost(error):
                raise instead from error
            raise
        self._heard.yet = True
        return replies

    def _share(self, calls: list[Words]) -> list[Any]:
        """Send now, or with others that wait, once the call that is under way is over."""
        if self._pid != os.getpid():  # a child: whoever was at it in the parent is not here
            self._begin_anew()
        with self._lock:
            asked = _Asked(calls) if self._busy else None
            self._busy = True
            if asked is not None:
                self._waiting.append(asked)
        if asked is None:
            try:
                with self._line:
                    return self._send(calls)
            finally:
                self._appoint()
        try:
            if not asked.turn.acquire(timeout=_LOOK_S):
                asked.appointed = True
            if asked.appointed:
                with self._line:
                    self._send_for_all(asked)
        finally:
            self._leave(asked)
        if asked.error is not None:
            raise asked.error
        return asked.answer

    def _appoint(self) -> None:
        """The line is free: the next who waits sends for all who wait."""
        with self._lock:
            if self._waiting:
                self._waiting[0].appointed = True
                self._waiting[0].wake()
            else:
                self._busy = False

    def _leave(self, asked: _Asked) -> None:
        """It waits no longer. If it was to send, that is the next one's now."""
        if not asked.taken:  # an exception has ended the waiting
            with self._lock, contextlib.suppress(ValueError):
                self._waiting.remove(asked)
        if asked.appointed:
            self._appoint()

    def _send_for_all(self, asked: _Asked) -> None:
        """For who holds the line. Whoever had it before has done all it will ever do for this one."""
        if asked.answered:
            return
        if asked.taken:
            raise _interrupted()
        with self._lock:
            with contextlib.suppress(ValueError):
                self._waiting.remove(asked)
            together = [asked, *(self._waiting.popleft() for _ in range(min(MOST - 1, len(self._waiting))))]
            for one in together:
                one.taken = True
        error: BaseException | None = None
        replies: list[Any] = []
        try:
            replies = self._send_together([words for one in together for words in one.calls])
        except BaseException as problem:
            error = problem
            raise
        finally:
            at = 0
            for one in together:
                one.answer, at = replies[at : at + len(one.calls)], at + len(one.calls)
                # What interrupts the sender is no answer for the others: theirs is lost.
                one.error = error if error is None or isinstance(error, _OF_ALL) else _interrupted()
                one.answered = True
                if one is not asked:
                    one.wake()

    def _send_together(self, calls: Sequence[Words], *, alone: bool = False) -> list[Any]:
        together = Round(calls, alone=alone)
        if refused := together.read(self._send(together.words)):
            replies = self._send_together([calls[place] for place in refused], alone=True)
            for place, reply in zip(refused, replies, strict=True):
                together.answers[place] = reply
        return together.answers

    def _send(self, calls: Sequence[Words]) -> list[Any]:
        if self._pool is not None:
            return exchange(self._pool, calls)
        return [self._alone(words) for words in calls]

    def _alone(self, words: Words) -> Any:
        client: Any = self.client
        try:
            return client.execute_command(*words)
        except ResponseError as error:
            return error


def _interrupted() -> redis.ConnectionError:
    return redis.ConnectionError("the thread that sent this together with its own call was interrupted")
