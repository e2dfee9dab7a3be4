"""`batchexport completion`: let a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

EPILOG = """\b
Examples:
  batchexport completion bash > ~/.local/share/bash-completion/completions/batchexport
  batchexport completion zsh > "${fpath[1]}/_batchexport"
  batchexport completion fish > ~/.config/fish/completions/batchexport.fish
"""


@click.command(epilog=EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    if (script := get_completion_class(shell)) is None:
        raise click.UsageError(f"no completion for {shell}")
    program = context.find_root().command
    click.echo(script(program, {}, "batchexport", "_BATCHEXPORT_COMPLETE").source())
