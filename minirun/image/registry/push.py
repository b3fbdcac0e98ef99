"""An image from the store into a registry, byte for byte as it is.

Blobs that the registry has are not sent; those it has in a repository that we know of are mounted
from there. The manifest comes last: who can see it, can pull all of the image.

See: distribution-spec spec.md, Push. Next: ``login.py``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from ...errors import ImageError
from .. import blobs, reference
from ..arrival import Event, Interrupted
from ..locks import store_errors
from ..model import Descriptor
from ..parallel import Stop, in_parallel
from ..reference import Reference
from ..store import Image, Store
from . import endpoint as endpoints
from .remote import Access, access, transport_to
from .repository import Repository
from .upload import Upload, put_manifest

#: What ``seen`` is told about a blob of a push.
SENDING, SENT, MOUNTED, KNOWN = "sending", "sent", "mounted", "known"
_MAX_MOUNT_SOURCES = 3


def push(
    store: Store,
    image: Image,
    text: str,
    *,
    seen: Callable[[Event], None] | None = None,
    how: Access | None = None,
) -> Descriptor:
    """Store an image in a registry; returns its manifest's descriptor.

    Args:
        store: has the image.
        image: of the store.
        text: the name to give it there; its registry is where it goes.
        seen: is told what happens to each blob, from several threads.
        how: None takes the host's settings and the user's credentials.

    Raises:
        ImageError: not allowed, refused, or the registry cannot be reached. No tag there has
            changed.
    """
    target = reference.parse(store.name(text), "")
    if target.digest and target.digest != image.descriptor.digest:
        raise ImageError(
            f"image {text} cannot get the digest {target.digest}",
            hint=f"its manifest has {image.descriptor.digest}; push to a tag",
        )
    how = how or access()
    end = endpoints.of(target.domain, how.settings)
    sources = _sources(store, target, image)
    stop = Stop()
    with transport_to(end, how, stop=stop) as transport, store.write() as writer:
        writer.claim(image)
        others = {path for paths in sources.values() for path in paths}
        also = tuple(f"repository:{path}:pull" for path in sorted(others))
        repository = Repository(transport, target.path, "pull,push", also)
        _Push(repository, image, sources, seen or (lambda _: None), stop).run()
        raw = blobs.read_blob(store.root, image.descriptor.digest)
        name = target.tag or image.descriptor.digest
        put_manifest(repository, name, image.descriptor, raw)
    found = image.descriptor
    store.publish(found, (f"{target.name}@{found.digest}",), image.id)
    return Descriptor(found.media_type, found.digest, found.size)


class _Push:
    """The blobs of one push."""

    def __init__(
        self,
        repository: Repository,
        image: Image,
        sources: dict[str, list[str]],
        seen: Callable[[Event], None],
        stop: Stop,
    ) -> None:
        self._repository = repository
        self._image = image
        self._sources = sources
        self._seen = seen
        self._stop = stop

    def run(self) -> None:
        """Bring over what the registry lacks, the largest blob first."""
        manifest = self._image.manifest
        parts = {part.digest: part for part in (manifest.config, *manifest.layers)}
        in_parallel(self._bring, sorted(parts.values(), key=lambda p: -p.size), self._stop)

    def _bring(self, part: Descriptor) -> None:
        if self._repository.has_blob(part.digest):
            self._tell(part, KNOWN, part.size)
            return
        root = self._image.root
        with store_errors(root), contextlib.closing(blobs.open_blob(root, part.digest)) as file:
            if os.fstat(file.fileno()).st_size != part.size:
                raise ImageError(f"blob {part.digest} of the store is not {part.size} bytes long")
            upload = Upload(self._repository, part, file.fileno(), self._progress(part))
            mounted = upload.run(self._sources.get(part.digest, ()))
        self._tell(part, MOUNTED if mounted else SENT, part.size)

    def _progress(self, part: Descriptor) -> Callable[[int], None]:
        def report(sent: int) -> None:
            if self._stop.is_set():
                raise Interrupted("stopped")
            self._tell(part, SENDING, sent)

        return report

    def _tell(self, part: Descriptor, state: str, done: int) -> None:
        self._seen(Event(part.digest, state, done, part.size))


def _sources(store: Store, target: Reference, image: Image) -> dict[str, list[str]]:
    """Return, for each blob, the repositories of the same registry that should have it.

    An image with a digest for a name was pulled from there, or pushed: its blobs were there.
    """
    wanted = {part.digest for part in (image.manifest.config, *image.manifest.layers)}
    found: dict[str, list[str]] = {}
    for other in store.images():
        parsed = [reference.parse(name, "") for name in other.digests]
        paths = {r.path for r in parsed if r.domain == target.domain and r.path != target.path}
        for part in (other.manifest.config, *other.manifest.layers):
            known = found.setdefault(part.digest, [])
            if part.digest in wanted and len(known) < _MAX_MOUNT_SOURCES:
                known += sorted(paths - set(known))[: _MAX_MOUNT_SOURCES - len(known)]
    return {digest: paths for digest, paths in found.items() if paths}
