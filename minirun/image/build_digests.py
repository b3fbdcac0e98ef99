"""What large files of a context hash to: a model of gigabytes is not read for every build.

    <store>/filedigests/<hex of device and inode>     {"stamp": [size, mtime, ctime], "digest": …}

As git's index does, a file is taken for unchanged while its size and both its times are. ctime is
the one that nobody can set; a file that changed within the last moments is not remembered, because
its times might not tell of one more change (git calls such a file racy).

Next: ``build_copy.py``.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress

FOLDER = "filedigests"
#: A smaller file is read as fast as it is looked up.
_LARGE_BYTES = 1 << 20
#: More than the granularity of any file system's clock.
_SETTLED_NS = 2 * 10**9
_CHUNK = 1 << 20


class Digests:
    """Hashes files, and remembers the large ones.

    Args:
        root: the store's; "" remembers nothing.
    """

    def __init__(self, root: str = "") -> None:
        self._folder = os.path.join(root, FOLDER) if root else ""

    def of(self, fd: int) -> str:
        """Return the sha256 of what a descriptor at its beginning leads to."""
        facts = os.fstat(fd)
        if not self._folder or facts.st_size < _LARGE_BYTES:
            return _hash(fd)
        name = hashlib.sha256(f"{facts.st_dev}:{facts.st_ino}".encode()).hexdigest()
        path = os.path.join(self._folder, name)
        stamp = _stamp(facts)
        known = _read(path, stamp)
        if known:
            return known
        is_settled = time.time_ns() - max(stamp[1:]) > _SETTLED_NS
        digest = _hash(fd)
        if is_settled and _stamp(os.fstat(fd)) == stamp:
            self._keep(path, {"stamp": stamp, "digest": digest})
        return digest

    def _keep(self, path: str, entry: dict[str, object]) -> None:
        """Remember; without room the next build reads the file again."""
        part = f"{path}.{os.getpid()}"
        with suppress(OSError):
            os.makedirs(self._folder, 0o700, exist_ok=True)
            with open(part, "w", encoding="ascii") as file:
                json.dump(entry, file)
            os.rename(part, path)


def _read(path: str, stamp: list[int]) -> str:
    """Return what a file hashed to when it had the same stamp, and mark that as used; or ""."""
    try:
        with open(path, encoding="ascii") as file:
            entry = json.load(file)
        if entry["stamp"] != stamp:
            return ""
        os.utime(path)
        return str(entry["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _stamp(facts: os.stat_result) -> list[int]:
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]


def _hash(fd: int) -> str:
    digest = hashlib.sha256()
    while chunk := os.read(fd, _CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
