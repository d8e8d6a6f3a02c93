"""How a command fails: one line on stderr with the remedy, and an exit code that a script can use."""

from __future__ import annotations

from typing import IO, Any

import click

from redjobs.cli.text import printable_lines
from redjobs.errors import EnqueueUnknown, JobNotFound, RedjobsError, ServerUnavailable, reason_of


class NotSo(click.ClickException):
    """What was asked for was not so, or problems were found."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        """`redjobs: ...`, control characters escaped: a message may quote what others wrote."""
        click.echo(f"redjobs: {printable_lines(self.format_message())}", file=file, err=file is None)


class Unusable(NotSo):
    """A mistake in the command line, a setting or the app."""

    exit_code = 2


class Unavailable(NotSo):
    """The server does not answer, or refuses."""

    exit_code = 3


def of_ours(error: RedjobsError) -> NotSo:
    """The failure that stands for an error of redjobs."""
    if isinstance(error, JobNotFound):
        return NotSo(str(error))
    if isinstance(error, ServerUnavailable | EnqueueUnknown):
        return Unavailable(str(error))
    return Unusable(str(error))


def refused(error: Exception) -> Unavailable:
    """The failure that stands for an error that the server itself answered."""
    return Unavailable(f"the server refuses: {reason_of(error)}")
