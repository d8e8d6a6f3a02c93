"""Who may do what on the server: the rules of an ACL for each role, no more than it needs.

The commands inside of scripts are taken from the scripts themselves, so they cannot be forgotten
when a script changes. Redis checks them, and the keys that they touch, as if the user had sent
them one by one: whoever may call EVAL can do no more with it than with these commands.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from enum import StrEnum

from redjobs.commands import SCRIPTS
from redjobs.errors import SettingsError
from redjobs.keys import DEFAULT_PREFIX, key_patterns

PASSWORD_MISSING = "SHA256-OF-THE-PASSWORD"


class Role(StrEnum):
    """What a user of the server is there for."""

    PRODUCER = "producer"
    WORKER = "worker"
    ADMIN = "admin"


_ASK = ("cancel", "enqueue", "holder", "peek", "reschedule")
_SWEEP = ("delete", "recover", "stranded", "sweep", "take")
_RUN = ("begin", "bury", "cancels", "complete", "discard", "heartbeat", "release", "retire", "retry")

#: What each calls; scripts have the names of the Lua files.
SCRIPTS_OF = {
    Role.PRODUCER: _ASK,
    Role.WORKER: (*_ASK, *_SWEEP, *_RUN),  # its handlers may enqueue
    Role.ADMIN: (*_ASK, *_SWEEP, "requeue"),
}

# EVAL, as a server that was restarted has forgotten all scripts. SCRIPT LOAD would be no less: the
# same user could run the same texts, with one call more.
_EVERYONE = ("eval", "evalsha", "sadd")
#: A worker does without these: nothing warns of a server that loses jobs, and it stops up to 1.5 s later.
WISHES = ("client|id", "client|unblock", "info")
#: Needed in a cluster only, to find a queue's node, and for `wait_replicas` only. They change nothing.
ELSEWHERE = {
    Role.PRODUCER: ("cluster|slots", "wait"),
    Role.WORKER: ("cluster|slots", "wait"),
    Role.ADMIN: ("cluster|slots",),
}
_READ = ("hget", "hgetall", "hmget", "llen", "lpos", "lrange", "smembers", "time")
_READ_SORTED = ("zcard", "zcount", "zrange", "zrevrange")

_SENT_BY = {
    Role.PRODUCER: _EVERYONE,
    Role.WORKER: (*_EVERYONE, *WISHES, "brpoplpush", "ping", "smembers"),
    Role.ADMIN: (*_EVERYONE, *_READ, *_READ_SORTED),
}


def commands_for(role: Role) -> list[str]:
    """The commands of Redis that a role needs, sorted; `a|b` is subcommand b of a."""
    in_scripts = {
        name.lower()
        for script in SCRIPTS_OF[role]
        for name in re.findall(r"redis\.call\('([A-Z]+)'", SCRIPTS[script].text)
    }
    return sorted(in_scripts | set(_SENT_BY[role]) | set(ELSEWHERE[role]))


def rules(
    role: Role, password: str | None = None, *, prefix: str = DEFAULT_PREFIX, queues: Iterable[str] = ()
) -> list[str]:
    """What follows `ACL SETUSER name`, for Redis 6.2 and later and for Valkey.

    Only the keys of this prefix and, where they are named, of these queues. Of the password only the
    hash is told; without one there is `PASSWORD_MISSING`, which a server refuses. Raises
    SettingsError for what cannot be a name, and for an empty password.
    """
    if password == "":
        raise SettingsError("the password is empty: whoever knows the user's name would be let in")
    digest = hashlib.sha256(password.encode()).hexdigest() if password is not None else PASSWORD_MISSING
    keys = [f"~{pattern}" for pattern in key_patterns(prefix, queues)]
    return ["reset", "on", f"#{digest}", *keys, *(f"+{name}" for name in commands_for(role))]
