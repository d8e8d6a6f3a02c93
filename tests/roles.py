"""The suite as the users that `redjobs acl` prints: `REDJOBS_TEST_ROLES=1 scripts/test`.

A server then knows a user for each role from its first moment, and its `url` is the producer's. Who is
something else says so: `as_role(url, Role.WORKER)`. A url with any other user, or none, stays as it is:
that of a cluster, of Sentinels, of fakeredis, or of a test that makes users of its own. What tests do
to a server by themselves (`Server.client()`: seeds, looks, invariants) they do as its default user.

A part of it runs so without being asked: the modules in tests/worker that say nothing about the server,
and, beside the default user, those with `pytestmark = pytest.mark.roles`.
"""

from __future__ import annotations

import functools
import re
import tempfile
from pathlib import Path
from typing import Any

import redis
from click.testing import CliRunner

from redjobs.access import SCRIPTS_OF, Role
from redjobs.cli import cli
from redjobs.lua import Script

#: Set where all servers of the tests shall know these users.
ROLES = "REDJOBS_TEST_ROLES"
PASSWORD = "correct horse battery staple"
_QUOTED = PASSWORD.replace(" ", "%20")

#: What comes before a role in the names of these users: others are made under the names of `redjobs acl`.
_SUITE = "suite-"
#: Keys of tests that have prefixes of their own. A line is for one prefix.
_OTHER_KEYS = ("~test-*", "~other:*")
#: What redis-py tells of itself on each connection: see docs/security.md. The second one is Redis 6.2's word.
_NEVER_GIVEN = ("client|setinfo", "client")


def printed(home: Path, role: Role, *words: str) -> list[str]:
    """The words of the line that `redjobs acl` prints."""
    file = home / "password"
    file.write_text(f"{PASSWORD}\n")
    told = ["acl", role.value, "--password-file", str(file), *words]
    result = CliRunner().invoke(cli, told, prog_name="redjobs", catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    return line.split(" ")


@functools.cache
def users() -> tuple[str, ...]:
    """What a server is started with, so that it knows them, and knows them again when it is back."""
    words: list[str] = []
    with tempfile.TemporaryDirectory() as home:
        for role in Role:
            _acl, _setuser, *line = printed(Path(home), role, "--user", user_of(role))
            words += ["--user", *line, *_OTHER_KEYS]
    return tuple(words)


def user_of(role: Role) -> str:
    """The user's name."""
    return f"{_SUITE}{role}"


def caller_of(script: Script) -> Role:
    """Who calls this script: of several roles the one that may do least."""
    return next(role for role in Role if script.name in SCRIPTS_OF[role])


def nothing_was_denied(client: redis.Redis) -> None:
    """None of them lacked a right; not even one that redjobs does without, and so tells nobody of."""
    log: Any = client.acl_log()
    client.acl_log_reset()
    denied = {(entry["username"], entry["object"], entry["context"]) for entry in log}
    denied = {each for each in denied if each[0].startswith(_SUITE) and each[1] not in _NEVER_GIVEN}
    assert not denied, f"what `redjobs acl` prints is not enough: {denied}"


def log_in(url: str, user: str) -> str:
    """A url without a user, with one."""
    return url.replace("://", f"://{user}:{_QUOTED}@")


def as_role(url: str, role: Role | None) -> str:
    """The url for another role, where it is that of one of these users; None: for the default user."""
    plain = re.sub(rf"(?<=://){_SUITE}\w+:{_QUOTED}@", "", url)
    return url if plain == url else plain if role is None else log_in(plain, user_of(role))
