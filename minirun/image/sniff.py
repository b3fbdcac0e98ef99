"""What is it that ``minirun run IMAGE`` was given? One answer, with the reason for it.

An existing path wins over a name, except for a directory that holds nothing we know: then a word
that could be a name is taken as one. The command prints ``why``, so nobody has to guess.

Next: ``obtain.py``, for names; ``build.py``, for directories with a Dockerfile.
"""

from __future__ import annotations

import os

from ..errors import ImageError
from ..record import Record

DOCKERFILE_DIR = "dockerfile-dir"
OCI_BUNDLE = "oci-bundle"
OCI_LAYOUT = "oci-layout"
ROOTFS = "rootfs"
OCI_ARCHIVE = "oci-archive"
DOCKER_ARCHIVE = "docker-archive"
IMAGE_NAME = "image-name"

_DOCKERFILES = ("Dockerfile", "Containerfile")
_ROOTFS_SIGNS = ("bin", "usr", "etc", "sbin", "lib")


class Sniffed(Record):
    """What a text on the command line stands for, and one sentence that says why."""

    kind: str
    why: str


def sniff(text: str) -> Sniffed:
    """Return what ``text`` is: a directory or file of some kind, or the name of an image.

    Raises:
        ImageError: it is nothing that can be run; the hint says what would be.
    """
    if not text:
        raise ImageError("no image given", hint="give a directory, a tar archive or a name")
    looks_like_path = text.startswith((".", "/", "~")) or text.endswith("/")
    found = _sniff_directory(text) if os.path.isdir(text) else _sniff_file(text)
    if found is not None:
        return found
    if looks_like_path:
        raise nothing_known(text)
    what = "a directory with nothing to run in it" if os.path.isdir(text) else "no such path"
    return Sniffed(IMAGE_NAME, f"{text} is {what}, so it is the name of an image")


def _sniff_directory(path: str) -> Sniffed | None:
    names = set(os.listdir(path))
    for dockerfile in _DOCKERFILES:
        if dockerfile in names:
            return Sniffed(DOCKERFILE_DIR, f"{path} has a {dockerfile}, so it is built first")
    if "config.json" in names and os.path.isdir(os.path.join(path, "rootfs")):
        return Sniffed(OCI_BUNDLE, f"{path} has config.json and rootfs/, so it is an OCI bundle")
    if "oci-layout" in names:
        return Sniffed(OCI_LAYOUT, f"{path} has oci-layout, so it is an OCI image layout")
    for sign in _ROOTFS_SIGNS:
        if os.path.isdir(os.path.join(path, sign)):
            return Sniffed(ROOTFS, f"{path} has {sign}/, so it is a root file system")
    return None


def _sniff_file(path: str) -> Sniffed | None:
    """Look into a tar archive. Docker's newer ones are layouts too, and say so first."""
    if not os.path.isfile(path):
        return None
    members = _members(path)
    if "manifest.json" in members:
        return Sniffed(
            DOCKER_ARCHIVE, f"{path} is a tar with manifest.json, so docker save made it"
        )
    if "oci-layout" in members:
        return Sniffed(OCI_ARCHIVE, f"{path} is a tar with oci-layout, so it is an OCI archive")
    raise ImageError(
        f"{path} is a file, but no archive of images",
        hint="for a tar of a root file system: unpack it into a directory and run that",
    )


def _members(path: str) -> set[str]:
    """Return the names at the top of a tar archive, none where it is no tar."""
    import tempfile

    from .source import open_archive

    with tempfile.TemporaryDirectory(prefix="minirun-") as scratch:
        try:
            with open_archive(path, scratch) as archive:
                return {name for name in ("manifest.json", "oci-layout") if archive.has(name)}
        except ImageError:
            return set()


def nothing_known(path: str) -> ImageError:
    """Return the error about a path that is nothing we can run, and what would be."""
    if not os.path.lexists(path):
        hint = (
            "minirun images lists the stored ones; a directory or an archive is given by its path"
        )
        return ImageError(f"{path}: no such file or directory", hint=hint)
    if os.path.isdir(path) and not os.listdir(path):
        return ImageError(f"{path} is empty", hint="put a Dockerfile in it, or a root file system")
    return ImageError(
        f"{path} is nothing that can be run",
        hint="expected a Dockerfile, an OCI bundle or layout, or a root file system",
    )
