"""``builder du`` and ``builder prune``: what builds keep, and how to be rid of it.

Next: ``image.py``.
"""

from __future__ import annotations

import sys
import time

import click

from ..container.sizes import duration_ns, human_size
from ..engine.home import default_home
from ..errors import UsageError
from .common import format_option
from .output import ago, say, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..image.build_prune import Kept

_COLUMNS = (("ID", "ID"), ("TYPE", "Type"), ("SIZE", "Size"), ("LAST ACCESSED", "LastUsed"))


@click.group(name="builder")
def builder_command() -> None:
    """Manage what builds keep: the results of steps, and cache mounts."""


@click.command()
@format_option
def du(chosen: str) -> int:
    """List what builds keep, the longest unused first.

    A step's layer may be an image's as well; forgetting the step then frees nothing.
    """
    from ..image.build_prune import kept

    found = kept(default_home().data)
    show([_row(one) for one in found], _COLUMNS, chosen)
    if chosen in ("", "table"):
        say(f"Total: {human_size(sum(one.size_bytes for one in found))}")
    return 0


def _row(one: Kept) -> dict[str, Any]:
    used = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one.used_s))
    return {
        "ID": one.id if one.kind == "exec.cachemount" else one.id[:12],
        "Type": one.kind,
        "Size": human_size(one.size_bytes),
        "LastUsed": ago(used),
        "LastUsedAt": used,
    }


@click.command()
@click.option("-a", "--all", "every", is_flag=True, hidden=True, expose_value=False)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option("--filter", "filters", multiple=True, metavar="until=24h", help="Unused for so long.")
def prune(filters: tuple[str, ...], *, force: bool) -> int:
    """Forget steps and remove cache mounts; what a build uses right now stays."""
    from ..engine.prune import in_use
    from ..image.build_cache import kept_digests
    from ..image.build_prune import prune as forget

    unused_s = max((_unused_s(text) for text in filters), default=0.0)
    if not force and sys.stdin.isatty():
        click.confirm("This removes what builds keep. Go on?", abort=True)
    home = default_home()
    gone = forget(home.data, unused_s=unused_s)
    freed = home.images.gc(lambda: {*in_use(home), *kept_digests(home.data)}).size_bytes
    mounts = sum(one.size_bytes for one in gone if one.kind != "regular")
    for one in gone:
        say(f"deleted: {_row(one)['ID']}")
    say(f"Total reclaimed space: {human_size(freed + mounts)}")
    return 0


def _unused_s(text: str) -> float:
    name, _, value = text.partition("=")
    if name not in ("until", "unused-for"):
        raise UsageError(f"--filter {text} is not supported", hint="until=24h")
    return duration_ns(value) / 10**9


for _command in (du, prune):
    builder_command.add_command(_command)
