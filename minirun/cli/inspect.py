"""``inspect``: all that is known about a container or an image; ``--kernel``: as the kernel has it.

Next: ``stats.py``.
"""

from __future__ import annotations

import click

from ..engine.home import default_home
from ..errors import ImageError, MinirunError, NotFoundError
from .common import complete_container, find, short_format_option
from .complaints import complain
from .output import document, formatter, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..engine.home import Home


@click.command()
@click.option("--type", "kind", type=click.Choice(["container", "image", "volume"]), default=None)
@click.option("--kernel", is_flag=True, help="A running container as the kernel sees it.")
@short_format_option
@click.argument("names", nargs=-1, required=True, shell_complete=complete_container)
def inspect_command(names: tuple[str, ...], kind: str | None, chosen: str, *, kernel: bool) -> int:
    """Show all that is known about containers, images and volumes.

    \b
      minirun inspect web
      minirun inspect --format '{{.State.Status}}' web
      minirun inspect --kernel web
    """  # noqa: D301
    home = default_home()
    return _kernel(home, names, chosen) if kernel else shown(home, names, kind, chosen)


def shown(home: Home, names: tuple[str, ...], kind: str | None, chosen: str) -> int:
    """Print what is found, and complain of each name that leads nowhere."""
    found: list[dict[str, Any]] = []
    code = 0
    for name in names:
        try:
            found.append(_look_up(home, name, kind))
        except MinirunError as error:
            complain(error.message, error.hint)
            code = error.exit_code
    return _show(found, chosen) or code


def _show(found: list[dict[str, Any]], chosen: str) -> int:
    if chosen in ("", "json", "table"):
        document(found)
    else:
        line = formatter(chosen)
        for one in found:
            say(line(one))
    return 0


def _look_up(home: Home, name: str, kind: str | None) -> dict[str, Any]:
    """Return a container, else an image, else a volume, as docker's inspect does."""
    from ..engine import inspect

    if kind == "volume":
        return inspect.volume(home, name)
    if kind in (None, "container"):
        try:
            return inspect.container(home, find(home, name))
        except NotFoundError:
            if kind:
                raise
    try:
        return inspect.image(home.images.resolve(name))
    except ImageError as error:
        if kind:
            raise
        raise NotFoundError(
            f"no such container or image: {name}", hint="minirun ps -a, minirun images"
        ) from error


def _kernel(home: Home, names: tuple[str, ...], chosen: str) -> int:
    from ..engine.kernelview import look

    for name in names:
        view = look(home, find(home, name))
        if chosen == "json":
            document(view)
        elif chosen in ("", "table"):
            _tell(view)
        else:
            say(formatter(chosen)(view))
    return 0


def _tell(view: dict[str, Any]) -> None:
    """Print the kernel's view for reading."""
    say(f"{view['Name']}: pid {view['Pid']} on the host, pid {view['PidInside']} inside")
    for title, rows in (
        ("namespaces (inode; * is shared with the host)", _namespaces(view)),
        ("user ids (inside, outside, how many)", view["UidMap"]),
        ("control groups", [f"{name:<12} {path}" for name, path in view["Cgroups"].items()]),
        ("limits and use", [f"{name:<32} {value}" for name, value in view["CgroupFiles"].items()]),
        ("mounts", view["Mounts"]),
        ("capabilities", [f"{name:<24} {text}" for name, text in view["Capabilities"].items()]),
        ("seals", [f"{name:<16} {text}" for name, text in view["Seals"].items()]),
        ("network", [f"{name:<12} {text}" for name, text in view["Network"].items()]),
    ):
        say(f"\n{title}")
        for row in rows or ["none"]:
            say(f"  {row}")


def _namespaces(view: dict[str, Any]) -> list[str]:
    return [
        f"{name:<8} {row['Inode']}  host {row['Host']}{' *' if row['Shared'] else ''}"
        for name, row in view["Namespaces"].items()
    ]
