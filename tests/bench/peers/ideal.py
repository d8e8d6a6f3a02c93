"""The limit of redjobs' design: its own scripts on a raw socket, in the leanest loop that can be written.

No client library, no options, retries, hooks, limits or reports; nothing but the scripts, msgpack
and the handler. Before a batch runs, the next one is asked for, so the server works meanwhile; and
while it stores some jobs, the next call is made.

    python -m tests.bench.peers.ideal URL
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import hiredis
import msgpack

from redjobs.commands import BATCH, SCRIPTS
from redjobs.ids import new_id, new_token, new_worker
from redjobs.keys import BELL, Keys
from tests.bench.peers.adapter import JOBS, TEXT, Adapter, Command, address, module

_KEYS = Keys("bench")
_BATCH = 500
_HANDLERS = {name.encode(): fn for name, fn in JOBS.items()}


class Wire:
    """A socket to the server, and the parser in C."""

    def __init__(self, url: str) -> None:
        self._sock = socket.create_connection(address(url))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()
        for script in SCRIPTS.values():
            self.call("SCRIPT", "LOAD", script.text)

    def send(self, *commands: tuple[Any, ...]) -> None:
        """Send these commands together."""
        self._sock.sendall(b"".join([hiredis.pack_command(command) for command in commands]))

    def read(self) -> Any:
        """The next reply. Raises what the server answered as an error."""
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._sock.recv(1 << 20))
        if isinstance(reply, Exception):
            raise reply
        return reply

    def call(self, *command: Any) -> Any:
        """One command and its reply."""
        self.send(command)
        return self.read()

    def close(self) -> None:
        self._sock.close()


def enqueue_command(job: str, planned: Iterable[tuple[int, str]]) -> tuple[Any, ...]:
    """The call of `enqueue.lua` for job numbers and their `run_at`."""
    keys: list[str] = [_KEYS.scheduled, _KEYS.ready, _KEYS.levels, _KEYS.stats]
    args: list[Any] = [BELL, ""]
    for number, run_at in planned:
        job_id = new_id()
        keys.append(_KEYS.job(job_id))
        args += (job_id, run_at, 0, "", job, msgpack.packb(((number, TEXT), {})), b"")
    return ("EVALSHA", SCRIPTS["enqueue"].sha, len(keys), *keys, *args)


class Producer(Adapter):
    """One call of the script per job; of many, as many jobs in each call as redjobs has, all sent ahead."""

    async def open(self) -> None:
        self._wire = Wire(self.url)

    async def close(self) -> None:
        self._wire.close()

    def enqueue(self, job: str, number: int) -> None:
        self._wire.call(*enqueue_command(job, [(number, "")]))

    def enqueue_many(self, job: str, numbers: Sequence[int]) -> None:
        self._all(job, [(number, "") for number in numbers])

    def schedule_many(self, job: str, planned: Iterable[tuple[int, float]]) -> None:
        self._all(job, [(number, str(int(at * 1000))) for number, at in planned])

    def _all(self, job: str, planned: Sequence[tuple[int, str]]) -> None:
        """All calls, then all replies: these are short, and the server goes on while nobody reads them."""
        parts = [planned[n : n + BATCH] for n in range(0, len(planned), BATCH)]
        for part in parts:
            self._wire.send(enqueue_command(job, part))
        for _ in parts:
            self._wire.read()

    def worker(self, kind: str, processes: int) -> list[Command]:
        return [module("tests.bench.peers.ideal", self.url)] * processes


#: An id and the fields of its hash.
Claim = tuple[bytes, list[bytes]]


def work(url: str) -> None:
    """Take, begin, run and complete, until the process is killed."""
    wire, worker = Wire(url), new_worker()
    processing = _KEYS.processing(worker)
    wire.call("EVALSHA", SCRIPTS["heartbeat"].sha, 1, _KEYS.workers, 600_000, 1, worker)
    names = (processing, _KEYS.workers, _KEYS.scheduled, _KEYS.ready, _KEYS.levels)
    take = ("EVALSHA", SCRIPTS["take"].sha, 5, *names, worker, _BATCH, 500, BELL, "", "")
    ids: list[bytes] = wire.call(*take)[4]
    claims: list[Claim] = []
    done: list[bytes] = []
    token = done_token = ""
    while True:
        # Under way at once: what is done, what was taken, and what comes after that.
        begun_token = new_token()
        complete = [_complete(processing, done_token, done)] if done else []
        begin = [_begin(processing, worker, begun_token, ids)] if ids else []
        wire.send(*complete, *begin, take)
        _run(claims)
        done, done_token, token = [job_id for job_id, _ in claims], token, begun_token
        for _ in complete:
            wire.read()
        claims = list(zip(ids, wire.read()[2], strict=True)) if begin else []
        ids = wire.read()[4]
        if not (done or claims or ids):
            time.sleep(0.001)


def _run(claims: list[Claim]) -> None:
    for _, fields in claims:
        entry = dict(zip(fields[::2], fields[1::2], strict=True))
        args, kwargs = msgpack.unpackb(entry[b"args"])
        _HANDLERS[entry[b"name"]](*args, **kwargs)


def _complete(processing: str, token: str, ids: list[bytes]) -> tuple[Any, ...]:
    keys = [processing, _KEYS.completed, _KEYS.stats, *[_KEYS.job(each.decode()) for each in ids]]
    return ("EVALSHA", SCRIPTS["complete"].sha, len(keys), *keys, token, len(ids), *ids)


def _begin(processing: str, worker: str, token: str, ids: list[bytes]) -> tuple[Any, ...]:
    keys = [processing, _KEYS.workers, *[_KEYS.job(each.decode()) for each in ids]]
    return ("EVALSHA", SCRIPTS["begin"].sha, len(keys), *keys, worker, token, 1, *ids)


if __name__ == "__main__":
    work(sys.argv[1])
