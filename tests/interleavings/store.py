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
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import hiredis

from redjobs.commands import SCRIPTS, Command
from redjobs.keys import Keys
from tests.servers import Server

KEYS = Keys("queue", "model")
#: Two jobs: an ordinary one, and one of another priority.
A, B = "VAAAAAAAAAAAAAAAAAAA", "VBBBBBBBBBBBBBBBBBBB.5"
UNIQUE = "invoice"
#: Two processes, and the names they take when they begin anew.
NAMES = (("w1", "w1x", "w1xx"), ("w2", "w2x", "w2xx"))
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
_HASHES = [KEYS.job(A), KEYS.job(B)]
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
        self._steps: dict[tuple[Any, ...], Step] = {}

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

    def run(self, number: int, command: Command[Any]) -> Step:
        """Run one of redjobs' commands in this state."""
        script = command.script.name
        key = (number, script, command.keys, command.args)
        step = self._steps.get(key)
        if step is None:
            head = ("EVALSHA", self._shas[script], len(command.keys))
            step = self._call(number, (*head, *command.keys, *command.args))
            step = self._steps[key] = step._replace(reply=command.parse(step.reply))
        return step

    def pop(self, number: int, worker: str) -> Step:
        """What a blocked BRPOPLPUSH does once there is something."""
        key = (number, "pop", worker)
        step = self._steps.get(key)
        if step is None:
            step = self._call(number, ("RPOPLPUSH", KEYS.ready, KEYS.processing(worker)))
            moved = None if step.reply is None else step.reply.decode()
            step = self._steps[key] = step._replace(reply=moved)
        return step

    def _call(self, number: int, call: tuple[Any, ...]) -> Step:
        writes = list(self._writes(number))
        replies = self._send([("FLUSHALL",), *writes, call, *_READ])
        reply, *read = replies[len(writes) + 1 :]
        for each in (reply, *replies[: len(writes) + 1]):
            if isinstance(each, hiredis.ReplyError):
                raise AssertionError(f"{call[:1]}: {each}")
        *values, stats = read
        counted = dict(_pairs(stats))
        after = self._number({name: _plain(name, value) for name, value in zip(_NAMES, values, strict=True)})
        return Step(after, reply, {name: int(count) for name, count in counted.items()})

    def _writes(self, number: int) -> Iterator[tuple[str, ...]]:
        for name, value in zip(_NAMES, self._states[number], strict=True):
            if not value:
                continue
            verb = _WRITE[name]
            if verb == "RPUSH":
                yield (verb, name, *value)
            elif verb == "SET":
                yield (verb, name, value)
            elif verb == "HSET":
                yield (verb, name, *(part for pair in value for part in pair))
            else:
                yield (verb, name, *(part for member, score in value for part in (score, member)))

    def _send(self, calls: list[tuple[Any, ...]]) -> list[Any]:
        pack: Any = hiredis.pack_command  # type: ignore[attr-defined]
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
