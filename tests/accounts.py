"""Users of a server with the rules that `redjobs acl` prints, or with one right less."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from redjobs.access import Role
from tests.groups import Cluster
from tests.roles import PASSWORD, log_in, printed
from tests.servers import Server

#: What servers say of a missing right: for a command, and for one inside a script.
NO_RIGHT = "permissions to (run|access)|can't (run|access)"


@dataclass(frozen=True)
class Member:
    """A user of a server, or of each node of a cluster."""

    name: str
    #: With this user's name and password.
    url: str
    #: Clients that may change users.
    admins: tuple[Any, ...]

    def change(self, *rules: str) -> None:
        """Take a right away, or give it."""
        for admin in self.admins:
            admin.execute_command("ACL", "SETUSER", self.name, *rules)

    def lacks(self, command: str) -> None:
        """Take a command away. Redis 6.2 knows no `-command|subcommand`."""
        self.change(f"-{command.partition('|')[0]}")

    def may_again(self, command: str) -> None:
        """Give it back."""
        self.change(f"+{command}")


@dataclass(frozen=True)
class Account(Member):
    """A user of one server."""

    server: Server

    def client(self) -> redis.Redis:
        """A client that has logged in."""
        return self.server.client(username=self.name, password=PASSWORD)


@contextlib.contextmanager
def account(server: Server, home: Path, role: Role, *words: str) -> Iterator[Account]:
    """A user as the printed line makes one, until the end of the block."""
    line = printed(home, role, *words)
    name = line[2]
    admin: Any = server.client()
    admin.execute_command(*line)
    try:
        yield Account(name, log_in(f"unix://{server.socket}", name), (admin,), server)
    finally:
        admin.execute_command("ACL", "DELUSER", name)


def member(cluster: Cluster, home: Path, role: Role) -> Member:
    """A user of all nodes, as the printed line makes one."""
    line = printed(home, role)
    admins: tuple[Any, ...] = tuple(node.client() for node in cluster.nodes)
    for admin in admins:
        admin.execute_command(*line)
    return Member(line[2], log_in(cluster.url, line[2]), admins)
