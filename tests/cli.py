"""The command line as tests use it: inside this process, or as the program that people start."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from redjobs.access import Role
from redjobs.cli import cli
from redjobs.keys import Keys
from tests.roles import as_role
from tests.servers import Server

#: As it is installed: with `-m` Python would put the current directory on the path by itself.
PROGRAM = str(Path(sys.executable).with_name("redjobs"))


def role_of(words: Sequence[str]) -> Role | None:
    """Who runs a command of the program; None where no role is enough."""
    if "--deep" in words:  # its help says so
        return None
    return Role.WORKER if words[0] in ("worker", "sweep") else Role.ADMIN


def environment(
    server: Server | None = None, keys: Keys | None = None, role: Role | None = Role.ADMIN, **more: str
) -> dict[str, str]:
    """A clean environment, in which only tests say what redjobs does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REDJOBS_", "REDIS_"))}
    named = {} if server is None else {"REDJOBS_URL": as_role(server.url, role)}
    named |= {} if keys is None else {"REDJOBS_PREFIX": keys.prefix}
    return kept | named | more


@dataclass
class Cli:
    """`redjobs`, run against one server and with one prefix."""

    server: Server
    keys: Keys
    env: dict[str, str] = field(default_factory=dict)

    def __call__(self, *words: str, code: int | None = 0, answer: str | None = None) -> Result:
        """Run a command in this process; it must end with this exit code, unless that is None."""
        # None: not there at all, whatever the environment of the tests is.
        env: dict[str, str | None] = dict.fromkeys(name for name in os.environ if name.startswith("REDJOBS_"))
        env |= {
            "REDIS_URL": None,
            "REDJOBS_URL": as_role(self.server.url, role_of(words)),
            "REDJOBS_PREFIX": self.keys.prefix,
            **self.env,
        }
        result = CliRunner().invoke(cli, list(words), input=answer, env=env, prog_name="redjobs")
        told = f"redjobs {' '.join(words)}\n{result.output}"
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise AssertionError(told) from result.exception
        assert code in (None, result.exit_code), told
        return result

    def json(self, *words: str, code: int = 0) -> Any:
        """What a command prints with `--json`."""
        return json.loads(self(*words, "--json", code=code).stdout)

    def program(self, *words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the program itself, to its end."""
        return subprocess.run(
            [PROGRAM, *words],
            cwd=cwd,
            env=environment(self.server, self.keys, role_of(words), **env),
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )


def seen_on_terminal(ours: int) -> str:
    """What was written to the other end of a pseudo-terminal until nobody had that open; closes this one."""
    seen = b""
    with contextlib.suppress(OSError):  # so Linux tells that nobody is there any more
        while data := os.read(ours, 10_000):
            seen += data
    os.close(ours)
    return seen.decode()
