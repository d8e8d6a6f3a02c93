"""The command line and its page: every command has help, an example, and its place in docs/cli.md."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from redjobs.cli import cli
from redjobs.cli.lazy import LazyGroup
from tests.cli_reference import PAGE, commands, written

CONTEXTS = list(commands())


def _path(context: click.Context) -> str:
    return context.command_path


@pytest.mark.parametrize("context", CONTEXTS, ids=_path)
def test_every_command_has_help_and_an_example(context: click.Context) -> None:
    text = context.command.help or ""
    assert re.fullmatch(r"[A-Z][^\n]{10,}\.?", text.partition("\n\n")[0].replace("\n", " "))
    assert re.search(rf"^ +.*{re.escape(context.command_path)}", text, re.MULTILINE), f"no example:\n{text}"


@pytest.mark.parametrize("context", CONTEXTS, ids=_path)
def test_every_option_has_help(context: click.Context) -> None:
    for parameter in context.command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


@pytest.mark.parametrize("context", CONTEXTS, ids=_path)
def test_the_examples_can_be_parsed(context: click.Context) -> None:
    for line in (context.command.help or "").splitlines():
        found = re.match(r"^ +(?:[A-Z_]+=\S+ )*redjobs (\w.*?)(?:  .*)?$", line)
        if found is None:
            continue
        words = shlex.split(found[1])
        command: click.Command = cli
        here = click.Context(cli, info_name="redjobs", **cli.context_settings)
        while isinstance(command, click.Group) and words:
            child = command.get_command(here, words.pop(0))
            assert child is not None, line
            here = click.Context(child, here, child.name, **child.context_settings)
            command = child
        command.make_context(command.name, words, parent=here.parent)


def test_what_the_root_says_of_a_command_is_what_the_command_says() -> None:
    root = CONTEXTS[0]
    assert isinstance(cli, LazyGroup)
    listed = root.get_help()
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        assert command is not None
        said = (command.help or "").partition("\n\n")[0].replace("\n", " ").strip()
        assert f"  {name:<11} {said}" in listed


def test_the_reference_is_up_to_date() -> None:
    assert PAGE.read_text() == written(), "run: python -m tests.cli_reference"
