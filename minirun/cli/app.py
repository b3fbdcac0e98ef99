"""The commands and where they are; a command's module is imported when it is named.

Next: ``running.py``; then any of the modules in ``COMMANDS``.
"""

from __future__ import annotations

import os
from importlib import import_module

import click

from .. import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: name: (module of this package, what it does). Below each other as the help page shows them.
COMMANDS = {
    "run": ("run", "make a container of IMAGE and run a command in it"),
    "create": ("run", "make a container without starting it"),
    "start": ("life", "start containers that exist"),
    "stop": ("life", "ask containers to end, kill them when they do not"),
    "restart": ("life", "stop containers and start them again"),
    "kill": ("life", "send a signal"),
    "rm": ("life", "remove containers"),
    "pause": ("life", "freeze every process of a container"),
    "unpause": ("life", "let a frozen container go on"),
    "wait": ("life", "wait for the end and print the exit code"),
    "rename": ("life", "give a container another name"),
    "attach": ("attach", "see and type what a running container does"),
    "exec": ("exec", "run a command in a running container"),
    "update": ("update", "change limits and the restart policy"),
    "ps": ("ps", "list containers"),
    "logs": ("logs", "show what a container printed"),
    "events": ("logs", "show what happened, as it happens"),
    "inspect": ("inspect", "show all that is known about containers and images"),
    "stats": ("stats", "show what containers use"),
    "top": ("stats", "show the processes of a container"),
    "port": ("ps", "show the published ports"),
    "cp": ("cp", "copy files in or out"),
    "diff": ("cp", "show what a container changed"),
    "commit": ("interchange", "make an image of a container"),
    "export": ("interchange", "write all files of a container to an archive"),
    "import": ("interchange", "make an image of an archive of a root file system"),
    "build": ("build", "make an image of a Dockerfile"),
    "builder": ("builder", "show and remove what builds keep"),
    "pack": ("pack", "make an image of a Python program and its model, without a Dockerfile"),
    "pull": ("registry", "fetch an image from a registry"),
    "push": ("registry", "store an image in a registry"),
    "login": ("registry", "log in to a registry"),
    "logout": ("registry", "forget the credentials of a registry"),
    "search": ("registry", "look for images in a registry"),
    "images": ("image", "list images"),
    "rmi": ("image", "remove images"),
    "tag": ("image", "give an image one more name"),
    "history": ("image", "show how an image came to be"),
    "save": ("image", "write images to an archive"),
    "load": ("image", "read images from an archive"),
    "image": ("image_group", "manage images"),
    "volume": ("volume", "manage volumes"),
    "system": ("system", "disk space, clearing up, facts about the host"),
    "info": ("system", "show facts about the host"),
    "version": ("system", "show the version"),
    "launcher": ("system", "serve starts from a warm process"),
    "explain": ("explain", "show what a start does, step by step; needs no root"),
    "completion": ("completion", "print a script that completes our commands in a shell"),
}


#: Words of docker's that are no commands here: what to do instead.
_ELSEWHERE = {
    "container": "leave the word out: minirun ps, minirun rm",
    "network": "there is one bridge: see --network in minirun run --help",
    "compose": "minisched apply -f compose.yaml",
    "stack": "minisched apply -f compose.yaml",
    "service": "minisched keeps replicas behind one address",
    "swarm": "one host only: see minisched",
    "node": "one host only: see minisched",
    "secret": "mount a file with -v, or see --secret in minirun build --help",
    "config": "mount a file with -v",
    "buildx": "minirun build and minirun builder",
    "trust": "minirun image sign, and a policy file",
    "checkpoint": "minirun-oci checkpoint and minirun-oci restore",
    "manifest": "an image is for one platform here; minirun image inspect shows its own",
    "context": "there is one host, this one",
    "plugin": "there are no plugins",
}


class LazyGroup(click.Group):
    """Knows its commands by name, and imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module and return its command; unknown names get a suggestion."""
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
            from ..errors import UsageError

            hint = f"did you mean {close[0]}?" if close else "minirun --help lists them"
            hint = _ELSEWHERE.get(args[0], hint)
            raise UsageError(f"no such command: {args[0]!r}", hint=hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["--help"]})
@click.option("--data", metavar="DIRECTORY", help="Images, containers, volumes (MINIRUN_DATA).")
@click.option("--root", metavar="DIRECTORY", help="State of what runs (MINIRUN_ROOT).")
@click.option("--debug", is_flag=True, help="Show where an error came from (MINIRUN_DEBUG=1).")
@click.version_option(__version__, prog_name="minirun", message="%(prog)s version %(version)s")
def app(data: str | None, root: str | None, *, debug: bool) -> None:
    """Run programs in containers, and see how that works.

    \b
    minirun run --rm -it ROOTFS sh          a shell in a root file system
    minirun run -d -p 8080:8080 images/iris build a model directory, serve it
    minirun explain images/iris             what that does, step by step
    """  # noqa: D301 - \b is click's
    for name, value in (("MINIRUN_DATA", data), ("MINIRUN_ROOT", root)):
        if value:
            os.environ[name] = os.path.abspath(value)
    if debug:
        os.environ["MINIRUN_DEBUG"] = "1"


def invoke(words: Sequence[str]) -> int:
    """Run the command that the words name; return its exit code."""
    try:
        result = app.main(list(words), prog_name="minirun", standalone_mode=False)
    except SystemExit:
        # Without standalone_mode click exits in one case only: nobody reads what we print.
        raise BrokenPipeError from None
    return result if isinstance(result, int) else 0
