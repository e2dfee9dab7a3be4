"""`batchexport completion`: let a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from batchexport.cli.options import Command

EPILOG = """\b
Examples:
  batchexport completion bash > ~/.local/share/bash-completion/completions/batchexport
  batchexport completion zsh > "${fpath[1]}/_batchexport"
  batchexport completion fish > ~/.config/fish/completions/batchexport.fish
"""
SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command(cls=Command, epilog=EPILOG)
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a shell's completion script."""
    program = context.find_root().command
    click.echo(SHELLS[shell](program, {}, "batchexport", "_BATCHEXPORT_COMPLETE").source())
