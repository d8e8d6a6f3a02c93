"""`redjobs server`"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from redjobs import embedded
from redjobs.cli.common import as_json
from redjobs.cli.failures import NotSo
from redjobs.cli.text import say, say_json, some
from redjobs.clock import format_duration
from redjobs.embedded import Status
from redjobs.settings import DEFAULT_DIRECTORY


@click.command("server")
@click.argument(
    "directory", default=DEFAULT_DIRECTORY, type=click.Path(file_okay=False, path_type=Path), metavar="[DIR]"
)
@click.option("--status", "action", flag_value="status", help="Say whether it runs, and start nothing.")
@click.option("--stop", "action", flag_value="stop", help="Stop it now; its data stays.")
@as_json
def command(directory: Path, action: str | None, json: bool) -> None:
    """Run the embedded server in the foreground.

    A real Valkey with its data in DIR (.redjobs without), for development and small machines. It
    is the one of embedded://DIR, which programs also start by themselves when they need it; this
    keeps it running, until SIGTERM or Ctrl-C.

    \b
      redjobs server
      redjobs server /var/lib/redjobs
      redjobs server --status --json
      redjobs server --stop

    Exit code of --status and --stop: 1 where no server runs.
    """
    if json and action != "status":
        raise click.UsageError("--json belongs to --status")
    if action == "status":
        found = embedded.status(directory)
        if json:
            say_json({name: str(v) if isinstance(v, Path) else v for name, v in asdict(found).items()})
        else:
            say(_line(found))
        click.get_current_context().exit(0 if found.running else 1)
    elif action == "stop":
        if not embedded.stop(directory):
            raise NotSo(f"no server runs in {directory.expanduser().absolute()}")
        say(f"stopped; the data stays in {directory.expanduser().absolute()}")
    else:
        embedded.serve(directory, on_ready=_greet)


def _greet(found: Status) -> None:
    say(_line(found))
    say(f"others use it with  export REDJOBS_URL=embedded://{found.directory}")
    say("Ctrl-C ends this; the data stays")


def _line(found: Status) -> str:
    if not found.running:
        return f"no server runs in {found.directory}"
    megabytes = found.memory_bytes / 2**20
    return (
        f"Valkey {found.version} in {found.directory}: process {found.pid}, up"
        f" {format_duration(found.uptime_s)}, {some(found.clients, 'client')}, {megabytes:.1f} MB"
    )
