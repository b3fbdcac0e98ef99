"""Mark and sweep: what no image, no running operation and no container needs goes away.

Under the store's lock garbage is only renamed into a folder of our own, which is quick; it is
deleted after the lock is released. A collection that is killed leaves that folder to the next one.

Next: ``usage.py``, what each image takes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator

from ..record import Record
from . import names, store_version
from .blobs import read_document, read_index
from .lease import Lease, live_claims
from .locks import acquire, locked, store_errors
from .model import Manifest


class Freed(Record):
    """What a collection removed."""

    blobs: int
    layers: int
    size_bytes: int


class Usage(Record):
    """What the store takes, in bytes; of that, ``reclaimable`` is garbage for ``gc``."""

    images: int
    blobs: int
    blob_bytes: int
    layers: int
    layer_bytes: int
    reclaimable_bytes: int


def collect(root: str, in_use: Callable[[], Iterable[str]]) -> Freed:
    """Remove garbage. See ``Store.gc``."""
    lease = Lease(root)
    try:
        with locked(os.path.join(root, "lock")):
            alive, claimed = live_claims(root)
            needed = {*in_use(), *claimed, *_reachable(root)}
            freed = _sweep(root, needed, lease.scratch)
            _sweep_unfinished(root, alive, lease.scratch)
            _sweep_signatures(root, needed)
    finally:
        lease.release()
    return freed


def usage(root: str) -> Usage:
    """Return what the store takes. See ``Store.df``."""
    needed = set(_reachable(root))
    with store_errors(root):
        exists = store_version.check(root) > 0
        blobs = list(_blobs(root)) if exists else []
        layers = list(_layers(root)) if exists else []
    waste = sum(size for digest, _, size in (*blobs, *layers) if digest not in needed)
    return Usage(
        len(names.group(read_index(root).manifests)),
        len(blobs),
        sum(size for _, _, size in blobs),
        len(layers),
        sum(size for _, _, size in layers),
        waste,
    )


def _reachable(root: str) -> Iterator[str]:
    """Yield the digests that images need: of manifests, configs, blobs, and diff_ids."""
    from .model import ImageConfig

    for image_id, named in names.group(read_index(root).manifests).items():
        config = read_document(root, ImageConfig, image_id)
        yield from (image_id, *config.rootfs.diff_ids)
        for digest in {one.digest for one in named.manifests.values()}:
            yield digest
            yield from (layer.digest for layer in read_document(root, Manifest, digest).layers)


def _sweep(root: str, needed: set[str], trash: str) -> Freed:
    blobs = [found for found in _blobs(root) if found[0] not in needed]
    layers = [found for found in _layers(root) if found[0] not in needed]
    for i, (_, path, _) in enumerate((*blobs, *layers)):
        os.rename(path, os.path.join(trash, str(i)))
    for entry in os.scandir(os.path.join(root, "l")):
        if entry.is_symlink() and not os.path.exists(entry.path):
            os.unlink(entry.path)
    return Freed(len(blobs), len(layers), sum(size for _, _, size in (*blobs, *layers)))


def _sweep_unfinished(root: str, alive: set[str], trash: str) -> None:
    """Remove what killed operations left: folders, and locks and half blobs nobody holds."""
    import fcntl

    folder = os.path.join(root, "tmp")
    for name in os.listdir(folder):
        if name not in alive:
            os.rename(os.path.join(folder, name), os.path.join(trash, name))
    for path in (*_files_in(root, "locks"), *_files_in(root, "partial")):
        try:
            fd = acquire(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        os.unlink(path)
        os.close(fd)


def _sweep_signatures(root: str, needed: set[str]) -> None:
    """Remove the signatures of images that are gone."""
    for path in _files_in(root, "signatures"):
        if f"sha256:{os.path.basename(path)}" not in needed:
            os.unlink(path)


def _files_in(root: str, folder: str) -> list[str]:
    """Return the paths of a folder's files; a store of an earlier version may lack the folder."""
    try:
        return [entry.path for entry in os.scandir(os.path.join(root, folder))]
    except FileNotFoundError:
        return []


def _blobs(root: str) -> Iterator[tuple[str, str, int]]:
    """Yield (digest, path, size) of each blob."""
    for entry in os.scandir(os.path.join(root, "blobs", "sha256")):
        yield f"sha256:{entry.name}", entry.path, entry.stat().st_size


def _layers(root: str) -> Iterator[tuple[str, str, int]]:
    """Yield (diff_id, path, size) of each unpacked layer."""
    for entry in os.scandir(os.path.join(root, "layers")):
        try:
            yield f"sha256:{entry.name}", entry.path, layer_size(entry.path)
        except FileNotFoundError:
            continue  # collected by somebody else while we looked


def layer_size(path: str) -> int:
    """Return the bytes of a layer's files, as they were counted when it was unpacked.

    A count that power loss has damaged is zero: a layer is worth more than its size.
    """
    with open(os.path.join(path, "layer.json"), encoding="ascii") as file:
        try:
            return int(json.load(file)["size"])
        except (ValueError, KeyError, TypeError):
            return 0
