"""OCI image layouts, as a directory (``oci:``) and as a tar (``oci-archive:``): in and out.

Next: ``archive.py``, for the tars of ``docker save``.
See: image-spec image-layout.md.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..errors import ImageError
from ..record import Record, replace
from . import model, reference
from .blobs import LAYOUT, blob_path
from .locks import store_errors
from .model import Descriptor, Index
from .names import CONTAINERD_NAME, REF_NAME, annotated
from .source import Archive, Folder, Source, open_archive, read_file
from .store import Image, Store
from .streams import CHUNK, Hashing, Readable, chunks_of
from .tarheader import REGULAR
from .tarstream import Entry
from .tarwriter import TarWriter
from .writer import Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .arrival import Event

_MAX_NESTING = 4
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_TAG_ONLY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Stored(Record):
    """A file of the store, standing for its content."""

    path: str


def load(
    store: Store,
    path: str,
    names: Sequence[str] = (),
    seen: Callable[[Event], None] | None = None,
) -> list[Image]:
    """Copy all images of a layout into the store.

    Args:
        store: where to.
        path: a layout directory, or a tar of one.
        names: for the image, which must then be the only one; none takes the layout's own.
        seen: is told what happens to each layer, from several threads.
    """
    with store.write() as writer:
        if os.path.isdir(path):
            return adopt_all(writer, Folder(path), path, names, seen)
        with open_archive(path, writer.scratch) as archive:
            return adopt_all(writer, archive, path, names, seen)


def adopt_all(
    writer: Writer,
    source: Folder | Archive,
    path: str,
    names: Sequence[str],
    seen: Callable[[Event], None] | None = None,
) -> list[Image]:
    """Copy all images that an index names; see ``load``."""
    _check_version(source, path)
    raw = read_file(source, "index.json", model.MANIFEST_LIMIT_BYTES)
    entries = model.parse(Index, raw, f"{path}: index.json").manifests
    if not entries:
        raise ImageError(f"{path} is an image layout without images")
    if names and len({entry.digest for entry in entries}) > 1:
        raise ImageError(f"{path} holds {len(entries)} images: one name is not enough")
    images: dict[str, Image] = {}
    for entry in entries:
        given = names or _names_of(entry, path)
        image = writer.adopt(source, pick(source, entry), given, seen)
        images[image.id] = image
    return list(images.values())


def pick(source: Source, entry: Descriptor, depth: int = 0) -> Descriptor:
    """Return the manifest for this host: the entry itself, or the one that its index has.

    Raises:
        ImageError: there is none; names the platforms there are.
    """
    if entry.media_type not in model.INDEXES:
        return annotated(entry, entry.annotations)
    if depth == _MAX_NESTING:
        raise ImageError(f"index {entry.digest} is nested too deeply")
    with source.open(entry.digest) as stream:
        raw = _read_exactly(stream, entry)
    index = model.parse(Index, raw, entry.digest)
    here = host_architecture()
    for one in index.manifests:
        platform = one.platform
        if platform is None or (platform.os, platform.architecture) == ("linux", here):
            above = (entry.annotations, index.annotations, one.annotations)
            return pick(source, annotated(one, *above), depth + 1)
    offered = ", ".join(f"{p.os}/{p.architecture}" for c in index.manifests if (p := c.platform))
    raise ImageError(f"no image for linux/{here}", hint=f"there is one for: {offered or 'nothing'}")


def host_architecture() -> str:
    """Return this machine as Go and the OCI call it: ``amd64``, ``arm64``."""
    machine = os.uname().machine
    return _ARCHITECTURES.get(machine, machine)


def save(images: Iterable[Image], path: str) -> None:
    """Write images as a layout directory, which must not exist yet."""
    with store_errors(path):
        os.mkdir(path)
        for name, content in files_of(images).items():
            target = os.path.join(path, name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if isinstance(content, Stored):
                shutil.copyfile(content.path, target)
            else:
                with open(target, "wb") as file:
                    file.write(content)


def save_archive(images: Iterable[Image], write: Callable[[bytes], object]) -> None:
    """Write images as an OCI archive to a function that takes bytes."""
    write_archive(files_of(images), write)


def files_of(images: Iterable[Image]) -> dict[str, bytes | Stored]:
    """Return the files of a layout, by name."""
    files: dict[str, bytes | Stored] = {"oci-layout": LAYOUT}
    entries = []
    for image in images:
        entries += [_named(image.descriptor, name) for name in image.names or ("",)]
        layers = (layer.digest for layer in image.manifest.layers)
        for digest in (image.descriptor.digest, image.id, *layers):
            files[f"blobs/sha256/{model.hex_of(digest)}"] = Stored(blob_path(image.root, digest))
    files["index.json"] = model.dump(Index(2, tuple(entries), model.OCI_INDEX))
    return files


def write_archive(files: Mapping[str, bytes | Stored], write: Callable[[bytes], object]) -> None:
    """Write files as a tar whose bytes depend on nothing else."""
    tar = TarWriter(write)
    for name, content in sorted(files.items()):
        if isinstance(content, Stored):
            with store_errors(content.path), open(content.path, "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                tar.add(Entry(name, REGULAR, size=size), chunks_of(file))
        else:
            tar.add(Entry(name, REGULAR, size=len(content)), [content])
    tar.close()


def _named(descriptor: Descriptor, name: str) -> Descriptor:
    marks = {CONTAINERD_NAME: name, REF_NAME: name} if name else {}
    return replace(descriptor, annotations={**descriptor.annotations, **marks})


def _names_of(entry: Descriptor, path: str) -> tuple[str, ...]:
    """Return what a layout calls an image; skopeo and umoci give a tag only."""
    full = entry.annotations.get(CONTAINERD_NAME, "")
    name = full or entry.annotations.get(REF_NAME, "")
    if not full and _TAG_ONLY.fullmatch(name):
        stem = os.path.basename(os.path.abspath(path)).removesuffix(".tar").lower()
        name = f"{stem}:{name}"
    try:
        reference.parse(name)
        return (name,)  # the store completes it, by its own default registry
    except ImageError:
        return ()  # a layout may call its images what it likes; they are found by id


def _check_version(source: Folder | Archive, path: str) -> None:
    if not source.has("oci-layout"):
        hint = "it has no file oci-layout; a root file system is run as it is, or imported as a tar"
        raise ImageError(f"{path} is no OCI image layout", hint=hint)
    raw = read_file(source, "oci-layout", model.MANIFEST_LIMIT_BYTES)
    version = model.parse(_Layout, raw, f"{path}: oci-layout").image_layout_version
    if not version.startswith("1."):
        raise ImageError(f"{path} is an image layout of version {version!r}, not 1")


def _read_exactly(stream: Readable, entry: Descriptor) -> bytes:
    """Return an index, which nothing but its own digest vouches for."""
    hashing = Hashing(stream)
    raw = b""
    while data := hashing.read(CHUNK):
        raw += data
        if len(raw) > model.MANIFEST_LIMIT_BYTES:
            raise ImageError(f"index {entry.digest} is longer than an index may be")
    if hashing.digest != entry.digest:
        raise ImageError(f"index {entry.digest} is damaged: it hashes to {hashing.digest}")
    return raw


class _Layout(Record):
    """The file ``oci-layout``."""

    image_layout_version: str
