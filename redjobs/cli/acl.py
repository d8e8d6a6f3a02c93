"""`redjobs acl`"""

from __future__ import annotations

from pathlib import Path

import click

from redjobs import access
from redjobs.access import Role
from redjobs.cli.common import as_json, first_line, with_prefix
from redjobs.cli.params import words
from redjobs.cli.text import say, say_json
from redjobs.ids import check_name


@click.command("acl")
@click.argument("role", type=click.Choice([role.value for role in Role]))
@click.option("--user", metavar="NAME", help="The user's name; redjobs-ROLE without.")
@click.option("--queue", "queues", multiple=True, metavar="NAMES", help="Only these queues; may be repeated.")
@click.option(
    "--password-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The password is the first line of this file. Only its hash is printed.",
)
@with_prefix
@as_json
def command(
    role: str,
    user: str | None,
    queues: tuple[str, ...],
    password_file: Path | None,
    prefix: str,
    json: bool,
) -> None:
    """Print the rights that a user of the server needs, and no more.

    A producer enqueues, looks up, cancels and reschedules. A worker does that too, and whatever
    `redjobs worker` and `redjobs sweep` do. An admin uses all other commands of this program, but
    not `sweep --deep`.
    Nothing is connected: the line is for redis-cli or valkey-cli, as whoever may change users.

    \b
      redjobs acl worker --password-file /etc/redjobs/worker  | redis-cli
      redjobs acl producer --user web --queue mail --queue default --password-file web.txt
      redjobs acl admin --json

    Without --password-file the line has a gap that the server refuses: put in its place a > and
    the password, or # and its SHA-256.
    """
    name = check_name("user", user) if user is not None else f"redjobs-{role}"
    password = None if password_file is None else first_line("--password-file", password_file)
    rules = access.rules(Role(role), password, prefix=prefix, queues=words(queues))
    if json:
        say_json({"user": name, "role": role, "rules": rules})
        return
    say(f"ACL SETUSER {name} {' '.join(rules)}")
