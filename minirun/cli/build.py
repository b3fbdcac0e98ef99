"""``build``: a Dockerfile and a directory become an image.

Next: ``image.py``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import click

from ..engine.home import default_home
from ..errors import ImageError
from ..image.obtain import MISSING, POLICIES, Obtain
from .output import say
from .progress import KINDS
from .progress import chosen as progress_of
from .transfer import announced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..image.build_options import Options


class _Build(click.Command):
    """Knows ``--pull`` without a value, which click would take from the next word."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Spell the value out."""
        return super().parse_args(ctx, ["--pull=always" if a == "--pull" else a for a in args])


@click.command(cls=_Build)
@click.option("-t", "--tag", "tags", multiple=True, metavar="NAME", help="Name of the image.")
@click.option("-f", "--file", "dockerfile", metavar="FILE", help="PATH/Dockerfile; - is stdin.")
@click.option("--build-arg", "args", multiple=True, metavar="NAME=VALUE", help="Value for an ARG.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label.")
@click.option("--target", default="", metavar="STAGE", help="Stop at this stage.")
@click.option("--platform", default="", help="Refuse any but this one.")
@click.option(
    "--secret", "secrets", multiple=True, metavar="id=ID,src=FILE", help="For RUN --mount."
)
@click.option(
    "--ssh", "agents", multiple=True, metavar="default|ID=SOCKET", help="For RUN --mount."
)
@click.option("--build-context", "contexts", multiple=True, metavar="NAME=PATH", help="For --from.")
@click.option("--network", default="host", help="Of RUN: host (default), none or bridge.")
@click.option(
    "--pull", default=MISSING, type=click.Choice(POLICIES), help="Ask for base images anew."
)
@click.option("--no-cache", is_flag=True, help="Carry out every step.")
@click.option("--progress", default="auto", type=click.Choice(KINDS))
@click.option("--iidfile", metavar="FILE", help="Write the image's id to a file.")
@click.option("-q", "--quiet", is_flag=True, help="Print the image's id only.")
@click.argument("path", type=click.Path(), metavar="PATH")
def build_command(
    path: str,
    progress: str,
    iidfile: str | None,
    *,
    quiet: bool,
    **given: Any,  # noqa: ANN401 - the options of the build
) -> int:
    """Build an image of the Dockerfile in PATH.

    \b
      minirun build -t iris images/iris
      minirun build --build-arg VERSION=2 --target test -f Dockerfile.dev .
    """  # noqa: D301
    from ..engine.run_step import ContainerExecutor
    from ..image.build import build

    home = default_home()
    if not os.path.isdir(path):
        raise ImageError(f"{path} is not a directory", hint="give the directory to build from")
    with tempfile.TemporaryDirectory(prefix="minirun-") as folder:
        image = build(
            path,
            store=home.images,
            executor=ContainerExecutor(home),
            options=_options(given, folder, quiet=quiet),
            progress=None if quiet else progress_of(progress),
        )
    if iidfile:
        Path(iidfile).write_text(image.id)
    if quiet or not sys.stdout.isatty():
        say(image.id)
    else:
        say(f"built {', '.join(image.familiar_names) or image.id}")
    return 0


def _options(given: dict[str, Any], folder: str, *, quiet: bool) -> Options:
    """Return the options of the line; ``folder`` holds a Dockerfile that comes from stdin."""
    from ..container.words import one_of
    from ..image.build_options import Options
    from ..image.build_secrets import parse_agents, parse_secrets

    return Options(
        dockerfile=_dockerfile(given["dockerfile"], folder),
        tags=given["tags"],
        build_args=_arguments(given["args"]),
        labels=dict(_pair(text) for text in given["labels"]),
        target=given["target"],
        platform=given["platform"],
        network=one_of(given["network"], "network", ("host", "none", "bridge")),
        no_cache=given["no_cache"],
        contexts=dict(_pair(text) for text in given["contexts"]),
        secrets=parse_secrets(given["secrets"], os.environ),
        agents=parse_agents(given["agents"], os.environ),
        obtain=Obtain(given["pull"], shown=None if quiet else announced),
    )


def _dockerfile(given: str | None, folder: str) -> Path | None:
    """Return where the Dockerfile is; one from standard input is kept in a folder of ours."""
    if given is None:
        return None
    if given != "-":
        return Path(given)
    from ..image.build import STDIN

    path = Path(folder) / STDIN
    path.write_bytes(sys.stdin.buffer.read())
    return path


def _arguments(texts: tuple[str, ...]) -> dict[str, str]:
    """Return the build arguments; one without a value takes ours."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if equals or name in os.environ:
            found[name] = value if equals else os.environ[name]
    return found


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value
