"""A group whose commands are imported when they are needed, and which knows near misses."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from redjobs.cli.failures import Unusable, of_ours
from redjobs.errors import RedjobsError, closest


class Entry(NamedTuple):
    """A command of a lazy group: its module has an attribute `command`."""

    name: str
    module: str
    #: What the group's help says about it: a test compares it with the command's own.
    help: str


class SuggestingGroup(click.Group):
    """A group that answers an unknown command with the near ones, and keeps its commands in order."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were added."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, and more helpful where there is no such command."""
        name = args[0]
        if name.startswith("-") or ctx.resilient_parsing or self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, args)
        known = self.list_commands(ctx)
        near = closest(name, known, most=2, likeness=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        raise click.UsageError(f"no command {name!r}; {hint}", ctx)


class LazyGroup(SuggestingGroup):
    """The root: imports a command's module for that command alone, and says errors in one line."""

    def __init__(self, *args: Any, entries: Iterable[Entry] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self._entries = {entry.name: entry for entry in entries}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the entries: what is needed most often comes first."""
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command, if there is one of that name."""
        entry = self._entries.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = importlib.import_module(entry.module).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing one of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(entry.name, entry.help) for entry in self._entries.values()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; our own errors are one line and an exit code, not a traceback."""
        try:
            return super().invoke(ctx)
        except RedjobsError as error:
            raise of_ours(error) from error
        except click.BadParameter as error:
            error.param_hint = _variable_of(error) or error.param_hint
            raise
        except RecursionError:
            raise Unusable("the arguments are nested too deeply") from None


def _variable_of(error: click.BadParameter) -> str | None:
    """The variable, where the value that is bad comes from the environment: no option was given."""
    ctx, param = error.ctx, error.param
    if ctx is None or param is None or param.name is None:
        return None
    if ctx.get_parameter_source(param.name) is not ParameterSource.ENVIRONMENT:
        return None
    name = param.envvar or f"{ctx.auto_envvar_prefix}_{param.name.upper()}"
    return f"${name}" if isinstance(name, str) else None
