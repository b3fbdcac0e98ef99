"""The images of this host: names, configs, and layers ready to be mounted.

    <root>/                     /var/lib/minirun, or MINIRUN_DATA
      version                   which form this has, see store_version.py
      index.json  oci-layout    names → manifests; with blobs/, an OCI image layout
      blobs/sha256/<hex>        manifests, configs, layers as they came
      layers/<hex>/diff/        a layer unpacked, by diff_id: shared by all images that have it
      layers/<hex>/layer.json   its size
      l/<26 characters>         symbolic link to a diff: mount(2) takes one page of options
      leases/  tmp/  locks/     what is being worked on, see lease.py
      partial/<hex>             blobs that have not arrived whole, see arrival.py
      signatures/<hex>          of an image, by its manifest's digest, see signature.py
      lock                      held alone to change the index or to collect garbage

A thing is visible once a rename has put it in its place, complete; kill -9 at any point leaves only
files in ``tmp`` that the next ``gc`` takes away. Reading needs no lock.

Next: ``writer.py``, the only way to add something.
"""

from __future__ import annotations

import contextlib
import os

from ..errors import ImageError
from . import blobs, names, reference, store_version
from .blobs import read_document, read_index, write_index
from .locks import locked, store_errors
from .model import Descriptor, History, ImageConfig, Manifest
from .stored import HistoryRow, Image, Layer, Removal, link_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .gc import Freed, Usage
    from .limits import Limits
    from .names import Named
    from .writer import Writer

__all__ = ["DEFAULT_ROOT", "HistoryRow", "Image", "Layer", "Removal", "Store", "link_of"]

DEFAULT_ROOT = "/var/lib/minirun"
_HEX = frozenset("0123456789abcdef")
_ID_LENGTH = 64


