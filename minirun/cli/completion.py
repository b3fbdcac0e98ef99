"""``completion``: a script that completes our commands, options and containers in a shell.

    eval "$(minirun completion bash)"

Next: nothing; this is the last command.
"""

from __future__ import annotations

import click

from .output import write


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> int:
    """Print a script that completes minirun's commands.

    \b
      eval "$(minirun completion bash)"                           in ~/.bashrc
      minirun completion zsh > "${fpath[1]}/_minirun"
      minirun completion fish > ~/.config/fish/completions/minirun.fish
    """  # noqa: D301
    from click.shell_completion import get_completion_class

    from .app import app

    cls = get_completion_class(shell)
    assert cls is not None
    write(cls(app, {}, "minirun", "_MINIRUN_COMPLETE").source() + "\n")
    return 0
