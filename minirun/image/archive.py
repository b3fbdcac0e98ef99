"""The tar of ``docker save``: in and out.

Its manifest.json lists, per image, a config and plain layer tars by path. Docker since 25 makes the
same tar an OCI layout as well; then the layout is read, because only it keeps digests. What we
write is both, so that docker, podman and skopeo of any age read it.

See: moby image/tarexport. Next: ``sniff.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar

from ..errors import ImageError
from ..record import Record, replace
from . import layout, model
from .blobs import open_blob
from .layers import layer_type
from .model import ImageConfig
from .source import Archive, open_archive, read_file
from .store import Image, Layer, Store
from .streams import MAGIC_BYTES, Readable
from .writer import Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .arrival import Event


class Item(Record):
    """One image of manifest.json."""

    __json__: ClassVar[Mapping[str, str]] = {
        "config": "Config",
        "repo_tags": "RepoTags",
        "layers": "Layers",
    }
    config: str
    repo_tags: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()


def load(
    store: Store,
    path: str,
    names: Sequence[str] = (),
    seen: Callable[[Event], None] | None = None,
) -> list[Image]:
    """Copy all images of an archive into the store.

    Args:
        store: where to.
        path: of the tar, compressed or not; ``/dev/stdin`` works.
        names: for the image, which must then be the only one; none takes the archive's own.
        seen: is told what happens to each layer, where the archive is a layout as well.
    """
    with store.write() as writer, open_archive(path, writer.scratch) as archive:
        if archive.has("oci-layout") and archive.has("index.json"):
            return layout.adopt_all(writer, archive, path, names, seen)
        if archive.is_empty:
            raise ImageError(f"{path} is empty", hint="did what should have written it fail?")
        if not archive.has("manifest.json"):
            raise ImageError(
                f"{path} is a tar archive, but not of images",
                hint="a tar of a root file system: unpack it into a directory and run that",
            )
        return _load_items(writer, archive, path, names)


def save(images: Iterable[Image], write: Callable[[bytes], object]) -> None:
    """Write images as an archive that ``docker load`` reads, to a function that takes bytes."""
    chosen = list(images)
    files = layout.files_of(chosen)
    items = [_item(image) for image in chosen]
    files["manifest.json"] = json.dumps(items, sort_keys=True, separators=(",", ":")).encode()
    layout.write_archive(files, write)


def _item(image: Image) -> dict[str, object]:
    """Return the entry of manifest.json; spelled out, since empty lists must be there too."""
    return {
        "Config": f"blobs/sha256/{model.hex_of(image.id)}",
        "RepoTags": list(image.familiar_names),
        "Layers": [f"blobs/sha256/{model.hex_of(d.digest)}" for d in image.manifest.layers],
    }


def _load_items(writer: Writer, archive: Archive, path: str, names: Sequence[str]) -> list[Image]:
    raw = read_file(archive, "manifest.json", model.MANIFEST_LIMIT_BYTES)
    items = model.parse_array(Item, raw, f"{path}: manifest.json")
    if not items:
        raise ImageError(f"{path} is an archive without images")
    if names and len(items) > 1:
        raise ImageError(f"{path} holds {len(items)} images: one name is not enough")
    return [_load_item(writer, archive, item, names or item.repo_tags) for item in items]


def _load_item(writer: Writer, archive: Archive, item: Item, names: Sequence[str]) -> Image:
    raw = read_file(archive, item.config, model.CONFIG_LIMIT_BYTES)
    config = model.parse(ImageConfig, raw, item.config, model.CONFIG_LIMIT_BYTES)
    diff_ids = config.rootfs.diff_ids
    if len(diff_ids) != len(item.layers):
        raise ImageError(
            f"{item.config} has {len(diff_ids)} layers, manifest.json {len(item.layers)}"
        )
    layers = []
    for member, diff_id in zip(item.layers, diff_ids, strict=True):
        with archive.file(member) as stream:
            layers.append(_load_layer(writer, stream, diff_id))
    return writer.write_config(raw, layers, names)


def _load_layer(writer: Writer, stream: Readable, diff_id: str) -> Layer:
    """Store and unpack one layer; manifest.json does not tell how it is compressed."""
    descriptor = writer.add_blob(stream, model.OCI_LAYER)
    with open_blob(writer.root, descriptor.digest) as blob:
        head = blob.read(MAGIC_BYTES)
    descriptor = replace(descriptor, media_type=layer_type(head))
    return writer.unpack(descriptor, diff_id)
