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
    """The names that lead to an image, each with the manifest it stands for.

    Two manifests of one image differ in annotations, or in how the layers are compressed.

    Args:
        manifests: by name, the one put last at the end; the name "" where an image has no other.
            A name with ``@`` has a digest.
    """

    manifests: Mapping[str, Descriptor]

    @property
    def names(self) -> tuple[str, ...]:
        """All names; empty for an image without one."""
        return tuple(name for name in self.manifests if name)

    def descriptor(self, name: str = "") -> Descriptor:
        """Return the manifest of a name; of the image, where it is called by its id."""
        return self.manifests.get(name) or [*self.manifests.values()][-1]


def group(entries: Iterable[Descriptor]) -> dict[str, Named]:
    """Return {image id: Named}, in the order of the index."""
    groups: dict[str, dict[str, Descriptor]] = {}
    for entry in entries:
        image_id = entry.annotations.get(IMAGE_ID, entry.digest)
        bare = replace(entry, annotations=_without_marks(entry.annotations))
        groups.setdefault(image_id, {})[entry.annotations.get(REF_NAME, "")] = bare
    return {image_id: Named(manifests) for image_id, manifests in groups.items()}


def ungroup(groups: dict[str, Named]) -> tuple[Descriptor, ...]:
    """Return the entries again."""
    return tuple(
        _entry(descriptor, name, image_id)
        for image_id, named in groups.items()
        for name, descriptor in named.manifests.items()
    )


def put(
    groups: dict[str, Named], image_id: str, descriptor: Descriptor, names: Iterable[str]
) -> dict[str, Named]:
    """Give names to an image, taking them away from whoever had them.

    Names that the image has already go on to stand for the manifest they stood for.
    """
    new = dict.fromkeys(names, descriptor)
    left = {other: Named(_without(named, new)) for other, named in groups.items()}
    before = _without(groups[image_id], new) if image_id in groups else {"": descriptor}
    kept = {name: one for name, one in before.items() if name or not new}
    return {**left, image_id: Named({**kept, **new})}


def _without(named: Named, gone: Iterable[str]) -> dict[str, Descriptor]:
    """Return the manifests of the names that are left; an image without names stays."""
    left = {name: one for name, one in named.manifests.items() if name not in set(gone)}
    return left or {"": named.descriptor()}


def take(groups: dict[str, Named], image_id: str, names: Iterable[str]) -> dict[str, Named]:
    """Take names away from an image, and the image itself with its last one."""
    left = _without(groups[image_id], names)
    rest = {other: named for other, named in groups.items() if other != image_id}
    return rest if "" in left else {**rest, image_id: Named(left)}


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
