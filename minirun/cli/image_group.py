"""``image``: what can be done with the images of this host, beside docker's short commands.

Next: ``volume.py``.
"""

from __future__ import annotations

import sys

import click

from ..container.sizes import human_size
from ..engine.home import default_home
from .common import complete_image, format_option, short_format_option
from .image import (
    history_command,
    images_command,
    load_command,
    rmi_command,
    save_command,
    tag_command,
)
from .output import say, show
from .trust import sbom_image, sign_image, verify_image

_USAGE_COLUMNS = (
    ("IMAGE", "Name"),
    ("IMAGE ID", "ID"),
    ("SIZE", "Size"),
    ("SHARED SIZE", "SharedSize"),
    ("UNIQUE SIZE", "UniqueSize"),
    ("CONTAINERS", "Containers"),
)


@click.group(name="image")
def image_command() -> None:
    """Manage images."""


@click.command()
@short_format_option
@click.argument("names", nargs=-1, required=True, metavar="IMAGE…", shell_complete=complete_image)
def inspect_image(names: tuple[str, ...], chosen: str) -> int:
    """Show all that is known about images.

    \b
      minirun image inspect iris
      minirun image inspect --format '{{json .Annotations}}' iris
    """  # noqa: D301
    from .inspect import shown

    return shown(default_home(), names, "image", chosen)


@click.command()
@click.option("--venv", metavar="PATH", help="Take a virtual environment along.")
@click.option("--python", default="", metavar="PATH", help="This interpreter, instead of ours.")
@click.option("-t", "--tag", default="", metavar="NAME", help="Name of the image.")
def capture_image(venv: str | None, python: str, tag: str) -> int:
    """Make a base image of the Python on this host: minirun/python:X.Y.

    \b
      minirun image capture
      minirun image capture --venv .venv -t trained
    """  # noqa: D301
    from ..image.capture import capture

    if sys.stderr.isatty():
        sys.stderr.write("capturing this host's Python …\n")
    image = capture(default_home().images, python=python, venv=venv, tag=tag)
    say(image.familiar_names[0] if image.names else image.id)
    return 0


@click.command()
@click.option("-a", "--all", "every", is_flag=True, help="All that no container uses.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option("--filter", "filters", multiple=True, metavar="KEY=VALUE",
              help="Only those that fit: until=24h, label=NAME[=VALUE], label!=NAME.")  # fmt: skip
def prune_image(*, every: bool, force: bool, filters: tuple[str, ...]) -> int:
    """Remove images without a name, and free their space."""
    from ..engine.prune import images

    _confirm("images that no container uses" if every else "images without a name", force=force)
    pruned = images(default_home(), every=every, filters=filters)
    for name in pruned.names:
        say(f"deleted: {name}")
    say(f"Total reclaimed space: {human_size(pruned.bytes)}")
    return 0


def _confirm(what: str, *, force: bool) -> None:
    if not force and sys.stdin.isatty():
        click.confirm(f"This removes all {what}. Go on?", abort=True)


@click.command()
@format_option
def usage_image(chosen: str) -> int:
    """Show what each image takes on the disk, alone and together with others."""
    return show_usage(chosen)


def show_usage(chosen: str) -> int:
    """Print one row per image; its unique size is what removing it frees."""
    from ..engine.prune import users_of
    from ..image.usage import image_usage

    home = default_home()
    users = users_of(home)
    rows = [
        {
            "Name": ", ".join(row.image.familiar_names) or "<none>",
            "ID": row.image.id[7:19],
            "Size": human_size(row.total_bytes),
            "SharedSize": human_size(row.shared_bytes),
            "UniqueSize": human_size(row.unique_bytes),
            "Containers": len(users(row.image.id)),
        }
        for row in image_usage(home.images)
    ]
    show(rows, _USAGE_COLUMNS, chosen)
    return 0


for _name, _command in (
    ("ls", images_command),
    ("inspect", inspect_image),
    ("capture", capture_image),
    ("prune", prune_image),
    ("verify", verify_image),
    ("sign", sign_image),
    ("sbom", sbom_image),
    ("du", usage_image),
    ("rm", rmi_command),
    ("tag", tag_command),
    ("history", history_command),
    ("save", save_command),
    ("load", load_command),
):
    image_command.add_command(_command, _name)
