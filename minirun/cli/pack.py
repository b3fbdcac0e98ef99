"""``pack``: a program, a model and the current environment become an image, without a Dockerfile.

Next: ``build.py``.
"""

from __future__ import annotations

import os
import sys

import click

from ..container.sizes import human_size
from ..engine.home import default_home
from ..errors import ImageError
from .output import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..image.pack_app import Step


@click.command()
@click.option("-m", "--model", "models", multiple=True, metavar="PATH", help="What it reads.")
@click.option("-t", "--tag", "tags", multiple=True, metavar="NAME", help="Name of the image.")
@click.option("--venv", default="", metavar="PATH", help="The current environment by default.")
@click.option("--include", multiple=True, metavar="PATH", help="More files of the program.")
@click.option("--with", "also", multiple=True, metavar="REQUIREMENT",
              help="A package that its imports do not show.")  # fmt: skip
@click.option("-p", "--port", default=0, type=click.IntRange(0, 65535), help="It listens on.")
@click.option("--dockerfile", is_flag=True, help="Print the Dockerfile instead; make nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Print the image's id only.")
@click.argument("program", metavar="FILE.py|MODULE[:APP]")
def pack_command(
    program: str,
    models: tuple[str, ...],
    tags: tuple[str, ...],
    venv: str,
    include: tuple[str, ...],
    also: tuple[str, ...],
    port: int,
    *,
    dockerfile: bool,
    quiet: bool,
) -> int:
    """Make a lean image of a Python program: only what its imports need goes along.

    \b
      minirun pack serve.py --model model/iris.joblib -t iris
      minirun pack app.main:api --with 'uvicorn[standard]'
      minirun pack serve.py --dockerfile > Dockerfile
    """  # noqa: D301
    from ..image.pack_app import pack
    from ..image.pack_plan import Wish, plan_packing

    wish = Wish(program, models, include, also, venv or _current(), port)
    packing = plan_packing(wish)
    if dockerfile:
        from ..image.pack_dockerfile import dockerfile_of

        say(dockerfile_of(packing).rstrip("\n"))
        return 0
    image = pack(default_home().images, packing, tags, seen=_quiet if quiet else _tell)
    say(image.id if quiet or not image.names else image.familiar_names[0])
    return 0


def _current() -> str:
    """Return the active virtual environment, else the one that minirun runs from."""
    if active := os.environ.get("VIRTUAL_ENV", ""):
        return active
    ours = os.path.dirname(os.path.dirname(sys.executable))
    if os.path.exists(f"{ours}/pyvenv.cfg"):  # -S: sys.prefix does not say
        return ours
    hint = "activate one, or use --venv PATH"
    raise ImageError("there is no virtual environment to pack from", hint=hint)


def _tell(step: Step) -> None:
    word = "  (unchanged)" if step.cached else ""
    sys.stderr.write(f"{human_size(step.size_bytes):>10}  {step.title}{word}\n")


def _quiet(_: Step) -> None:
    pass
