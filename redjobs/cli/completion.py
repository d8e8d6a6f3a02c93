"""`redjobs completion`"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from redjobs.cli.failures import Unusable


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete redjobs.

    \b
      bash   eval "$(redjobs completion bash)"    in ~/.bashrc
      zsh    eval "$(redjobs completion zsh)"     in ~/.zshrc
      fish   redjobs completion fish > ~/.config/fish/completions/redjobs.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise Unusable(f"this version of click knows no {shell}")
    root = ctx.find_root().command
    click.echo(kind(root, {}, "redjobs", "_REDJOBS_COMPLETE").source())
