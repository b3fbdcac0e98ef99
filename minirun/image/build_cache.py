"""Which layer a step made before, found by what went into it.

The key of a step is a digest of everything that can change its result: the layers below, the
command or the content of the copied files, and what the command sees of the environment. What
cannot change it (labels, CMD, dates of files, the host's proxies) is left out, so changing those
repeats nothing. An entry is one small file; whether its layer still is in the store is looked up
each time, so a collected layer is just a step to do again.

    <store>/buildcache/<hex of the key>     {"diff_id": …, "digest": …, "created": …}

Next: ``build.py``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from .model import Descriptor
from .store import Image, Layer
from .writer import Writer

FOLDER = "buildcache"
#: Before the key of a step in the history of an image that brings its cache along.
INLINE = "minirun.cache "


@dataclass(frozen=True, slots=True)
class Result:
    """What a step made.

    Args:
        layer: None when it changed no file.
        created: when, as RFC 3339.
    """

    layer: Layer | None
    created: str


def key_of(*parts: object) -> str:
    """Return the key of a step: a digest of its inputs, in order; sets and bytes are no input."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


class Cache:
    """The results of earlier steps.

    Args:
        root: the store's.
        writer: of this build; a layer that is found is kept from the collector by it.
        enabled: False finds nothing, and still remembers.
    """

    def __init__(self, root: str, writer: Writer, *, enabled: bool = True) -> None:
        self._folder = os.path.join(root, FOLDER)
        self._writer = writer
        self._enabled = enabled
        self._imported: dict[str, Result] = {}

    def take(self, image: Image) -> int:
        """Know the steps of an image that brings its cache along; return how many there are."""
        layers = iter(image.layers)
        before = len(self._imported)
        for entry in image.config.history:
            layer = None if entry.empty_layer else next(layers, None)
            if entry.comment.startswith(INLINE):
                key = entry.comment.removeprefix(INLINE)
                self._imported[key] = Result(layer, entry.created)
        return len(self._imported) - before

    def find(self, key: str) -> Result | None:
        """Return what the step made before, if all of it is still there; an entry is then young."""
        found = self._look_up(key) if self._enabled else None
        if found is None or found.layer is None:
            return found
        layer = found.layer
        there = self._writer.has_blob(layer.descriptor.digest) and self._writer.has_layer(
            layer.diff_id
        )
        if there:
            with suppress(OSError):  # of an image's own cache there is no file
                os.utime(os.path.join(self._folder, key))
        return found if there else None

    def _look_up(self, key: str) -> Result | None:
        return read_entry(os.path.join(self._folder, key)) or self._imported.get(key)

    def keep(self, key: str, result: Result) -> None:
        """Remember what a step made; a crash leaves the old entry or the new one."""
        os.makedirs(self._folder, 0o700, exist_ok=True)
        path = os.path.join(self._folder, key)
        part = f"{path}.{os.getpid()}"
        with open(part, "w", encoding="ascii") as file:
            json.dump(_record(result), file)
        os.rename(part, path)


def kept_digests(root: str) -> Iterator[str]:
    """Yield the blobs and layers that cached steps refer to.

    Given to ``Store.gc`` as ``in_use``, it keeps the cache; left out, the cache goes.
    """
    folder = os.path.join(root, FOLDER)
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        found = read_entry(os.path.join(folder, name))
        if found is not None and found.layer is not None:
            yield found.layer.diff_id
            yield found.layer.descriptor.digest


def clear(root: str) -> int:
    """Forget all steps; return how many there were."""
    folder = os.path.join(root, FOLDER)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    for name in names:
        os.unlink(os.path.join(folder, name))
    return len(names)


def _record(result: Result) -> dict[str, object]:
    if result.layer is None:
        return {"created": result.created}
    blob = result.layer.descriptor
    return {
        "created": result.created,
        "diff_id": result.layer.diff_id,
        "media_type": blob.media_type,
        "digest": blob.digest,
        "size": blob.size,
    }


def read_entry(path: str) -> Result | None:
    """Return an entry; one that is missing or damaged is a step to do again."""
    try:
        with open(path, encoding="ascii") as file:
            found = json.load(file)
        if "diff_id" not in found:
            return Result(None, str(found["created"]))
        blob = Descriptor(found["media_type"], found["digest"], int(found["size"]))
        return Result(Layer(found["diff_id"], blob), str(found["created"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
