"""Blobs by digest, and the index that gives images their names.

``blobs/sha256/<hex>``, ``index.json`` and ``oci-layout`` are an OCI image layout, so that skopeo
and others can read the store directly. An image has one entry in the index per
name, or one without.

See: image-spec image-layout.md. Next: ``store.py``.
"""

from __future__ import annotations

import contextlib
import os

from ..errors import ImageError
from ..record import Record
from . import model
from .locks import store_errors
from .model import Descriptor, Index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO, TypeVar

    R = TypeVar("R", bound=Record)

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_INDEX_LIMIT_BYTES = 256 << 20
_EMPTY = Index(2, (), model.OCI_INDEX)


def blob_path(root: str, digest: str) -> str:
    """Return where a blob is, or would be."""
    return os.path.join(root, "blobs", "sha256", model.hex_of(digest))


def open_blob(root: str, digest: str) -> BinaryIO:
    """Return a blob to read from.

    Raises:
        ImageError: the store does not have it.
    """
    try:
        return open(blob_path(root, digest), "rb", buffering=0)
    except FileNotFoundError:
        raise ImageError(
            f"image store {root} has no blob {digest}", hint="load or pull the image again"
        ) from None


def read_document(root: str, cls: type[R], digest: str) -> R:
    """Return a manifest, an index or a config, after comparing it with its digest."""
    return model.parse(cls, read_blob(root, digest), digest, model.CONFIG_LIMIT_BYTES)


def read_blob(root: str, digest: str) -> bytes:
    """Return a small blob whole; power loss may have cut it, so it is verified.

    Raises:
        ImageError: missing, damaged, or larger than a config may be.
    """
    import hashlib

    with store_errors(root), open_blob(root, digest) as file:
        data = file.read(model.CONFIG_LIMIT_BYTES + 1) or b""
    if len(data) > model.CONFIG_LIMIT_BYTES:
        raise ImageError(f"blob {digest} is larger than {model.CONFIG_LIMIT_BYTES} bytes")
    if hashlib.sha256(data).hexdigest() != model.hex_of(digest):
        raise ImageError(f"blob {digest} is damaged", hint="remove the image and load it again")
    return data


def read_index(root: str) -> Index:
    """Return the index; a store that does not exist yet is an empty one."""
    try:
        with store_errors(root), open(os.path.join(root, "index.json"), "rb") as file:
            raw = file.read(_INDEX_LIMIT_BYTES + 1)
    except ImageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return _EMPTY
        raise
    return model.parse(Index, raw, "index.json", _INDEX_LIMIT_BYTES)


def write_index(root: str, entries: tuple[Descriptor, ...]) -> None:
    """Replace the index, whole or not at all. Needs the store's lock, alone."""
    path = os.path.join(root, "index.json")
    part = f"{path}.part"  # under the lock there is one writer, so one name is enough
    with open(part, "wb") as file:
        file.write(model.dump(Index(2, entries, model.OCI_INDEX)))
        file.flush()
        os.fsync(file.fileno())
    os.rename(part, path)


@contextlib.contextmanager
def new_file(path: str) -> Iterator[int]:
    """Open a file that does not exist yet, and remove it if the block fails."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        yield fd
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(fd)
