"""Ids and tokens, made by the client.

An id is 20 characters: 48 bits of milliseconds and 72 random bits, in a base 64 whose
alphabet is in ASCII order, so that ids sort by time. A job whose priority is not 0 has it
behind a dot (`<id>.<priority>`): whoever holds an id knows its list without reading the job.
"""

from __future__ import annotations

import os
import re
import socket
import time
from base64 import b64encode
from collections.abc import Iterable
from zlib import crc32

from redjobs.errors import SettingsError

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_SORTED = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
_TO_SORTED = bytes.maketrans(_BASE64, _SORTED)

#: Set in every timestamp, so that an id begins with a letter and never with a dash.
_TOP_BIT = 1 << 47

_ID = re.compile(r"[V-Z_a-z][-0-9A-Z_a-z]{19}(?:\.-?[1-9][0-9]{0,15})?")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
#: Of a queue, or of one of its shards: `mail/3`.
_QUEUE = re.compile(r"[A-Za-z0-9_.-]{1,64}(?:/(?:0|[1-9][0-9]{0,2}))?")

#: With a process and what is random, a worker's name has 64 characters at most.
_LONGEST_HOST = 46


def new_id(priority: int = 0) -> str:
    """A new job id, later than all that this machine made in earlier milliseconds."""
    stamp = (int(time.time() * 1000) | _TOP_BIT).to_bytes(6, "big")
    job_id = b64encode(stamp + os.urandom(9)).translate(_TO_SORTED).decode("ascii")
    return f"{job_id}.{priority}" if priority else job_id


def new_token() -> str:
    """A fresh fencing token: random, never repeated, whatever a failover rolls back."""
    return b64encode(os.urandom(9)).translate(_TO_SORTED).decode("ascii")


def priority_of(job_id: str) -> int:
    """The priority that an id carries; 0 for what is no id."""
    _, dot, priority = job_id.partition(".")
    return int(priority) if dot and _ID.fullmatch(job_id) else 0


def is_id(text: str) -> bool:
    """Whether this has the form of a job id; a unique key may have it too, by chance."""
    return _ID.fullmatch(text) is not None


def new_worker(name: str | None = None) -> str:
    """A worker incarnation: a name (by default the host's) and the process, and random for uniqueness."""
    return f"{worker_host(name)}.{os.getpid()}.{new_token()[:8]}"


def worker_host(name: str | None = None) -> str:
    """What the names of this host's workers, or of workers of this name, begin with."""
    said = name or socket.gethostname()
    host = re.sub(r"[^A-Za-z0-9_-]", "-", said)
    if len(host) > _LONGEST_HOST:  # pods of one deployment differ at their ends only
        host = f"{host[: _LONGEST_HOST - 9]}-{crc32(said.encode(errors='replace')):08x}"
    return host.strip("-") or "host"


def check_name(kind: str, name: str) -> str:
    """`name` if it can stand in a Redis key; raises SettingsError otherwise.

    Braces and colons would move keys to another slot or let two names meet in one key.
    """
    form = _QUEUE if kind == "queue" else _NAME
    if not isinstance(name, str) or not form.fullmatch(name):
        raise SettingsError(f"{name!r} cannot name a {kind}: use 1 to 64 letters, digits, '_', '.' or '-'")
    return name


def whole_of(queue: str) -> str:
    """The name of the queue that this is a shard of; any other name is its own."""
    return queue.partition("/")[0]


def shards_of(queue: str, names: Iterable[str]) -> list[str]:
    """Those of the names that are shards of this queue, in their order."""
    shards = [name for name in names if name.startswith(f"{queue}/")]
    return sorted(shards, key=lambda name: int(name.rpartition("/")[2]))
