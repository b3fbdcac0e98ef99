"""``update``: other limits for containers that exist.

Next: ``ps.py``.
"""

from __future__ import annotations

import os

import click

from ..errors import UsageError
from .common import containers_argument, find, for_each
from .flags import FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TAKEN = (
    *("memory", "memory-swap", "memory-reservation", "cpus", "cpu-shares", "cpu-period"),
    *("cpu-quota", "cpu-rt-period", "cpu-rt-runtime", "cpuset-cpus", "cpuset-mems"),
    *("pids-limit", "blkio-weight", "restart"),
)


def update(names: tuple[str, ...], **given: Any) -> int:  # noqa: ANN401 - flags of any kind
    """Change limits and the restart policy; what is not given stays.

    \b
      minirun update -m 512m --cpus 1.5 web
      minirun update --restart always web
    """  # noqa: D301
    from ..container.readflags import Surroundings, from_flags
    from ..engine.update import update as change

    flags = {key: value for key, value in given.items() if value is not None}
    if not flags:
        raise UsageError("you must provide one or more flags", hint="see minirun update --help")
    read = {k: v for k, v in flags.items() if k != "memory_swap" or "memory" in flags}
    asked = from_flags(read, (), Surroundings(os.environ, os.getcwd()))
    if "memory_swap" in flags and "memory" not in flags:
        from ..container.sizes import swap_limit
        from ..record import replace

        swap = swap_limit(flags["memory_swap"])
        asked = replace(asked, resources=replace(asked.resources, memory_swap_bytes=swap))
    restart = "restart" in flags
    return for_each(
        names, lambda home, name: change(home, find(home, name), asked, restart=restart)
    )


def _options() -> list[click.Parameter]:
    rows = [flag for flag in FLAGS if flag.name in _TAKEN]
    return [
        click.Option(
            [f"--{row.name}", *([f"-{row.letter}"] if row.letter else []), row.key],
            metavar=row.metavar,
            help=row.help,
        )
        for row in rows
    ]


update_command = containers_argument()(
    click.Command("update", callback=update, params=_options(), help=update.__doc__)
)
