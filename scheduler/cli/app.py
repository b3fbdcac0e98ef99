"""The commands and where they are; a command's module is imported when it is named.

Next: ``common.py``; then any of the modules in ``COMMANDS``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module

import click

from minirun import MinirunError, __version__

#: name: (module of this package, what it does). Below each other as the help page shows them.
COMMANDS = {
    "serve": ("serve", "start the scheduler: API, control loops, gateway"),
    "shutdown": ("shutdown", "end the scheduler, the gateway and every replica"),
    "apply": ("apply", "make deployments what a Compose file says"),
    "diff": ("apply", "show what apply would change"),
    "get": ("get", "list deployments, replicas, events, quotas, images and more"),
    "describe": ("describe", "show all that is known of a deployment"),
    "scale": ("scale", "say how many replicas there are"),
    "autoscale": ("scale", "let traffic say how many replicas there are"),
    "rollout": ("rollout", "follow, undo, pause or list the rollouts of a deployment"),
    "restart": ("life", "replace all replicas, gently"),
    "delete": ("life", "drain deployments and remove them"),
    "logs": ("logs", "show what replicas printed"),
    "exec": ("logs", "run a command in a replica"),
    "events": ("events", "show what was decided and why, as it happens"),
    "dashboard": ("dashboard", "show all of it to a browser on this machine"),
    "top": ("top", "show what deployments use and answer, live"),
    "job": ("job", "start jobs and see how they ended"),
    "cron": ("job", "see what runs by the clock"),
    "cordon": ("host", "place nothing new on this host"),
    "uncordon": ("host", "place replicas on this host again"),
    "drain": ("host", "cordon, and stop every replica without losing a request"),
    "quota": ("quota", "say what deployments may request together"),
    "secret": ("secret", "store, list and remove secrets"),
    "token": ("token", "make, list and revoke tokens of the API"),
    "context": ("context", "choose between several schedulers"),
    "completion": ("completion", "print a script that completes our commands in a shell"),
}


class LazyGroup(click.Group):
    """Knows its commands by name, and imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module and return its command."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f".{COMMANDS[cmd_name][0]}", __package__)
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Say what was probably meant."""
        if args and args[0] not in COMMANDS:
            from difflib import get_close_matches

            close = get_close_matches(args[0], COMMANDS, 1)
            hint = f"did you mean {close[0]}?" if close else "minisched --help lists them"
            raise MinirunError(f"no such command: {args[0]!r}", hint=hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["--help"]})
@click.option("--context", metavar="NAME", help="Which scheduler to ask (MINISCHED_CONTEXT).")
@click.option("--address", metavar="URL", help="Ask this one, no context (MINISCHED_ADDRESS).")
@click.option("--debug", is_flag=True, help="Show where an error came from (MINIRUN_DEBUG=1).")
@click.version_option(__version__, prog_name="minisched", message="%(prog)s version %(version)s")
def app(context: str | None, address: str | None, *, debug: bool) -> None:
    """Run replicas of models behind one address, on one host.

    \b
    minisched serve                    start the scheduler
    minisched apply -f compose.yaml    say what should run
    minisched get deployments          see what does
    """  # noqa: D301 - \b is click's
    for name, value in (("MINISCHED_CONTEXT", context), ("MINISCHED_ADDRESS", address)):
        if value:
            os.environ[name] = value
    if debug:
        os.environ["MINIRUN_DEBUG"] = "1"


def invoke(words: Sequence[str]) -> int:
    """Run the command that the words name; return its exit code."""
    try:
        result = app.main(list(words), prog_name="minisched", standalone_mode=False)
    except SystemExit:
        # Without standalone_mode click exits in two cases only: it has completed a word for the
        # shell, or nobody reads what we print.
        if "_MINISCHED_COMPLETE" in os.environ:
            return 0
        raise BrokenPipeError from None
    return result if isinstance(result, int) else 0
