"""What ``minirun run IMAGE`` was given, made ready to run.

Next: ``foundation.py``.
"""

from __future__ import annotations

import os

from ..errors import ImageError
from ..image.model import ContainerConfig
from ..image.sniff import (
    DOCKER_ARCHIVE,
    DOCKERFILE_DIR,
    IMAGE_NAME,
    OCI_BUNDLE,
    ROOTFS,
    nothing_known,
    sniff,
)
from ..image.trust import confirm_trusted
from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..image.build_progress import Board
    from ..image.obtain import Obtain
    from ..image.store import Image
    from .home import Home


class Target(Record):
    """Something that can be run.

    Args:
        text: as the user wrote it.
        why: one sentence: what it was taken for.
        config: what its author wants to run, and how.
        image_id: digest of the image; "" for a directory.
        lowers: the layers, topmost first; none for a bundle.
        bundle: directory with config.json and rootfs; "" for everything else.
    """

    text: str
    why: str
    config: ContainerConfig = ContainerConfig()
    image_id: str = ""
    lowers: tuple[str, ...] = ()
    bundle: str = ""


def resolve(
    home: Home,
    text: str,
    progress: Callable[[], Board | None] | None = None,
    how: Obtain | None = None,
    told: Callable[[str], object] | None = None,
) -> Target:
    """Return what ``text`` stands for; builds, loads or pulls it first where that is needed.

    Args:
        home: where images are kept.
        text: a directory, an archive or the name of an image.
        progress: makes the listener of a build, when there is one.
        how: whether and how an image is pulled; None pulls one that is missing.
        told: called with what it was taken for, before that is built or loaded.

    Raises:
        ImageError: there is no such thing, or it is nothing that can be run.
    """
    found = sniff(text)
    path = os.path.abspath(text)
    if told:
        told(found.why)
    if found.kind == ROOTFS:
        return Target(text, found.why, lowers=(path,))
    if found.kind == OCI_BUNDLE:
        return Target(text, found.why, bundle=path)
    if found.kind == DOCKERFILE_DIR:
        image = build_directory(home, path, progress() if progress else None, how)
    elif found.kind == IMAGE_NAME:
        image = _named(home, text, how)
    else:
        image = _load(home, found.kind, path)
    return of_image(text, found.why, image)


def _named(home: Home, name: str, how: Obtain | None) -> Image:
    """Return an image by its name; one that is also a directory's may have meant the directory."""
    from ..image.obtain import obtain

    try:
        return obtain(home.images, name, how)
    except ImageError as error:
        if os.path.isdir(name):
            meant = nothing_known(f"./{name}")
            hint = f"if the directory was meant: {meant.message}; {meant.hint}"
            raise ImageError(error.message, hint=hint) from error
        raise


def of_image(text: str, why: str, image: Image) -> Target:
    """Return a stored image as a target, if this host's policy lets it run."""
    confirm_trusted(image, text)
    return Target(text, why, image.config.config, image.id, image.lower_dirs())


def build_directory(
    home: Home, path: str, progress: Board | None = None, how: Obtain | None = None
) -> Image:
    """Build a model directory, or take it from the cache; its image is named after it."""
    from ..image.build import build
    from ..image.build_options import Options
    from .run_step import ContainerExecutor

    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in os.path.basename(path).lower())
    options = Options(tags=(name.strip("._-") or "image",), obtain=how)
    executor = ContainerExecutor(home)
    return build(path, store=home.images, executor=executor, options=options, progress=progress)


def _load(home: Home, kind: str, path: str) -> Image:
    """Copy an archive or layout into the store; it must hold one image."""
    from ..image import archive, layout

    load = archive.load if kind == DOCKER_ARCHIVE else layout.load
    images = load(home.images, path)
    if len({image.id for image in images}) != 1:
        names = ", ".join(name for image in images for name in image.familiar_names)
        raise ImageError(
            f"{path} holds {len(images)} images: {names}",
            hint="they are loaded now: run one of them by its name",
        )
    return images[0]
