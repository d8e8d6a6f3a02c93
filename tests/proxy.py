"""A network that can be told to fail: it stands between clients and a server, and knows their language.

    with Proxy(server, directory / "socket") as proxy:
        queue = Queue(url=proxy.url)
        rule = proxy.lose_reply(script("enqueue"), times=3)
        ...
        assert rule.used == 3

A rule says what happens to the next commands that match: their replies are lost (the server has
run them, and the connection ends), held back until they are released, or the commands themselves
never arrive. Apart from rules, all connections can be cut, delayed, chopped up, or led into a black
hole, where bytes vanish and neither side is told.

It speaks RESP2, which is what redjobs uses, and runs in a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from redjobs.commands import SCRIPTS
from tests.servers import Server
from tests.waiting import wait_until

T = TypeVar("T")
Matches = Callable[[list[bytes]], bool]

_CHUNK = 65_536


def command(name: str) -> Matches:
    """Commands of this name."""
    wanted = name.upper().encode()
    return lambda words: words[0].upper() == wanted


def script(name: str) -> Matches:
    """Calls of this script of redjobs, by its hash or with its text."""
    found = SCRIPTS[name]
    sha, text = found.sha.encode(), found.text.encode()
    return lambda words: len(words) > 1 and words[1] in (sha, text)


def anything(words: list[bytes]) -> bool:
    """All commands."""
    return True


@dataclass(eq=False)
class Rule:
    """What happens to the next commands that match."""

    matches: Matches
    #: lose request, lose reply, or hold reply.
    action: str
    times: int
    #: So many that match are let through first.
    skip: int = 0
    #: How many commands it was applied to.
    used: int = 0
    #: Set once what is held back may go on.
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, words: list[bytes]) -> bool:
        """Whether it applies to this command."""
        if self.used >= self.times or not self.matches(words):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.used += 1
        return True


class Line:
    """One client's connection to the server, through the proxy."""

    def __init__(self, proxy: Proxy, client: _Ends, server: _Ends) -> None:
        self.proxy = proxy
        self.client_reader, self.client_writer = client
        self.server_reader, self.server_writer = server
        #: Nothing passes any more, in either direction, and neither side is told.
        self.dead = False
        #: Commands that were sent on and not answered.
        self.pending: deque[list[bytes]] = deque()

    async def serve(self) -> None:
        """Until one side ends; the other one is told, unless this line is dead."""
        both = [asyncio.ensure_future(self.requests()), asyncio.ensure_future(self.replies())]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if self.dead:
                await self.proxy.healed.wait()
        finally:
            for half in both:
                half.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            self.cut()

    def cut(self) -> None:
        """End it, now."""
        for writer in (self.client_writer, self.server_writer):
            writer.transport.abort()

    async def requests(self) -> None:
        """Pass commands on."""
        buffer = b""
        while data := await self.client_reader.read(_CHUNK):
            buffer += data
            while (end := _length(buffer)) is not None:
                sent, buffer = buffer[:end], buffer[end:]
                words = _words(sent)
                if self.proxy.rule_for("request", words) is not None:
                    return
                self.pending.append(words)
                if not self.dead:
                    self.server_writer.write(sent)

    async def replies(self) -> None:
        """Pass replies back."""
        buffer = b""
        while data := await self.server_reader.read(_CHUNK):
            buffer += data
            while (end := _length(buffer)) is not None:
                reply, buffer = buffer[:end], buffer[end:]
                rule = self.proxy.rule_for("reply", self.pending.popleft())
                if rule is not None and rule.action == "lose reply":
                    return
                if rule is not None:
                    await rule.go_on.wait()
                await self._answer(reply)

    async def _answer(self, reply: bytes) -> None:
        if self.proxy.delay is not None:
            await asyncio.sleep(self.proxy.delay())
        if self.dead:
            return
        if not self.proxy.chops:
            self.client_writer.write(reply)
            return
        for position in range(len(reply)):
            self.client_writer.write(reply[position : position + 1])
            await self.client_writer.drain()
            await asyncio.sleep(0)


