"""``run`` and ``create`` as click sees them: for the help page, and for lines with a mistake.

A line without one never comes here; see ``fastline.py``. Next: ``life.py``.
"""

from __future__ import annotations

import click

from .common import PLAIN, complete_image
from .fastline import Line
from .flags import FLAGS, MANY, SWITCH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_RUN = """Make a container of IMAGE and run a command in it.

IMAGE is a directory with a Dockerfile (built first), a root file system, an OCI bundle or layout,
an archive of images, or the name of a stored image.

\b
  minirun run --rm -it ./rootfs sh
  minirun run -d --name iris -p 8080:8080 images/iris
  minirun run --rm --read-only -m 256m --network none ./rootfs ./program
  minirun run --explain --rm ./rootfs true
"""
_CREATE = """Make a container of IMAGE without starting it; prints its id.

\b
  minirun create --name job ./rootfs ./program
  minirun start -a job
"""


def _command(name: str, text: str) -> click.Command:
    params: list[click.Parameter] = [_option(flag) for flag in FLAGS]
    params.append(click.Argument(["image"], metavar="IMAGE", shell_complete=complete_image))
    params.append(
        click.Argument(["command"], nargs=-1, metavar="[COMMAND…]", type=click.UNPROCESSED)
    )
    return click.Command(
        name, callback=_callback(name), params=params, help=text, context_settings=PLAIN
    )


def _option(flag: Any) -> click.Option:  # noqa: ANN401 - a row of the table
    names = [f"--{flag.name}", *([f"-{flag.letter}"] if flag.letter else []), f"flag_{flag.key}"]
    if flag.name in ("net", "net-alias", "dns-opt"):
        names[-1] += "_too"
    if flag.kind == SWITCH:
        return click.Option(names, is_flag=True, default=None, help=flag.help, hidden=not flag.help)
    return click.Option(
        names,
        multiple=flag.kind == MANY,
        metavar=flag.metavar or None,
        help=flag.help,
        hidden=not flag.help,
    )


def _callback(name: str) -> Callable[..., int]:
    def callback(image: str, command: tuple[str, ...], **given: Any) -> int:  # noqa: ANN401
        from .running import run

        flags: dict[str, Any] = {}
        for key, value in given.items():
            plain = key.removeprefix("flag_").removesuffix("_too")
            if value not in (None, ()):
                flags[plain] = list(value) if isinstance(value, tuple) else value
        return run(Line(flags, image, command), only_create=name == "create")

    return callback


run_command = _command("run", _RUN)
create_command = _command("create", _CREATE)
