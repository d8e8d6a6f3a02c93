"""The real scripts on a real server, as a function: state and call in, state and reply out.

A state is everything that the queue has in Redis, as plain data. To run a call in a state the
server is emptied, the state written, the call made and everything read back, in one round trip
(0.1 to 0.2 ms; fakeredis needs 1 ms for the call alone). The answer is remembered: a search meets
the same few thousand pairs of state and call again and again.

Time stands still within a state: the scripts read it from a key, so that two states that differ
by when they were reached are one.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import hiredis

from redjobs.commands import SCRIPTS
from tests.interleavings.calls import KEYS, NAMES, UNIQUE, A, B, C, Call, command
from tests.servers import Server

CLOCK = "clock"

_LISTS = [KEYS.ready, KEYS.list_of(5), *(KEYS.processing(name) for names in NAMES for name in names)]
_ZSETS = [
    KEYS.scheduled,
    KEYS.levels,
    KEYS.workers,
    KEYS.retired,
    KEYS.dead,
    KEYS.completed,
    KEYS.cancels,
]
_HASHES = [KEYS.job(A), KEYS.job(B), KEYS.job(C)]
_STRINGS = [KEYS.unique(UNIQUE), CLOCK]
_READ = (
    [("LRANGE", key, "0", "-1") for key in _LISTS]
    + [("ZRANGE", key, "0", "-1", "WITHSCORES") for key in _ZSETS]
    + [("HGETALL", key) for key in _HASHES]
    + [("GET", key) for key in _STRINGS]
    + [("HGETALL", KEYS.stats)]
)
_NAMES = [*_LISTS, *_ZSETS, *_HASHES, *_STRINGS]
_WRITE = {
    **dict.fromkeys(_LISTS, "RPUSH"),
    **dict.fromkeys(_ZSETS, "ZADD"),
    **dict.fromkeys(_HASHES, "HSET"),
    **dict.fromkeys(_STRINGS, "SET"),
}

#: Everything in Redis but the counters: a value per key, '' or () where there is none. A list as it
#: stands, a zset as (member, score), a hash as (field, value), sorted.
Data = tuple[Any, ...]


class Step(NamedTuple):
    """What a call did: the number of the state behind it, the reply, and how the counters moved."""

    after: int
    reply: Any
    counted: dict[str, int]


@dataclass(frozen=True)
class Breakage:
    """One protection switched off: in this script, this text becomes that one."""

    script: str
    text: str
    becomes: str

    def apply(self, text: str) -> str:
        """The script without its protection. AssertionError where the script has changed."""
        assert self.text in text, f"{self.script}.lua no longer says {self.text!r}"
        return text.replace(self.text, self.becomes)


class Store:
    """The states that were met, by number, and the calls between them."""

    def __init__(self, server: Server, *breakages: Breakage) -> None:
        assert server.socket is not None
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(server.socket))
        self._reader: Any = hiredis.Reader()
        self._shas = {name: self._load(name, breakages) for name in SCRIPTS}
        self._numbers: dict[Data, int] = {}
        self._states: list[Data] = []
        self._steps: dict[tuple[int, Call], Step] = {}

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    @property
    def size(self) -> tuple[int, int]:
        """How many states there are, and how many calls were made."""
        return len(self._states), len(self._steps)

    def _load(self, name: str, breakages: tuple[Breakage, ...]) -> str:
        text = SCRIPTS[name].text.replace("redis.call('TIME')", f"{{redis.call('GET', '{CLOCK}'), 0}}")
        assert "TIME" not in text, f"{name}.lua asks for the time in a new way"
        for breakage in breakages:
            if breakage.script == name:
                text = breakage.apply(text)
        (reply,) = self._send([("SCRIPT", "LOAD", text)])
        assert isinstance(reply, bytes), reply
        return reply.decode()

    # States ----------------------------------------------------------------------------------

    def empty(self, clock: int) -> int:
        """The state of a server on which nothing has happened."""
        return self._number({**dict.fromkeys(_NAMES, ()), KEYS.unique(UNIQUE): "", CLOCK: str(clock)})

    def data(self, number: int) -> dict[str, Any]:
        """A state by its keys' names."""
        return dict(zip(_NAMES, self._states[number], strict=True))

    def value(self, number: int, key: str) -> Any:
        """One key of a state."""
        return self._states[number][_INDEX[key]]

    def at(self, number: int, clock: int) -> int:
        """The same state later."""
        return self._number({**self.data(number), CLOCK: str(clock)})

    def _number(self, data: dict[str, Any]) -> int:
        state = tuple(data[name] for name in _NAMES)
        number = self._numbers.setdefault(state, len(self._states))
        if number == len(self._states):
            self._states.append(state)
        return number

    # Calls -----------------------------------------------------------------------------------

    def run(self, number: int, call: Call) -> Step:
        """Make a call in this state."""
        key = (number, call)
        if key not in self._steps:
            self.prefetch([key])
        return self._steps[key]

    def prefetch(self, wanted: Iterable[tuple[int, Call]]) -> None:
        """Make all these calls that were not made before, each in its state, in one round trip."""
        new = [key for key in dict.fromkeys(wanted) if key not in self._steps]
        blocks = [[("FLUSHALL",), *self._writes(number), _sent(call, self._shas)] for number, call in new]
        replies = iter(self._send([each for block in blocks for each in (*block, *_READ)]))
        for (number, call), block in zip(new, blocks, strict=True):
            told = [next(replies) for _ in block]
            values = [next(replies) for _ in _READ]
            if errors := [reply for reply in told if isinstance(reply, hiredis.ReplyError)]:
                raise AssertionError(f"{call}: {errors}")
            self._steps[number, call] = self._step(call, told[-1], values)

    def _step(self, call: Call, reply: Any, values: list[Any]) -> Step:
        *values, stats = values
        after = self._number({name: _plain(name, value) for name, value in zip(_NAMES, values, strict=True)})
        told = (None if reply is None else reply.decode()) if call[0] == "pop" else command(call).parse(reply)
        return Step(after, told, {name: int(count) for name, count in _pairs(stats)})

    def _writes(self, number: int) -> Iterator[tuple[str | bytes, ...]]:
        for name, value in zip(_NAMES, self._states[number], strict=True):
            if not value:
                continue
            verb = _WRITE[name]
            if verb == "RPUSH":
                yield (verb, name, *value)
            elif verb == "SET":
                yield (verb, name, value)
            elif verb == "HSET":
                # As bytes: what is no text comes back as it was.
                yield (verb, name, *(part.encode("latin-1") for pair in value for part in pair))
            else:
                yield (verb, name, *(part for member, score in value for part in (score, member)))

    def _send(self, calls: list[tuple[Any, ...]]) -> list[Any]:
        pack: Any = hiredis.pack_command
        self._socket.sendall(b"".join(pack(call) for call in calls))
        replies: list[Any] = []
        while len(replies) < len(calls):
            reply = self._reader.gets()
            if reply is False:
                self._reader.feed(self._socket.recv(65_536))
            else:
                replies.append(reply)
        return replies


_INDEX = {name: position for position, name in enumerate(_NAMES)}


def _sent(call: Call, shas: dict[str, str]) -> tuple[Any, ...]:
    if call[0] == "pop":
        # What a blocked BRPOPLPUSH does once there is something.
        return ("RPOPLPUSH", KEYS.ready, KEYS.processing(call[1]))
    wanted = command(call)
    return ("EVALSHA", shas[wanted.script.name], len(wanted.keys), *wanted.keys, *wanted.args)


def _pairs(flat: list[bytes]) -> list[tuple[str, str]]:
    texts = [item.decode("latin-1") for item in flat]
    return list(zip(texts[::2], texts[1::2], strict=True))


def _plain(name: str, value: Any) -> Any:
    verb = _WRITE[name]
    if verb == "SET":
        return "" if value is None else value.decode()
    if verb == "RPUSH":
        return tuple(item.decode() for item in value)
    if verb == "HSET":
        return tuple(sorted(_pairs(value)))
    return tuple(_pairs(value))
