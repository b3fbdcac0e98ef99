"""The folders of ``RUN --mount=type=cache``: they outlive the build, and belong to no image.

    <store>/cachemounts/<hex of the id>[-n]/data    what the steps see
    <store>/cachemounts/<hex of the id>[-n]/id      the id, for ``builder du``
    <store>/cachemounts/<hex of the id>[-n]/lock    held while a step uses it

Next: ``build_prune.py``.
See: docs.docker.com/reference/dockerfile, "RUN --mount=type=cache".
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .lease import discard
from .locks import acquire

FOLDER = "cachemounts"


class Caches:
    """The cache mounts of one store."""

    def __init__(self, root: str) -> None:
        self._folder = Path(root) / FOLDER

    @contextmanager
    def hold(self, cache_id: str, sharing: str, fill: Callable[[Path], object]) -> Iterator[Path]:
        """Yield a cache's folder.

        Args:
            cache_id: any text.
            sharing: ``shared`` with other steps; ``locked`` waits for them; ``private`` takes
                another folder while this one is in use.
            fill: gives a new folder its first content; a crash meanwhile leaves none.
        """
        folder, lock = self._lock(cache_id, sharing)
        try:
            data = folder / "data"
            if not data.exists():
                (folder / "id").write_text(cache_id, errors="surrogateescape")
                part = folder / f"part-{os.urandom(8).hex()}"
                part.mkdir()
                fill(part)
                part.rename(data)
            os.utime(folder / "lock")  # this is how old it is, for prune
            if sharing == "shared":
                fcntl.flock(lock, fcntl.LOCK_SH)
            yield data
        finally:
            os.close(lock)

    def _lock(self, cache_id: str, sharing: str) -> tuple[Path, int]:
        """Return the folder for an id and its lock, which is exclusive where it is still empty."""
        name = hashlib.sha256(cache_id.encode("utf-8", "surrogateescape")).hexdigest()
        number = 0
        while True:
            folder = self._folder / (f"{name}-{number}" if number else name)
            folder.mkdir(0o700, parents=True, exist_ok=True)
            try:
                return folder, acquire(str(folder / "lock"), _how(folder, sharing))
            except BlockingIOError:
                if sharing == "private":
                    number += 1
                else:
                    _wait_until_filled(folder)
            except FileNotFoundError:
                continue  # it was pruned meanwhile: make it again

    def all(self) -> list[tuple[str, Path]]:
        """Return the id and folder of every cache."""
        if not self._folder.is_dir():
            return []
        return [(_id_of(folder), folder) for folder in sorted(self._folder.iterdir())]

    def remove(self, folder: Path) -> bool:
        """Remove a cache; False where a step uses it right now."""
        try:
            lock = acquire(str(folder / "lock"), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, FileNotFoundError):
            return False
        try:
            discard(str(folder.parent), folder.name)
        finally:
            os.close(lock)
        return True


def _how(folder: Path, sharing: str) -> int:
    if sharing == "locked":
        return fcntl.LOCK_EX
    if sharing == "shared" and (folder / "data").exists():
        return fcntl.LOCK_SH
    return fcntl.LOCK_EX | fcntl.LOCK_NB


def _wait_until_filled(folder: Path) -> None:
    """Wait as one who shares: who waited for the exclusive lock would wait for the whole step."""
    with suppress(FileNotFoundError):
        os.close(acquire(str(folder / "lock"), fcntl.LOCK_SH))


def _id_of(folder: Path) -> str:
    try:
        return (folder / "id").read_text(errors="surrogateescape")
    except FileNotFoundError:
        return folder.name[:12]
