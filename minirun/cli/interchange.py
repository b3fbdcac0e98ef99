"""``commit export import``: containers become images and archives, archives become images.

Next: ``image.py``.
"""

from __future__ import annotations

import sys

import click

from ..engine.home import default_home
from ..errors import UsageError
from .archives import archive_output
from .common import container_argument, find
from .output import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_change_option = click.option(
    "-c", "--change", "changes", multiple=True, metavar="INSTRUCTION",
    help="Of a Dockerfile, as in 'ENV A=1'.",
)  # fmt: skip


@click.command()
@click.option("-a", "--author", default="", help="Who made it.")
@click.option("-m", "--message", default="", help="For the history.")
@click.option("-p", "--pause/--no-pause", default=True, help="While its files are read.")
@_change_option
@container_argument()
@click.argument("image", metavar="[NAME[:TAG]]", default="")
def commit_command(name: str, image: str, *, changes: tuple[str, ...], **given: Any) -> int:  # noqa: ANN401 - the flags
    """Make an image of what a container's files are now; volumes are not part of it.

    \b
      minirun commit web web:patched
      minirun commit -c 'CMD ["serve"]' -c 'USER 1000' -m 'add the model' web
    """  # noqa: D301
    from ..engine.commit import Wish, commit

    home = default_home()
    names = (image,) if image else ()
    say(commit(home, find(home, name), Wish(names, changes, **given)).id)
    return 0


@click.command()
@click.option("-o", "--output", metavar="FILE", help="Write to a file instead of stdout.")
@container_argument()
def export_command(name: str, output: str | None) -> int:
    """Write all files of a container as one tar archive; volumes are not part of it."""
    from ..engine.export import export

    home = default_home()
    record = find(home, name)
    with archive_output(output, "export") as write:
        export(home, record, write)
    return 0


@click.command()
@_change_option
@click.option("-m", "--message", default="", help="For the history.")
@click.option("--platform", default="", help="Refuse any but this one.")
@click.argument("path", metavar="FILE|-")
@click.argument("image", metavar="[NAME[:TAG]]", default="")
def import_command(path: str, image: str, message: str, platform: str, changes: Any) -> int:  # noqa: ANN401 - a tuple of click's
    """Make an image of a tar archive of a root file system.

    \b
      minirun export web | minirun import - web:flat
      minirun import -c 'CMD ["/bin/sh"]' rootfs.tar.gz debian:mine
    """  # noqa: D301
    from ..engine.export import import_tar

    if platform:
        from ..image.build import host_architecture

        host_architecture(platform)
    if path.startswith(("http://", "https://")):
        raise UsageError(f"{path}: only files are imported", hint="fetch it first, with curl -LO")
    if path == "-" and sys.stdin.isatty():
        raise UsageError("requested import from a terminal", hint="give a FILE, or use a pipe")
    names = (image,) if image else ()
    with open(0 if path == "-" else path, "rb", buffering=0, closefd=path != "-") as stream:
        say(import_tar(default_home(), stream, names, changes, message).id)
    return 0
