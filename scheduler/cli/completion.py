"""``completion``: a script that completes our commands, options and deployments in a shell.

    eval "$(minisched completion bash)"

Next: nothing; this is the last command.
"""

from __future__ import annotations

import click

from .output import say


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> int:
    """Print a script that completes minisched's commands.

    \b
      eval "$(minisched completion bash)"                           in ~/.bashrc
      minisched completion zsh > "${fpath[1]}/_minisched"
      minisched completion fish > ~/.config/fish/completions/minisched.fish
    """  # noqa: D301
    from click.shell_completion import get_completion_class

    from .app import app

    cls = get_completion_class(shell)
    assert cls is not None
    say(cls(app, {}, "minisched", "_MINISCHED_COMPLETE").source())
    return 0
