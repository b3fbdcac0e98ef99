"""``cp`` and ``diff``: files in, files out, and what became different.

Next: ``build.py``.
"""

from __future__ import annotations

import contextlib
import sys
from time import monotonic

import click

from ..container.sizes import human_size
from ..engine.home import default_home
from ..errors import UsageError
from .common import container_argument, find, format_option
from .output import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: How often the count is drawn.
_EVERY_S = 0.1


@click.command()
@click.option("-a", "--archive", is_flag=True, help="Keep owners (always so with a tar stream).")
@click.option("-L", "--follow-link", is_flag=True, help="Copy what a link of SOURCE leads to.")
@click.option("-q", "--quiet", is_flag=True, help="Show no count on a terminal.")
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
def cp_command(source: str, target: str, *, archive: bool, follow_link: bool, quiet: bool) -> int:
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
            with _counting("from", target, quiet=quiet) as seen:
                copy.out_of(root, path, target, follow=follow_link, owners=archive, seen=seen)
        elif source == "-":
            _refuse_terminal(sys.stdin.isatty(), "a tar stream cannot come from a terminal")
            with open(0, "rb", buffering=0, closefd=False) as stream:
                copy.unpack(stream, root, path)
        else:
            with _counting("to", target, quiet=quiet) as seen:
                copy.into(source, root, path, follow=follow_link, owners=archive, seen=seen)
    return 0


@contextlib.contextmanager
def _counting(way: str, target: str, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Yield what counts bytes; on a terminal the count is shown, and the sum stays.

    docker's words. They go to stderr, and only if stdout is a terminal as well: not to a pipe.
    """
    total, drawn = 0, 0.0
    shown = sys.stdout.isatty() and not quiet

    def draw(text: str) -> None:
        if shown:
            sys.stderr.write(f"\r{text}\x1b[K")
            sys.stderr.flush()

    def seen(count: int) -> None:
        nonlocal total, drawn
        total += count
        if shown and monotonic() >= drawn + _EVERY_S:
            drawn = monotonic()
            draw(f"Copying {way} container - {human_size(total)}")

    try:
        yield seen
    except BaseException:
        draw("")
        raise
    draw(f"Successfully copied {human_size(total)} to {target}\n")


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
@format_option
@container_argument()
def diff_command(name: str, chosen: str) -> int:
    """Show what a container added (A), changed (C) and deleted (D) in its image."""
    from ..engine.writable import writable
    from ..image.changes import changes

    home = default_home()
    layer = writable(home, find(home, name))
    found = changes(layer.upper, layer.lowers, layer.mount_points, layer.owners)
    rows = [{"Kind": change.kind, "Path": change.path} for change in found]
    show(rows, (("CHANGE", "Kind"), ("PATH", "Path")), chosen or "{{.Kind}} {{.Path}}")
    return 0
