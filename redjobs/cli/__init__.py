"""The command line: `redjobs`. Each command is parse, one call, print.

`redjobs --help` imports nothing but click: the commands are modules of their own, imported when
they are needed. Nothing here knows key names or scripts: it reads through the inspector, and
changes through a queue.
"""

from __future__ import annotations

import os
import sys

import click

from redjobs.cli.lazy import Entry, LazyGroup
from redjobs.version import __version__

_COMMANDS = (
    Entry("worker", "redjobs.cli.worker", "Run jobs, until told to stop."),
    Entry("status", "redjobs.cli.status", "Show queues and workers: how much, how late, who."),
    Entry("jobs", "redjobs.cli.jobs", "List, show and change jobs."),
    Entry("enqueue", "redjobs.cli.enqueue", "Enqueue one job: now, or later."),
    Entry("check", "redjobs.cli.check", "Fail when jobs are late or dead: for monitoring."),
    Entry("sweep", "redjobs.cli.sweep", "Do the maintenance once that workers do by themselves."),
    Entry("clear", "redjobs.cli.clear", "Remove the jobs of a queue."),
    Entry(
        "acl",
        "redjobs.cli.acl",
        "Print the rights that a user of the server needs, and no more.",
    ),
    Entry("server", "redjobs.cli.server", "Run the embedded server in the foreground."),
    Entry("demo", "redjobs.cli.demo", "Run the demo: a signup form that mails now and in three days."),
    Entry("completion", "redjobs.cli.completion", "Print what makes a shell complete redjobs."),
)

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group("redjobs", cls=LazyGroup, entries=_COMMANDS, context_settings=SETTINGS)
@click.version_option(__version__, message="redjobs %(version)s")
def cli() -> None:
    """The delayed job queue for Python on Redis: now or in three days, and never lost.

    \b
      redjobs worker --app shop.jobs              run the jobs of queue `default`
      redjobs enqueue shop.jobs:remind 7 --in 3d  enqueue one
      redjobs status --watch                      look at it

    The server is $REDJOBS_URL, or --url of each command: redis://, rediss://,
    redis+sentinel://, redis+cluster://, unix:// or embedded://DIR.

    \b
    Exit codes:
      0  fine
      1  what was asked for was not so: no such job, a limit of `check` is exceeded, jobs failed
      2  a mistake in the command line, a setting or the app
      3  the server does not answer, or refuses
    """


def main() -> None:
    """What the `redjobs` program runs."""
    _open_standard_streams()
    cli(prog_name="redjobs")


def _open_standard_streams() -> None:
    """Where whoever starts us has closed one, a connection would take its number, and be written into."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(opened, True)  # a worker's processes need them as well
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
