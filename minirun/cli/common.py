"""What several commands share: naming containers, doing one thing to many of them.

Next: ``life.py``.
"""

from __future__ import annotations

import click

from ..engine.home import default_home
from ..errors import EXIT_MINIRUN, MinirunError
from .complaints import complain
from .output import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from click.shell_completion import CompletionItem

    from ..container.entry import ContainerRecord
    from ..engine.home import Home

_FORMAT_HELP = "table, json or '{{.Field}}'."
format_option = click.option("--format", "chosen", default="", help=_FORMAT_HELP)
#: Where nothing is filtered, ``-f`` means the form, as in docker.
short_format_option = click.option("-f", "--format", "chosen", default="", help=_FORMAT_HELP)
PLAIN = {"ignore_unknown_options": False, "allow_interspersed_args": False}


def complete_container(
    _context: click.Context, _param: click.Parameter, typed: str
) -> list[CompletionItem]:
    """Return the containers whose name begins so."""
    from click.shell_completion import CompletionItem as Item

    try:
        records = default_home().containers.all()
    except MinirunError:
        return []
    return [Item(r.name, help=r.state.status) for r in records if r.name.startswith(typed)]


def complete_image(
    _context: click.Context, _param: click.Parameter, typed: str
) -> list[CompletionItem]:
    """Return the images whose name begins so."""
    from click.shell_completion import CompletionItem as Item

    try:
        images = default_home().images.images()
    except MinirunError:
        return []
    names = (name for image in images for name in image.familiar_names)
    return [Item(name) for name in names if name.startswith(typed)]


def containers_argument(*, required: bool = True) -> Callable[..., Any]:
    """Return the argument that takes containers."""
    return click.argument(
        "names", nargs=-1, required=required, metavar="CONTAINER…",
        shell_complete=complete_container,
    )  # fmt: skip


def container_argument() -> Callable[..., Any]:
    """Return the argument that takes one container."""
    return click.argument("name", metavar="CONTAINER", shell_complete=complete_container)


def find(home: Home, name: str) -> ContainerRecord:
    """Return a container as it is now."""
    from ..engine.status import find as look_up

    return look_up(home, name)


def for_each(names: Iterable[str], work: Callable[[Home, str], object]) -> int:
    """Do something to each, print the names that worked; go on after one that did not.

    Returns:
        0, or the exit code of the last that failed.
    """
    home, code = default_home(), 0
    for name in names:
        try:
            work(home, name)
        except MinirunError as error:
            complain(error.message, error.hint)
            code = error.exit_code or EXIT_MINIRUN
        else:
            say(name)
    return code
