"""``build``: a Dockerfile and a directory become an image, or files, or an archive.

Next: ``build_flags.py``.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import click

from ..engine.home import default_home
from ..errors import ImageError, UsageError
from ..image.obtain import MISSING, POLICIES, Obtain
from .build_flags import BuildCommand, refuse, with_refused
from .output import say
from .progress import KINDS
from .progress import chosen as progress_of
from .transfer import announced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ..image.build_export import Output
    from ..image.build_options import Options
    from ..image.store import Image


@click.command(cls=BuildCommand)
@click.option("-t", "--tag", "tags", multiple=True, metavar="NAME", help="Name of the image.")
@click.option("-f", "--file", "dockerfile", metavar="FILE", help="PATH/Dockerfile; - is stdin.")
@click.option("--build-arg", "args", multiple=True, metavar="NAME=VALUE", help="Value for an ARG.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label.")
@click.option("--annotation", "notes", multiple=True, metavar="NAME=VALUE", help="Of the manifest.")
@click.option("--target", default="", metavar="STAGE", help="Stop at this stage.")
@click.option("--platform", default="", metavar="OS/ARCH", help="Refuse any but this one.")
@click.option(
    "--secret", "secrets", multiple=True, metavar="id=ID,src=FILE", help="For RUN --mount."
)
@click.option(
    "--ssh", "agents", multiple=True, metavar="default|ID=SOCKET", help="For RUN --mount."
)
@click.option("--build-context", "contexts", multiple=True, metavar="NAME=PATH", help="For --from.")
@click.option(
    "--network", default="host", metavar="NAME", help="Of RUN: host (default), none or bridge."
)
@click.option("--pull", default=MISSING, type=click.Choice(POLICIES), help="Of base images.")
@click.option("--no-cache", is_flag=True, help="Carry out every step.")
@click.option("--no-cache-filter", "fresh", multiple=True, metavar="STAGE", help="Of this stage.")
@click.option("--cache-from", "cached", multiple=True, metavar="IMAGE", help="Take its steps over.")
@click.option("--cache-to", metavar="type=inline", help="Let the image bring its cache along.")
@click.option("--squash", is_flag=True, help="Make one layer of the new ones.")
@click.option("-o", "--output", "outputs", multiple=True, metavar="DIR|type=…,dest=…")
@click.option("--push", is_flag=True, help="Send the image to its registry.")
@click.option("--progress", default="auto", type=click.Choice(KINDS))
@click.option("--iidfile", metavar="FILE", help="Write the image's id to a file.")
@click.option("--metadata-file", "metadata", metavar="FILE", help="Write facts as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print the image's id only.")
@with_refused
@click.argument("path", type=click.Path(), metavar="PATH")
def build_command(
    path: str,
    *,
    quiet: bool,
    progress: str,
    **given: Any,  # noqa: ANN401 - the options of the build
) -> int:
    """Build an image of the Dockerfile in PATH; - reads a tar archive, or a Dockerfile.

    \b
      minirun build -t iris images/iris
      minirun build --build-arg VERSION=2 --target test -f Dockerfile.dev .
      minirun build --secret id=token,env=TOKEN -o type=tar,dest=files.tar .
    """  # noqa: D301
    from ..engine.run_step import ContainerExecutor
    from ..image.build import build_to

    refuse(given)
    home = default_home()
    outputs = _outputs(given)
    with tempfile.TemporaryDirectory(prefix="minirun-") as folder:
        context, dockerfile = _context(path, given["dockerfile"], Path(folder))
        image = build_to(
            context,
            outputs,
            store=home.images,
            executor=ContainerExecutor(home),
            options=_options(given, dockerfile, quiet=quiet),
            progress=progress_of("quiet" if quiet else progress),
        )
    if image is not None:
        _tell(image, given, quiet=quiet)
        if given["push"] or any(output.pushes for output in outputs):
            _push(image, given["tags"], quiet=quiet)
    return 0


def _outputs(given: dict[str, Any]) -> list[Output]:
    from ..image.build_export import Output, parse_output

    return [parse_output(text) for text in given["outputs"]] or [Output()]


def _context(path: str, dockerfile: str | None, folder: Path) -> tuple[str, Path | None]:
    """Return the context and the Dockerfile; what comes from stdin is kept in a folder of ours."""
    from ..image.build_context import STDIN, receive

    if path == STDIN:
        if dockerfile == STDIN:
            raise UsageError("context and Dockerfile cannot both be stdin", hint="name one of them")
        found = receive(sys.stdin.buffer, folder)
        return str(folder), found or (folder / dockerfile if dockerfile else None)
    if "://" in path or path.startswith("git@"):
        raise UsageError(f"{path}: a remote context is not supported", hint="clone it, build that")
    if not os.path.isdir(path):
        raise ImageError(f"{path} is not a directory", hint="give the directory to build from")
    if dockerfile != STDIN:
        return path, Path(dockerfile) if dockerfile else None
    kept = folder / STDIN
    kept.write_bytes(sys.stdin.buffer.read())
    return path, kept


def _options(given: dict[str, Any], dockerfile: Path | None, *, quiet: bool) -> Options:
    """Return the options of the line."""
    from ..container.words import one_of
    from ..image.build import INLINE_ARG
    from ..image.build_annotations import parse_annotations
    from ..image.build_options import Options
    from ..image.build_secrets import parse_agents, parse_secrets

    build_args = _arguments(given["args"])
    network = "host" if given["network"] == "default" else given["network"]
    return Options(
        dockerfile=dockerfile,
        tags=given["tags"],
        build_args=build_args,
        labels=dict(_pair(text) for text in given["labels"]),
        annotations=parse_annotations(given["notes"]),
        target=given["target"],
        platform=given["platform"],
        network=one_of(network, "network", ("host", "none", "bridge")),
        no_cache=given["no_cache"],
        no_cache_stages=frozenset(n.lower() for text in given["fresh"] for n in text.split(",")),
        cache_from=[_cache_image(text) for text in given["cached"]],
        inline_cache=_is_inline(given["cache_to"]) or build_args.get(INLINE_ARG) == "1",
        squash=given["squash"],
        contexts=dict(_named_context(text) for text in given["contexts"]),
        secrets=parse_secrets(given["secrets"], os.environ),
        agents=parse_agents(given["agents"], os.environ),
        obtain=Obtain(given["pull"], shown=None if quiet else announced),
    )


def _cache_image(text: str) -> str:
    """Return the image that ``--cache-from`` names: IMAGE, or ``type=registry,ref=IMAGE``."""
    if "=" not in text:
        return text
    words = dict(_pair(word) for word in text.split(","))
    if words.get("type", "registry") != "registry" or not words.get("ref"):
        raise UsageError(f"--cache-from {text} is not supported", hint="type=registry,ref=IMAGE")
    return words["ref"]


def _is_inline(text: str | None) -> bool:
    if text not in (None, "type=inline"):
        raise UsageError(f"--cache-to {text} is not supported", hint="type=inline")
    return text is not None


def _arguments(texts: Iterable[str]) -> dict[str, str]:
    """Return the build arguments; one without a value takes ours."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if equals or name in os.environ:
            found[name] = value if equals else os.environ[name]
    return found


