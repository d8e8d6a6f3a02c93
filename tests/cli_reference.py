"""The reference in docs/cli.md: the help of every command. `python -m tests.cli_reference` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from redjobs.cli import cli

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
MARK = "<!-- Below: the help of every command, written by `python -m tests.cli_reference`. -->\n"

_WIDTH = 96


def commands(command: click.Command = cli, context: click.Context | None = None) -> Iterator[click.Context]:
    """A context for every command and group, the root first."""
    settings = command.context_settings
    own = click.Context(command, context, command.name, terminal_width=_WIDTH, **settings)
    yield own
    if isinstance(command, click.Group):
        for child in command.list_commands(own):
            found = command.get_command(own, child)
            assert found is not None and found.name == child
            yield from commands(found, own)


def reference() -> str:
    """The reference as Markdown."""
    parts = []
    for context in commands():
        help_text = "\n".join(line.rstrip() for line in context.get_help().splitlines())
        parts.append(f"\n### {context.command_path}\n\n```text\n{help_text}\n```\n")
    return "".join(parts)


def written() -> str:
    """The page as it should be."""
    page = PAGE.read_text()
    return page[: page.index(MARK)] + MARK + reference()


if __name__ == "__main__":
    PAGE.write_text(written())
