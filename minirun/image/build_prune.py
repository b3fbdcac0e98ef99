"""What builds keep: steps and cache mounts, how large they are, and which may go.

A step's layer may be an image's as well; then forgetting the step frees nothing.

Next: ``../cli/builder.py``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from ..record import Record
from . import build_digests
from .build_cache import FOLDER, read_entry
from .build_caches import Caches
from .lease import discard

STEP, MOUNT, SOURCE = "regular", "exec.cachemount", "source.local"


class Kept(Record):
    """One step or cache mount, or what is known of a file of a context.

    Args:
        id: of a step its key, of a cache mount what RUN calls it.
        kind: as buildkit has it: ``regular``, ``exec.cachemount`` or ``source.local``.
        size_bytes: on the disk; a step's layer.
        used_s: when it was used last, in seconds since 1970.
        path: of its file or folder.
    """

    id: str
    kind: str
    size_bytes: int
    used_s: float
    path: str


def kept(root: str) -> list[Kept]:
    """Return all that builds keep in a store, the longest unused first."""
    return sorted([*_steps(root), *_mounts(root), *_sources(root)], key=lambda one: one.used_s)


def prune(root: str, *, unused_s: float = 0.0) -> list[Kept]:
    """Forget steps and remove cache mounts; what a build uses right now stays.

    The layers of forgotten steps are garbage then, for ``Store.gc``.

    Args:
        root: the store's.
        unused_s: only what nobody used for so long.

    Returns:
        What is gone.
    """
    before = time.time() - unused_s
    old = [one for one in kept(root) if not unused_s or one.used_s < before]
    return [one for one in old if _remove(root, one)]


def _remove(root: str, one: Kept) -> bool:
    if one.kind == MOUNT:
        return Caches(root).remove(Path(one.path))
    discard(os.path.dirname(one.path), os.path.basename(one.path))
    return True


def _steps(root: str) -> Iterator[Kept]:
    folder = os.path.join(root, FOLDER)
    for entry in os.scandir(folder) if os.path.isdir(folder) else []:
        found = read_entry(entry.path)
        size = found.layer.descriptor.size if found and found.layer else 0
        yield Kept(entry.name, STEP, size, entry.stat().st_mtime, entry.path)


def _mounts(root: str) -> Iterator[Kept]:
    for name, folder in Caches(root).all():
        used_s = (folder / "lock").stat().st_mtime if (folder / "lock").exists() else 0.0
        yield Kept(name, MOUNT, _size(folder), used_s, str(folder))


def _sources(root: str) -> Iterator[Kept]:
    folder = os.path.join(root, build_digests.FOLDER)
    for entry in os.scandir(folder) if os.path.isdir(folder) else []:
        facts = entry.stat()
        yield Kept(entry.name, SOURCE, facts.st_size, facts.st_mtime, entry.path)


def _size(folder: Path) -> int:
    """Return the bytes of all files below a folder; one that goes meanwhile has none."""
    total = 0
    for top, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(top, name)).st_size
            except FileNotFoundError:
                continue
    return total
