"""``volume``: directories that outlive containers.

Next: ``system.py``.
"""

from __future__ import annotations

import sys

import click

from ..container.sizes import human_size
from ..engine.home import default_home
from ..errors import MinirunError
from .common import format_option
from .complaints import complain
from .output import document, say, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..engine.home import Home


@click.group(name="volume")
def volume_command() -> None:
    """Manage volumes."""


@volume_command.command("ls")
@click.option("-q", "--quiet", is_flag=True, help="Names only.")
@format_option
def list_volumes(chosen: str, *, quiet: bool) -> int:
    """List volumes."""
    home = default_home()
    rows = [
        {
            "Driver": "local",
            "Name": volume.name,
            "Mountpoint": home.volumes.path(volume.name),
            "Labels": ",".join(f"{k}={v}" for k, v in volume.labels.items()),
        }
        for volume in home.volumes.all()
    ]
    columns = (("DRIVER", "Driver"), ("VOLUME NAME", "Name"))
    show(rows, columns, chosen, quiet="Name" if quiet else "")
    return 0


@volume_command.command("create")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label.")
@click.argument("name", required=False, default="")
def create_volume(name: str, labels: tuple[str, ...]) -> int:
    """Make a volume, unless there is one of this name."""
    from ..container.environment import label

    say(default_home().volumes.ensure(name, dict(map(label, labels))).name)
    return 0


@volume_command.command("inspect")
@click.argument("names", nargs=-1, required=True, metavar="VOLUME…")
def inspect_volumes(names: tuple[str, ...]) -> int:
    """Show all that is known about volumes."""
    from ..engine.inspect import volume

    home = default_home()
    document([volume(home, name) for name in names])
    return 0


@volume_command.command("rm")
@click.option("-f", "--force", is_flag=True, help="A missing one is no error.")
@click.argument("names", nargs=-1, required=True, metavar="VOLUME…")
def remove_volumes(names: tuple[str, ...], *, force: bool) -> int:
    """Remove volumes that no container uses."""
    home, code = default_home(), 0
    known = {volume.name for volume in home.volumes.all()}
    for name in names:
        if force and name not in known:
            continue
        try:
            home.volumes.remove(name, _users(home, name))
        except MinirunError as error:
            complain(error.message, error.hint)
            code = error.exit_code
        else:
            say(name)
    return code


def _users(home: Home, name: str) -> list[str]:
    return [record.id for record in home.containers.all() if name in record.volumes.values()]


@volume_command.command("prune")
@click.option("-a", "--all", "every", is_flag=True, help="Also those that have a name.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
def prune_volumes(*, every: bool, force: bool) -> int:
    """Remove volumes that no container uses."""
    from ..engine.prune import volumes

    if not force and sys.stdin.isatty():
        click.confirm("This removes all volumes that no container uses. Go on?", abort=True)
    pruned = volumes(default_home(), every=every)
    for name in pruned.names:
        say(f"deleted: {name}")
    say(f"Total reclaimed space: {human_size(pruned.bytes)}")
    return 0