class NoSuchImage(ImageError):
    """The store does not have it; ``near`` is True where the hint names what it has instead."""

    def __init__(self, message: str, *, hint: str = "", near: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.near = near


class Store:
    """The image store below one directory.

    Args:
        root: "" takes MINIRUN_DATA, else /var/lib/minirun. Made when something is written first.
        default_registry: for names without one; "" leaves them without.
    """

    def __init__(self, root: str = "", default_registry: str = reference.DEFAULT_REGISTRY) -> None:
        self.root = os.path.abspath(root or os.environ.get("MINIRUN_DATA") or DEFAULT_ROOT)
        self._registry = default_registry

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    def images(self) -> list[Image]:
        """Return all images, the youngest first."""
        found = []
        for image_id, named in self._groups().items():
            with self._unless_removed(image_id):
                found.append(self._image(image_id, named, named.descriptor()))
        return sorted(found, key=lambda image: image.config.created, reverse=True)

    def resolve(self, text: str) -> Image:
        """Return the image that a name, a digest, an id or the beginning of an id stands for.

        Raises:
            ImageError: there is none, or several; the hint names what comes close.
        """
        groups = self._groups()
        image_id = self._find(text, groups)
        with self._unless_removed(image_id):
            named = groups[image_id]
            descriptor = named.descriptor(self.name(text) if _may_be_name(text) else "")
            return self._image(image_id, named, descriptor)
        raise _not_found(text, self._groups())

    def stamp(self) -> tuple[int, ...]:
        """Return what is another after each change of names or images; () where there are none."""
        try:
            index = os.stat(os.path.join(self.root, "index.json"))
        except FileNotFoundError:
            return ()
        return index.st_ino, index.st_mtime_ns, index.st_size

    def name(self, text: str) -> str:
        """Return the full name for what a person typed."""
        return str(reference.parse(text, self._registry))

    def history(self, image: Image) -> list[HistoryRow]:
        """Return how the image came to be, newest first; steps without a layer have None."""
        layers = iter(image.layers)
        entries = image.config.history or tuple(History() for _ in image.layers)
        rows = [HistoryRow(e, None if e.empty_layer else next(layers, None)) for e in entries]
        return rows[::-1]

    def df(self) -> Usage:
        """Return what the store takes on the disk."""
        from .gc import usage

        return usage(self.root)

    # ── names ─────────────────────────────────────────────────────────────────────────────────

    def tag(self, image: Image, name: str) -> str:
        """Give an image one more name, taking it away from the one that had it."""
        full = self.name(name)
        with self._changing():
            groups = names.group(read_index(self.root).manifests)
            if image.id not in groups:  # it was removed since, and may be without its parts
                raise _not_found(image.id[7:19], groups)
            entries = names.ungroup(names.put(groups, image.id, image.descriptor, (full,)))
            write_index(self.root, entries)
        return full

    def remove(
        self,
        text: str,
        *,
        force: bool = False,
        used_by: Callable[[str], Sequence[str]] = lambda _: (),
    ) -> list[Removal]:
        """Take a name away, and with the last one the image. ``gc`` frees the space afterwards.

        It works without the image's blobs, so that a damaged image can be removed.

        Args:
            text: a name takes away that name; an id all names, of which there may be one.
            force: also several names by id, and also an image that containers use. What they use
                of it stays on the disk as long as ``gc`` is told.
            used_by: returns the containers of an image, whose id it is given.
        """
        with self._changing():
            groups = names.group(read_index(self.root).manifests)
            image_id = self._find(text, groups)
            gone = self._names_to_take(text, image_id, groups[image_id].names, force=force)
            left = names.take(groups, image_id, gone)
            if image_id not in left and not force and (users := used_by(image_id)):
                raise ImageError(
                    f"image {text} is used by {', '.join(users)}",
                    hint="remove the container first, or force",
                )
            write_index(self.root, names.ungroup(left))
        untagged = [Removal("Untagged", name) for name in gone]
        return untagged if image_id in left else [*untagged, Removal("Deleted", image_id)]

    def _names_to_take(
        self, text: str, image_id: str, held: Sequence[str], *, force: bool
    ) -> tuple[str, ...]:
        tags = [name for name in held if "@" not in name]
        by_id = image_id.startswith(f"sha256:{text.removeprefix('sha256:')}")
        is_long = len(text) >= _ID_LENGTH  # such a text is no legal name, so never one of these
        full = "" if is_long and by_id else self.name(text)
        if full in held or not by_id:
            return tuple(held) if tags == [full] else (full,)  # a digest alone keeps no image
        if len(tags) > 1 and not force:
            familiar = ", ".join(sorted(reference.parse(name, "").familiar for name in tags))
            raise ImageError(
                f"image {text} has several names: {familiar}",
                hint="remove them by name, or force",
            )
        return tuple(held)

    # ── writing ───────────────────────────────────────────────────────────────────────────────

    def write(self, limits: Limits | None = None) -> Writer:
        """Return a writer for one operation; use it in a ``with`` block.

        Args:
            limits: what a layer may hold; None takes the host's.
        """
        from .limits import host_limits
        from .writer import Writer

        self.prepare()
        return Writer(self, limits or host_limits())

    def publish(self, descriptor: Descriptor, new_names: Iterable[str], image_id: str) -> Image:
        """Make a complete image visible. For ``writer.py``: all its parts must be in place."""
        with self._changing():
            groups = names.group(read_index(self.root).manifests)
            entries = names.ungroup(names.put(groups, image_id, descriptor, new_names))
            write_index(self.root, entries)
        return self._image(image_id, names.group(entries)[image_id], descriptor)

    def gc(self, in_use: Callable[[], Iterable[str]] = tuple) -> Freed:
        """Remove what no image, no running operation and no container needs.

        Args:
            in_use: returns the digests that containers need: their images' ids and diff_ids. It
                is asked under the store's lock: who has made a container by then is safe.
        """
        from .gc import collect

        self.prepare()
        with store_errors(self.root):
            return collect(self.root, in_use)

    def prepare(self) -> None:
        """Make the store, or bring one of an earlier version up to the present one, if need be."""
        with store_errors(self.root):
            if store_version.check(self.root) == store_version.VERSION:
                return
            os.makedirs(self.root, 0o711, exist_ok=True)
            with locked(os.path.join(self.root, "lock")):
                part = os.path.join(self.root, "oci-layout.part")
                with open(part, "wb") as file:
                    file.write(blobs.LAYOUT)
                os.rename(part, os.path.join(self.root, "oci-layout"))
                store_version.migrate(self.root)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the store's lock alone."""
        self.prepare()
        with store_errors(self.root), locked(os.path.join(self.root, "lock")):
            yield

    def _groups(self) -> dict[str, Named]:
        store_version.check(self.root)
        return names.group(read_index(self.root).manifests)

    @contextlib.contextmanager
    def _unless_removed(self, image_id: str) -> Iterator[None]:
        """Pass over an image whose parts are missing because somebody has just removed it."""
        try:
            yield
        except ImageError:
            if image_id in self._groups():
                raise

    def _image(self, image_id: str, named: Named, descriptor: Descriptor) -> Image:
        return Image(
            image_id,
            tuple(sorted(name for name in named.names if "@" not in name)),
            tuple(sorted(name for name in named.names if "@" in name)),
            descriptor,
            read_document(self.root, Manifest, descriptor.digest),
            read_document(self.root, ImageConfig, image_id),
            self.root,
        )

    def _find(self, text: str, groups: dict[str, Named]) -> str:
        """Return the id for a name or an id: a name wins, as with Docker."""
        prefix = text.removeprefix("sha256:")
        if _may_be_name(text) and (image_id := names.find(groups, self.name(text))):
            return image_id
        if prefix and _HEX.issuperset(prefix):
            ids = [i for i in groups if i.startswith(f"sha256:{prefix}")]
            if len(ids) > 1:
                raise ImageError(f"{text} is the beginning of {len(ids)} image ids")
            if ids:
                return ids[0]
        raise _not_found(text, groups)


def _may_be_name(text: str) -> bool:
    """Return False for what can only be an id: it would not be a legal name."""
    return not text.startswith("sha256:") and len(text) != _ID_LENGTH


def _not_found(text: str, groups: dict[str, Named]) -> NoSuchImage:
    import difflib

    known = [reference.parse(n, "").familiar for named in groups.values() for n in named.names]
    close = difflib.get_close_matches(text, known, 3)
    hint = f"did you mean {' or '.join(close)}" if close else "see: minirun images"
    return NoSuchImage(f"no such image: {text}", hint=hint, near=bool(close))
