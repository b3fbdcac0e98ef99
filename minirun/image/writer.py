"""One operation that adds to the store: a load, a pull, a build, a commit.

    with store.write() as writer:
        layer = writer.add_layer_from_upper(upper)
        image = writer.write_image(config, [layer], ["app:latest"])

Nothing is visible before ``write_image``, ``write_config`` or ``adopt`` returns. Leaving the block
removes what was not finished; being killed leaves it to the next ``gc`` (see lease.py).

Next: ``layer_place.py``, where a layer appears; ``adopt.py``.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Set

from ..errors import ImageError
from ..record import replace
from . import blobs, layer_place, model
from .layers import pack_layer, unpack_layer
from .lease import Lease, discard
from .limits import Limits
from .locks import locked, store_errors
from .model import NO_ANNOTATIONS, Annotations, Descriptor, ImageConfig, Manifest, RootFs
from .names import annotated
from .owners import UNMAPPED, Owners
from .source import Source
from .store import Image, Layer, Store
from .streams import CHUNK, Hashing, Readable
from .unpack import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .arrival import Event
    from .parallel import Stop


class Writer:
    """Adds blobs, layers and images. Made by ``Store.write``."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self.root = store.root
        self._limits = limits
        with store_errors(store.root):
            self._lease = Lease(store.root)

    def __enter__(self) -> Writer:
        """Return the writer; its lease ends with the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give up the lease, and remove what was not finished."""
        self._lease.release()

    @property
    def scratch(self) -> str:
        """A folder of this operation, on the store's file system; removed at its end."""
        return self._lease.scratch

    def claim(self, image: Image) -> None:
        """Keep an image's parts from being collected while this operation lasts."""
        parts = [image.descriptor.digest, image.id, *image.config.rootfs.diff_ids]
        self._lease.claim([*parts, *(layer.digest for layer in image.manifest.layers)])

    # ── blobs ─────────────────────────────────────────────────────────────────────────────────

    def add_blob(
        self, stream: Readable, media_type: str, *, digest: str = "", size: int = -1
    ) -> Descriptor:
        """Store a stream.

        Args:
            stream: read to its end.
            media_type: for the descriptor.
            digest: what it must hash to; "" accepts any.
            size: how long it must be, in bytes; -1 accepts any.

        Raises:
            ImageError: it is not what it should be, or the disk is full; nothing is stored then.
        """
        part = os.path.join(self.scratch, os.urandom(8).hex())
        hashing = Hashing(stream)
        with store_errors(self.root), blobs.new_file(part) as fd:
            while data := hashing.read(CHUNK):
                if 0 <= size < hashing.size:
                    break
                write_all(fd, data)
            if size not in (-1, hashing.size):
                raise ImageError(f"blob {digest} is not the {size} bytes it should be")
            if digest and hashing.digest != digest:
                raise ImageError(f"blob {digest} is damaged: it hashes to {hashing.digest}")
            self._lease.claim([hashing.digest])
            os.rename(part, blobs.blob_path(self.root, hashing.digest))
        return Descriptor(media_type, hashing.digest, hashing.size)

    def add_bytes(self, data: bytes, media_type: str) -> Descriptor:
        """Store a document."""
        return self.add_blob(io.BytesIO(data), media_type)

    def has_blob(self, digest: str) -> bool:
        """Return True where the blob is there, and stays as long as this operation lasts."""
        self._lease.claim([digest])
        return os.path.exists(blobs.blob_path(self.root, digest))

    # ── layers ────────────────────────────────────────────────────────────────────────────────

    def has_layer(self, diff_id: str) -> bool:
        """Return True where the layer is unpacked, and stays as long as this operation lasts."""
        self._lease.claim([diff_id])
        return os.path.isdir(layer_place.path_of(self.root, diff_id))

    def unpack(self, descriptor: Descriptor, diff_id: str) -> Layer:
        """Unpack a blob of the store, unless some image has the same layer already.

        Of several processes that want the same layer one does the work; the others wait for it.
        """
        with store_errors(self.root), self._layer_lock(diff_id):
            if not self.has_layer(diff_id):
                with blobs.open_blob(self.root, descriptor.digest) as blob:
                    self.unpack_stream(blob, diff_id)
        return Layer(diff_id, descriptor)

    def unpack_stream(self, blob: Readable, diff_id: str) -> None:
        """Unpack a layer that is not there yet. Needs its lock; see ``adopt.py``."""
        part, diff = layer_place.begin(self.scratch)
        fd = os.open(diff, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _, found = unpack_layer(blob, fd, diff_id=diff_id, limits=self._limits)
        finally:
            os.close(fd)
        layer_place.finish(self.root, part, diff_id, found.size_bytes)

    def add_layer_from_upper(
        self, upper: str, *, clamp_s: int | None = None, compress: bool = True
    ) -> Layer:
        """Make a layer of an overlay upper directory, and take the directory over.

        With a clamp the blob is unpacked again instead: the next build step must see the times
        that everybody else will see.

        Args:
            upper: below ``scratch``, or anywhere on the store's file system; not mounted any more.
            clamp_s: no file is younger than this (SOURCE_DATE_EPOCH).
            compress: see ``layers.pack_layer``.
        """
        layer, size_bytes = self._pack(upper, clamp_s, compress=compress)
        with store_errors(self.root), self._layer_lock(layer.diff_id):
            if clamp_s is None and not self.has_layer(layer.diff_id):
                part, diff = layer_place.begin(self.scratch)
                os.rmdir(diff)
                os.rename(upper, diff)
                layer_place.finish(self.root, part, layer.diff_id, size_bytes)
        with store_errors(self.root):
            discard(os.path.dirname(upper), os.path.basename(upper))
        return self.unpack(layer.descriptor, layer.diff_id)

    def add_layer_from_dir(
        self,
        path: str,
        *,
        clamp_s: int | None = None,
        compress: bool = True,
        owners: Owners = UNMAPPED,
        skip: Set[str] = frozenset(),
    ) -> Layer:
        """Make a layer of a copy of a directory; the directory stays as it is.

        Args:
            path: an overlay upper directory, which may be mounted, or any other.
            clamp_s: no file is younger than this (SOURCE_DATE_EPOCH).
            compress: see ``layers.pack_layer``.
            owners: see ``pack.pack``.
            skip: see ``pack.pack``.
        """
        layer, _ = self._pack(path, clamp_s, compress=compress, owners=owners, skip=skip)
        return self.unpack(layer.descriptor, layer.diff_id)

    # ── images ────────────────────────────────────────────────────────────────────────────────

    def write_image(
        self,
        config: ImageConfig,
        layers: Sequence[Layer],
        names: Iterable[str] = (),
        notes: Annotations = NO_ANNOTATIONS,
    ) -> Image:
        """Make an image of a config and layers of the store; ``rootfs`` is filled in here.

        Args:
            config: what its containers run; its history has one entry per step.
            layers: lowest first.
            names: as a person types them; none makes an image that only its id leads to.
            notes: annotations.
        """
        diff_ids = tuple(layer.diff_id for layer in layers)
        raw = model.dump(replace(config, rootfs=RootFs("layers", diff_ids)))
        return self.write_config(raw, layers, names, notes)

    def write_config(
        self,
        raw: bytes,
        layers: Sequence[Layer],
        names: Iterable[str] = (),
        notes: Annotations = NO_ANNOTATIONS,
    ) -> Image:
        """Make an image of a config whose bytes, and so the image's id, must not change."""
        config = model.parse(ImageConfig, raw, "image config", model.CONFIG_LIMIT_BYTES)
        if config.rootfs.diff_ids != tuple(layer.diff_id for layer in layers):
            raise ImageError("image config: $.rootfs.diff_ids does not name the layers given")
        stored = self.add_bytes(raw, model.OCI_CONFIG)
        parts = tuple(layer.descriptor for layer in layers)
        manifest = Manifest(2, stored, parts, model.OCI_MANIFEST, notes.manifest)
        described = self.add_bytes(model.dump(manifest), model.OCI_MANIFEST)
        return self._publish(annotated(described, notes.descriptor), names, stored.digest)

    def adopt(
        self,
        source: Source,
        descriptor: Descriptor,
        names: Iterable[str] = (),
        seen: Callable[[Event], None] | None = None,
        stop: Stop | None = None,
    ) -> Image:
        """Copy an image from elsewhere, byte for byte, and unpack it while it arrives.

        Args:
            source: has the manifest and all it names.
            descriptor: of a manifest; of an index, pick one first (``layout.pick``).
            names: as a person types them.
            seen: is told what happens to the layers, from several threads.
            stop: is set when a layer fails, for a source that waits for something.
        """
        from .adopt import Adoption

        image_id = Adoption(self, source, seen, stop).run(descriptor)
        return self._publish(descriptor, names, image_id)

    def _publish(self, descriptor: Descriptor, names: Iterable[str], image_id: str) -> Image:
        return self._store.publish(descriptor, [self._store.name(n) for n in names], image_id)

    # ── pieces of a layer ─────────────────────────────────────────────────────────────────────

    def _pack(
        self,
        path: str,
        clamp_s: int | None,
        *,
        compress: bool,
        owners: Owners = UNMAPPED,
        skip: Set[str] = frozenset(),
    ) -> tuple[Layer, int]:
        """Return the layer whose blob is stored now, and the bytes of its files."""
        part = os.path.join(self.scratch, os.urandom(8).hex())
        with store_errors(self.root), blobs.new_file(part) as out:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                packed = pack_layer(
                    fd, out, clamp_s=clamp_s, compress=compress, owners=owners, skip=skip
                )
            finally:
                os.close(fd)
            self._lease.claim([packed.digest])
            os.rename(part, blobs.blob_path(self.root, packed.digest))
        descriptor = Descriptor(packed.media_type, packed.digest, packed.size)
        return Layer(packed.diff_id, descriptor), packed.content_size

    @contextlib.contextmanager
    def _layer_lock(self, diff_id: str) -> Iterator[None]:
        """Hold the right to make one layer: of several processes one works, the others wait."""
        path = layer_place.lock_of(self.root, diff_id)
        with locked(path):
            yield
            os.unlink(path)  # after an error or kill -9 the next collection does it
