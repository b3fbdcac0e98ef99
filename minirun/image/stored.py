"""What the store tells about an image, as values.

Next: ``store.py``, which finds them.
"""

from __future__ import annotations

from ..record import Record
from . import reference
from .model import Descriptor, History, ImageConfig, Manifest, hex_of


class Layer(Record):
    """A layer of an image: its content (diff_id) and the blob it came in."""

    diff_id: str
    descriptor: Descriptor


class Image(Record):
    """An image of the store.

    Args:
        id: digest of the config, as Docker's.
        names: full names with a tag; empty for one that lost its name.
        digests: full names with a digest, as in ``docker.io/library/app@sha256:…``.
        descriptor: of the manifest.
        root: of the store.
    """

    id: str
    names: tuple[str, ...]
    digests: tuple[str, ...]
    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig
    root: str

    @property
    def familiar_names(self) -> tuple[str, ...]:
        """The names as a person would type them."""
        return tuple(reference.parse(name, "").familiar for name in self.names)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, lowest first."""
        pairs = zip(self.config.rootfs.diff_ids, self.manifest.layers, strict=True)
        return tuple(Layer(diff_id, descriptor) for diff_id, descriptor in pairs)

    def lower_dirs(self, *, relative: bool = False) -> tuple[str, ...]:
        """Return the directories for overlayfs' ``lowerdir``, newest first.

        A layer that occurs twice is given once: the kernel refuses it (ELOOP), and its newest
        occurrence hides all of the older one. An image without layers has one empty directory.

        Args:
            relative: to the store's root, for a caller that mounts from there: 29 characters each.
        """
        base = "" if relative else f"{self.root}/"
        newest_first = dict.fromkeys(reversed(self.config.rootfs.diff_ids))
        return tuple(base + link_of(diff_id) for diff_id in newest_first) or (f"{base}l/empty",)


class HistoryRow(Record):
    """One line of ``minirun history``, newest first."""

    entry: History
    layer: Layer | None


class Removal(Record):
    """What ``remove`` did: ``Untagged`` a name, or ``Deleted`` an image id."""

    kind: str
    what: str


def link_of(diff_id: str) -> str:
    """Return the short way to a layer's directory, relative to the root: 130 bits of its name."""
    import base64

    name = base64.b32encode(bytes.fromhex(hex_of(diff_id))).decode().lower()
    return f"l/{name[:26]}"
