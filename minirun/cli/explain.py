"""``explain``: what ``run`` would do, step by step; needs neither root nor Linux.

Next: ``../explain.py``.
"""

from __future__ import annotations

import os
import sys

import click

from .. import explain
from ..engine.home import default_home
from ..errors import UsageError
from .fastline import parse
from .output import colour_wanted, document, write

_FORMATS = ("text", "markdown", "json")


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    options_metavar="[--format FORMAT] [OPTIONS OF run]",
)
@click.option("--format", "chosen", default="text", help="text, markdown or json.")
@click.argument("line", nargs=-1, type=click.UNPROCESSED, metavar="[IMAGE] [COMMAND…]")
def explain_command(chosen: str, line: tuple[str, ...]) -> int:
    """Show what `minirun run` with these options does, step by step, and why.

    \b
      minirun explain images/iris
      minirun explain --read-only -m 256m ./rootfs ./program
      minirun explain --format markdown > start.md
    """  # noqa: D301
    from ..container.readflags import Surroundings, from_flags
    from ..engine.preview import preview

    words, chosen = _take_format(list(line), chosen)
    if chosen not in _FORMATS:
        raise UsageError(f"unknown format {chosen!r}", hint=f"one of: {', '.join(_FORMATS)}")
    read = parse(words or ["-"])
    if read is None:
        raise UsageError(f"cannot read {' '.join(words)!r}", hint="see minirun run --help")
    around = Surroundings(os.environ, os.getcwd())
    own = ("quiet", "explain", "step", "detach_keys")
    flags = {key: value for key, value in read.flags.items() if key not in own}
    options = from_flags(flags, read.command, around)
    told = preview(default_home(), read.image if words else "", options)
    if chosen == "json":
        document({"image": told.why, **explain.document(told.plan, told.details)})
    elif chosen == "markdown":
        write(explain.markdown(told.plan, told.details))
    else:
        colour = colour_wanted(sys.stdout)
        write(f"{told.why}\n\n{explain.text(told.plan, told.details, colour=colour)}")
    return 0


def _take_format(words: list[str], chosen: str) -> tuple[list[str], str]:
    """Find --format behind other options too, as long as it stands before the image."""
    left: list[str] = []
    while words and (words[0].startswith("-") or not left or left[-1].startswith("-")):
        word = words.pop(0)
        if word == "--format" and words:
            chosen = words.pop(0)
        elif word.startswith("--format="):
            chosen = word.partition("=")[2]
        else:
            left.append(word)
            if not word.startswith("-"):
                break
    # After the image, only as the very last words: "explain IMAGE --format json".
    if len(words) >= 2 and words[-2] == "--format":
        *words, _, chosen = words
    return [*left, *words], chosen