_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """Listens on a unix socket, and passes on to a server."""

    def __init__(self, server: Server, socket: Path) -> None:
        assert server.socket is not None, "fakeredis has no network"
        self._upstream = server.socket
        self._socket = socket
        #: What a Queue is given; others are given `as_role` of it.
        self.url = server.url_at(socket)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._turn, name="proxy", daemon=True)
        self._listener: asyncio.Server | None = None
        self._lines: set[Line] = set()
        self._rules: list[Rule] = []
        self._open = True
        #: Seconds before each reply, where it is given; replies in single bytes.
        self.delay: Callable[[], float] | None = None
        self.chops = False
        self.healed = asyncio.Event()

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._listener = self._do(asyncio.start_unix_server(self._accept, self._socket))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._do(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # Rules ---------------------------------------------------------------------------------

    def lose_reply(self, matches: Matches, times: int = 1, skip: int = 0) -> Rule:
        """The server runs these commands; instead of their replies, the connection ends."""
        return self._add(Rule(matches, "lose reply", times, skip))

    def lose_request(self, matches: Matches, times: int = 1, skip: int = 0) -> Rule:
        """These commands do not arrive; the connection ends."""
        return self._add(Rule(matches, "lose request", times, skip))

    def hold_reply(self, matches: Matches, times: int = 1, skip: int = 0) -> Rule:
        """The server runs these commands; their replies wait until `release`."""
        return self._add(Rule(matches, "hold reply", times, skip))

    def release(self, rule: Rule) -> None:
        """Deliver what a rule holds back."""
        rule.times = rule.used
        self._loop.call_soon_threadsafe(rule.go_on.set)

    def forget(self) -> None:
        """No rule applies any more; what they hold back is delivered."""
        for rule in self._rules:
            self.release(rule)

    def _add(self, rule: Rule) -> Rule:
        self._rules.append(rule)
        return rule

    def rule_for(self, what: str, words: list[bytes]) -> Rule | None:
        """The first rule that applies to this command's request or reply."""
        return next((rule for rule in self._rules if rule.action.endswith(what) and rule.take(words)), None)

    # All connections -----------------------------------------------------------------------

    def cut(self) -> None:
        """End all connections; new ones are served."""
        self._do(self._cut())

    def refuse(self) -> None:
        """End all connections; new ones end at once."""
        self.refuse_new()
        self.cut()

    def refuse_new(self) -> None:
        """New connections end at once."""
        self._open = False

    def accept(self) -> None:
        """Serve new connections again."""
        self._open = True

    def black_hole(self) -> None:
        """From now on nothing passes on these connections, and neither side is told. New ones work.

        What a client closes stays open for the server: a ghost, until `heal`.
        """
        self._do(self._kill())

    def reset_clients(self) -> None:
        """End all connections for the clients; the server is not told until `heal`."""
        self._do(self._reset())

    def heal(self) -> None:
        """Let the server know of all the connections that are gone."""
        self._do(self._heal())

    # In the proxy's own thread -------------------------------------------------------------

    def _turn(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _do(self, wanted: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(wanted, self._loop).result(10)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            writer.transport.abort()
            return
        try:
            server = await asyncio.open_unix_connection(self._upstream)
        except (OSError, asyncio.CancelledError):  # nobody is there, or the proxy ends in this moment
            writer.transport.abort()
            return
        line = Line(self, (reader, writer), server)
        self._lines.add(line)
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await line.serve()
        self._lines.discard(line)

    async def _cut(self) -> None:
        for line in self._lines:
            line.cut()

    async def _kill(self) -> None:
        for line in self._lines:
            line.dead = True

    async def _reset(self) -> None:
        for line in self._lines:
            line.dead = True
            line.client_writer.transport.abort()

    async def _heal(self) -> None:
        self.healed.set()
        self.healed = asyncio.Event()

    async def _shut(self) -> None:
        assert self._listener is not None
        self.refuse_new()
        # Not closed at once: asyncio forgets sockets that it accepted just before (Server._attach asserts).
        for listening in self._listener.sockets:
            self._loop.remove_reader(listening.fileno())
        for _ in range(10):  # turns in which who was just accepted is refused
            await asyncio.sleep(0)
        self._listener.close()
        await self._heal()
        await self._cut()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
        for _ in range(3):  # turns in which what was aborted is closed
            await asyncio.sleep(0)

    def unanswered(self) -> list[bytes]:
        """The names of the commands that are under way."""
        return [words[0] for line in list(self._lines) for words in list(line.pending)]

    def wait_for(self, rule: Rule, times: int = 1, timeout: float = 10.0) -> None:
        """Until a rule was applied so often."""
        wait_until(lambda: rule.used >= times, timeout, f"{rule.action}: used {rule.used} times")


# RESP2 ----------------------------------------------------------------------------------------


def _length(data: bytes, start: int = 0) -> int | None:
    """Where the first command or reply in `data` ends; None while it is not complete."""
    end = data.find(b"\r\n", start)
    if end < 0:
        return None
    kind, after = data[start : start + 1], end + 2
    if kind in b"+-:":
        return after
    count = int(data[start + 1 : end])
    if kind == b"$":
        last = after if count < 0 else after + count + 2
        return last if last <= len(data) else None
    for _ in range(count):
        found = _length(data, after)
        if found is None:
            return None
        after = found
    return after


def _words(sent: bytes) -> list[bytes]:
    """A command and its arguments."""
    words = []
    at = sent.index(b"\r\n") + 2
    while at < len(sent):
        end = sent.index(b"\r\n", at)
        size = int(sent[at + 1 : end])
        words.append(sent[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
    return words