def _named_context(text: str) -> tuple[str, str]:
    name, where = _pair(text)
    if not (name and where):
        hint = "NAME=FOLDER, or NAME=docker-image://IMAGE"
        raise UsageError(f"--build-context {text!r}: no name and place", hint=hint)
    return name, where


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


# ---- what is said about the result --------------------------------------------------------------


def _tell(image: Image, given: dict[str, Any], *, quiet: bool) -> None:
    if given["iidfile"]:
        Path(given["iidfile"]).write_text(image.id)
    if given["metadata"]:
        Path(given["metadata"]).write_text(json.dumps(_metadata(image), indent=2))
    if quiet or not sys.stdout.isatty():
        say(image.id)
    else:
        say(f"built {', '.join(image.familiar_names) or image.id}")


def _metadata(image: Image) -> dict[str, object]:
    """Return what buildx writes about an image."""
    manifest = image.descriptor
    return {
        "containerimage.config.digest": image.id,
        "containerimage.digest": manifest.digest,
        "containerimage.descriptor": {
            "mediaType": manifest.media_type,
            "digest": manifest.digest,
            "size": manifest.size,
        },
        "image.name": ",".join(image.names),
    }


def _push(image: Image, names: Iterable[str], *, quiet: bool) -> None:
    from ..image.registry.push import push
    from .transfer import shown

    if not names:
        raise UsageError("an image without a name cannot be pushed", hint="name it with -t")
    for name in names:
        with shown(quiet=quiet) as seen:
            push(default_home().images, image, name, seen=seen)
