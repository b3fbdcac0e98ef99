"""``cp`` and ``diff``: files in, files out, and what became different.

Next: ``build.py``.
"""

from __future__ import annotations

import os
import sys

import click

from ..engine.home import default_home
from ..errors import UsageError
from .common import container_argument, find
from .output import say


@click.command()
@click.option("-a", "--archive", is_flag=True, help="Keep owners (always so with a tar stream).")
@click.option("-L", "--follow-link", is_flag=True, help="Copy what a link of SOURCE leads to.")
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
def cp_command(source: str, target: str, *, archive: bool, follow_link: bool) -> int:
    """Copy files between the host and a container, running or not.

    One of SOURCE and TARGET is CONTAINER:PATH; the other a path, or - for a tar stream.

    \b
      minirun cp web:/var/log/app.log .
      minirun cp model.bin web:/models/
      tar c src | minirun cp - web:/app
    """  # noqa: D301
    from ..engine import copy

    out, inside = _split(source), _split(target)
    if bool(out) == bool(inside):
        hint = "minirun cp CONTAINER:PATH PATH, or the other way round"
        raise UsageError("one of source and target must be CONTAINER:PATH", hint=hint)
    home = default_home()
    name, path = out or inside or ("", "")
    with copy.root_of(home, find(home, name)) as root:
        if out and target == "-":
            _refuse_terminal(sys.stdout.isatty(), "a tar stream cannot go to a terminal")
            copy.pack(root, path, sys.stdout.buffer.write, follow=follow_link)
            sys.stdout.buffer.flush()
        elif out:
            copy.out_of(root, path, os.path.abspath(target), target.endswith("/"),
                        follow=follow_link, owners=archive)  # fmt: skip
        elif source == "-":
            _refuse_terminal(sys.stdin.isatty(), "a tar stream cannot come from a terminal")
            with open(0, "rb", buffering=0, closefd=False) as stream:
                copy.unpack(stream, root, path)
        else:
            copy.into(source, root, path, follow=follow_link, owners=archive)
    return 0


def _split(text: str) -> tuple[str, str] | None:
    """Return (container, path) of CONTAINER:PATH; a path with a colon starts with . or /."""
    name, colon, path = text.partition(":")
    if not colon or not name or text[0] in "./":
        return None
    return name, path or "/"


def _refuse_terminal(is_terminal: bool, message: str) -> None:
    if is_terminal:
        raise UsageError(message, hint="redirect it, or use a pipe")


@click.command()
@container_argument()
def diff_command(name: str) -> int:
    """Show what a container added (A), changed (C) and deleted (D) in its image."""
    from ..engine.writable import writable
    from ..image.changes import changes

    home = default_home()
    layer = writable(home, find(home, name))
    for change in changes(layer.upper, layer.lowers, layer.mount_points, layer.owners):
        say(f"{change.kind} {change.path}")
    return 0
