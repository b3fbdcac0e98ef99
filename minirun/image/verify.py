"""Is every byte of an image what its digests say? ``minirun image verify``.

Disks lose bits, and people edit files below /var/lib. Each blob is hashed against its digest and,
inflated, against its diff_id. It is unpacked once more, and the result compared with the layer that
containers are run from: a file that was changed there is found, and named.

Next: ``gc.py``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator

from ..errors import ImageError
from ..record import Record
from . import blobs
from .layers import unpack_layer
from .lease import discard
from .model import hex_of
from .pack import pack
from .store import Image, Layer, Store
from .tarstream import Entry

#: So many differences of one layer are told; a directory that is gone has thousands.
_TOLD = 20
_SECOND_NS = 10**9


class Problem(Record):
    """One thing that is not as it should be: a part of the image, and what is wrong with it."""

    part: str
    what: str


def verify(store: Store, image: Image) -> Iterator[Problem]:
    """Yield what is wrong with an image; nothing when all of it is as its names say."""
    for digest, kind in ((image.descriptor.digest, "manifest"), (image.id, "config")):
        try:
            blobs.read_blob(image.root, digest)
        except ImageError as error:
            yield Problem(kind, error.message)
    with _workplace(store, image) as scratch:
        layers = {(layer.descriptor.digest, layer.diff_id): layer for layer in image.layers}
        for layer in layers.values():
            name = f"layer {layer.descriptor.digest[7:19]}"
            for what in _layer(image.root, layer, scratch):
                yield Problem(name, what)


@contextlib.contextmanager
def _workplace(store: Store, image: Image) -> Iterator[str]:
    """Yield a folder to unpack in, while nobody takes the image's parts away.

    From a read-only store nobody can; what is unpacked then goes where temporary files go.
    """
    if os.statvfs(store.root).f_flag & os.ST_RDONLY:
        with tempfile.TemporaryDirectory(prefix="minirun-") as scratch:
            yield scratch
        return
    with store.write() as writer:
        writer.claim(image)
        yield writer.scratch


def _layer(root: str, layer: Layer, scratch: str) -> Iterator[str]:
    """Unpack a layer's blob aside, digests and all, and compare the two directories."""
    used = os.path.join(root, "layers", hex_of(layer.diff_id), "diff")
    fresh = os.path.join(scratch, "verify")
    os.mkdir(fresh)
    os.chmod(fresh, 0o755)  # as the store's own, whatever the umask
    try:
        _unpack(root, layer, fresh)
        yield from _differences(_listing(fresh), _listing(used))
    except ImageError as error:
        yield error.message
    except FileNotFoundError:
        yield "is not unpacked"
    finally:
        discard(scratch, "verify")


def _unpack(root: str, layer: Layer, target: str) -> None:
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with blobs.open_blob(root, layer.descriptor.digest) as blob:
            unpack_layer(blob, fd, diff_id=layer.diff_id, digest=layer.descriptor.digest)
    finally:
        os.close(fd)


def _differences(fresh: dict[str, _Seen], used: dict[str, _Seen]) -> Iterator[str]:
    paths = [p for p in sorted(fresh.keys() | used.keys()) if fresh.get(p) != used.get(p)]
    for path in paths[:_TOLD]:
        if path not in used:
            yield f"/{path} is missing where it was unpacked"
        elif path not in fresh:
            yield f"/{path} is not part of the layer"
        else:
            yield f"/{path} was changed where it was unpacked"
    if len(paths) > _TOLD:
        yield f"and {len(paths) - _TOLD} more"


class _Seen(Record):
    """An entry and the digest of its data."""

    entry: Entry
    digest: bytes


class _Listing:
    """Takes entries as ``TarWriter`` does, and remembers them."""

    def __init__(self) -> None:
        self.seen: dict[str, _Seen] = {}

    def add(self, entry: Entry, data: Iterable[bytes | memoryview] = ()) -> None:
        """Remember one entry; layers have times in whole seconds."""
        digest = hashlib.sha256()
        for chunk in data:
            digest.update(chunk)
        whole = entry._replace(mtime_ns=entry.mtime_ns // _SECOND_NS)
        self.seen[entry.name] = _Seen(whole, digest.digest())


def _listing(directory: str) -> dict[str, _Seen]:
    listing = _Listing()
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        pack(fd, listing)
    finally:
        os.close(fd)
    return listing.seen
