"""What each image takes on the disk: alone, and together with others. ``minirun image du``.

Next: ``gc.py``, which counts and frees what none of them takes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection

from ..record import Record
from . import blobs
from .model import hex_of
from .store import Image, Store


class ImageUsage(Record):
    """Bytes on the disk: unpacked layers and the blobs that they came in.

    Args:
        image: of the store.
        unique_bytes: what removing it frees.
        shared_bytes: what other images have as well.
    """

    image: Image
    unique_bytes: int
    shared_bytes: int

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.unique_bytes + self.shared_bytes


def image_usage(store: Store) -> list[ImageUsage]:
    """Return what each image takes, the largest first."""
    images = store.images()
    parts = {image.id: _parts(image) for image in images}
    users = Counter(part for found in parts.values() for part in found)
    sizes = {part: _size(store.root, *part) for part in users}
    rows = []
    for image in images:
        shared = sum(sizes[part] for part in parts[image.id] if users[part] > 1)
        unique = sum(sizes[part] for part in parts[image.id] if users[part] == 1)
        rows.append(ImageUsage(image, unique, shared))
    return sorted(rows, key=lambda row: -row.total_bytes)


def unused_bytes(store: Store, in_use: Collection[str]) -> int:
    """Return what only images take that no container needs.

    Args:
        store: the images.
        in_use: digests that containers need, their images' ids among them.
    """
    images = store.images()
    idle = {part for image in images if image.id not in in_use for part in _parts(image)}
    needed = {part for image in images if image.id in in_use for part in _parts(image)}
    return sum(_size(store.root, *part) for part in idle - needed)


def _parts(image: Image) -> set[tuple[str, str]]:
    """Return (kind, digest) of all that an image needs."""
    blob_digests = [image.descriptor.digest, image.id]
    blob_digests += [layer.descriptor.digest for layer in image.layers]
    unpacked = {("layer", diff_id) for diff_id in image.config.rootfs.diff_ids}
    return unpacked | {("blob", digest) for digest in blob_digests}


def _size(root: str, kind: str, digest: str) -> int:
    """Return the bytes of a part; one that is missing takes none."""
    from .gc import layer_size

    try:
        if kind == "blob":
            return os.stat(blobs.blob_path(root, digest)).st_size
        return layer_size(os.path.join(root, "layers", hex_of(digest)))
    except OSError:
        return 0
