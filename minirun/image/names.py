"""Which image has which names, as values: the entries of the index, regrouped and changed.

An image has one entry in the index per name. One that lost its last name to another keeps a single
entry without any, until it is removed: Docker calls it dangling.

May not import anything with an effect. Next: ``store.py``, which writes the result.
"""

from __future__ import annotations

from ..record import Record
from .model import Descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_ID = "minirun.image-id"


class Named(Record):
    """The manifest of an image, and the names that lead to it; with ``@`` they have a digest."""

    descriptor: Descriptor
    names: tuple[str, ...]


def group(entries: Iterable[Descriptor]) -> dict[str, Named]:
    """Return {image id: Named}, in the order of the index."""
    groups: dict[str, Named] = {}
    for entry in entries:
        name = entry.annotations.get(REF_NAME, "")
        image_id = entry.annotations.get(IMAGE_ID, entry.digest)
        before = groups[image_id].names if image_id in groups else ()
        groups[image_id] = Named(entry, (*before, name) if name else before)
    return groups


def ungroup(groups: dict[str, Named]) -> tuple[Descriptor, ...]:
    """Return the entries again."""
    return tuple(
        _entry(named.descriptor, name, image_id)
        for image_id, named in groups.items()
        for name in named.names or ("",)
    )


def put(
    groups: dict[str, Named], image_id: str, descriptor: Descriptor, names: Iterable[str]
) -> dict[str, Named]:
    """Give names to an image, taking them away from whoever had them."""
    new = tuple(names)
    left = {
        other: Named(named.descriptor, tuple(n for n in named.names if n not in new))
        for other, named in groups.items()
    }
    before = left[image_id].names if image_id in left else ()
    return {**left, image_id: Named(descriptor, tuple(dict.fromkeys((*before, *new))))}


def take(groups: dict[str, Named], image_id: str, names: Iterable[str]) -> dict[str, Named]:
    """Take names away from an image, and the image itself with its last one."""
    gone = set(names)
    named = groups[image_id]
    left = tuple(name for name in named.names if name not in gone)
    rest = {other: named for other, named in groups.items() if other != image_id}
    return {**rest, image_id: Named(named.descriptor, left)} if left else rest


def find(groups: dict[str, Named], full_name: str) -> str:
    """Return the id of the image with this name, or ""."""
    return next((i for i, named in groups.items() if full_name in named.names), "")


def _entry(descriptor: Descriptor, name: str, image_id: str) -> Descriptor:
    notes = {IMAGE_ID: image_id, **({REF_NAME: name} if name else {})}
    return Descriptor(
        descriptor.media_type, descriptor.digest, descriptor.size, descriptor.platform, notes
    )
