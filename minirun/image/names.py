"""Which image has which names, as values: the entries of the index, regrouped and changed.

An image has one entry in the index per name. One that lost its last name to another keeps a single
entry without any, until it is removed: Docker calls it dangling.

May not import anything with an effect. Next: ``store.py``, which writes the result.
"""

from __future__ import annotations

from ..errors import ImageError
from ..record import Record, replace
from .model import Descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

REF_NAME = "org.opencontainers.image.ref.name"
#: Where containerd, and Docker since 25, put the full name.
CONTAINERD_NAME = "io.containerd.image.name"
IMAGE_ID = "minirun.image-id"
_OURS = frozenset({REF_NAME, CONTAINERD_NAME, IMAGE_ID})
#: All annotations of one entry: each name repeats them in the index, which is read at every start.
_ANNOTATIONS_LIMIT = 1 << 16


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
        bare = replace(entry, annotations=_without_marks(entry.annotations))
        groups[image_id] = Named(bare, (*before, name) if name else before)
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


def annotated(descriptor: Descriptor, *found: Mapping[str, str]) -> Descriptor:
    """Return a descriptor with all that indexes say about it; the last one wins.

    Names and ids among them are for us to give, and left out.

    Raises:
        ImageError: they are longer than annotations need to be.
    """
    notes: dict[str, str] = {}
    for one in found:
        notes |= _without_marks(one)
    length = sum(len(key) + len(value) for key, value in notes.items())
    if length > _ANNOTATIONS_LIMIT:
        problem = f"{length} characters of annotations are more than {_ANNOTATIONS_LIMIT}"
        raise ImageError(f"index entry {descriptor.digest}: {problem}")
    return replace(descriptor, annotations=notes)


def _without_marks(annotations: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in annotations.items() if key not in _OURS}


def _entry(descriptor: Descriptor, name: str, image_id: str) -> Descriptor:
    marks = {IMAGE_ID: image_id, **({REF_NAME: name} if name else {})}
    notes = {**_without_marks(descriptor.annotations), **marks}
    return replace(descriptor, annotations=notes)
