"""An image from elsewhere, copied byte for byte: all layers at once, each unpacked as it arrives.

The blob that is fetched is verified by its digest, and what comes out of it by its diff_id, before
the layer is put in its place. The first failure stops the other layers.

See: ``Writer.adopt``. Next: ``gc.py``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from ..errors import ImageError
from . import blobs, model
from .arrival import FETCHED, PRESENT, UNPACKED, Arrival, Damaged, Event, wait_for
from .layer_place import lock_of
from .locks import store_errors
from .model import Descriptor, ImageConfig, Manifest
from .parallel import Stop, in_parallel
from .source import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .writer import Writer


class Adoption:
    """Brings the parts of one image into the store; the caller gives it names.

    Args:
        writer: of the store.
        source: has the manifest and all it names.
        seen: is told what happens, from several threads.
        stop: is set when a layer fails; the source's waits end with it.
    """

    def __init__(
        self,
        writer: Writer,
        source: Source,
        seen: Callable[[Event], None] | None = None,
        stop: Stop | None = None,
    ) -> None:
        self._writer = writer
        self._root = writer.root
        self._source = source
        self._seen = seen or (lambda _: None)
        self._stop = stop or Stop()

    def run(self, descriptor: Descriptor) -> str:
        """Fetch and unpack; returns the image's id."""
        raw = self._document(descriptor, model.MANIFEST_LIMIT_BYTES)
        manifest = model.parse(Manifest, raw, descriptor.digest)
        raw = self._document(manifest.config, model.CONFIG_LIMIT_BYTES)
        config = model.parse(ImageConfig, raw, manifest.config.digest, model.CONFIG_LIMIT_BYTES)
        diff_ids = config.rootfs.diff_ids
        if len(diff_ids) != len(manifest.layers):
            raise ImageError(
                f"image {descriptor.digest} has {len(manifest.layers)} layers, its config"
                f" {len(diff_ids)}"
            )
        # The same layer may occur twice, also in two compressions.
        pairs = zip(manifest.layers, diff_ids, strict=True)
        jobs = {(layer.digest, diff_id): (layer, diff_id) for layer, diff_id in pairs}
        # The largest first: the one that takes longest must not be the one that starts last.
        largest_first = sorted(jobs.values(), key=lambda job: -job[0].size)
        in_parallel(lambda job: self._take_layer(*job), largest_first, self._stop)
        return manifest.config.digest

    def _document(self, descriptor: Descriptor, limit_bytes: int) -> bytes:
        """Copy a manifest or a config into the store and return it."""
        digest, size = descriptor.digest, descriptor.size
        if size > limit_bytes:
            raise ImageError(f"document {digest} of {size} bytes is too long")
        if not self._writer.has_blob(digest):
            with self._source.open(digest, 0) as stream:
                self._writer.add_blob(stream, descriptor.media_type, digest=digest, size=size)
        return blobs.read_blob(self._root, digest)

    def _take_layer(self, layer: Descriptor, diff_id: str) -> None:
        """Bring one layer; again from the start, where an earlier attempt left a bad part."""
        try:
            self._take_layer_once(layer, diff_id)
        except Damaged as error:
            if not error.resumed:
                raise
            self._take_layer_once(layer, diff_id)

    def _take_layer_once(self, layer: Descriptor, diff_id: str) -> None:
        with store_errors(self._root), self._layer_lock(diff_id):
            has_blob = self._writer.has_blob(layer.digest)
            has_layer = self._writer.has_layer(diff_id)
            if has_blob and has_layer:
                self._tell(layer, PRESENT)
            elif has_layer:
                with self._arrival(layer) as arrival:
                    arrival.wait()
            elif has_blob:
                with blobs.open_blob(self._root, layer.digest) as blob:
                    self._writer.unpack_stream(blob, diff_id)
                self._tell(layer, UNPACKED)
            else:
                with self._arrival(layer) as arrival:
                    self._writer.unpack_stream(arrival, diff_id)
                self._tell(layer, UNPACKED)

    @contextlib.contextmanager
    def _arrival(self, layer: Descriptor) -> Iterator[Arrival]:
        with Arrival(self._root, self._source, layer, self._stop, self._seen) as arrival:
            yield arrival
        self._tell(layer, FETCHED)

    @contextlib.contextmanager
    def _layer_lock(self, diff_id: str) -> Iterator[None]:
        """Hold the right to make one layer: of several processes one works, the others wait."""
        path = lock_of(self._root, diff_id)
        fd = wait_for(path, self._stop)
        try:
            yield
            os.unlink(path)  # after an error or kill -9 the next collection does it
        finally:
            os.close(fd)

    def _tell(self, layer: Descriptor, state: str) -> None:
        self._seen(Event(layer.digest, state, layer.size, layer.size))
