"""A root file system put together in an empty folder, the same way every time.

The folder is made by us and has no other writer, so plain paths are safe in it. ``/bin``,
``/sbin``, ``/lib`` and ``/lib64`` are links into ``/usr`` as on every current distribution; what is
put below them lands there. At the end every time stamp is set to one constant and every mode to one
of two, so that nothing of the host's history reaches the layer.

Next: ``capture.py``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

#: 1980-01-01: the earliest date that a zip file, and so a wheel, can hold.
STAMP = 315532800
_INTO_USR = ("bin", "sbin", "lib", "lib64")


class Stage:
    """An image's files while they are collected.

    Args:
        root: an empty folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, inside: str) -> Path:
        """Return where a path of the image is on the host, below ``/usr`` where it is a link."""
        first, _, rest = inside.lstrip("/").partition("/")
        if first in _INTO_USR and rest:
            return self.root / "usr" / first / rest
        return self.root / inside.lstrip("/")

    def folder(self, inside: str, mode: int = 0o755) -> None:
        """Make a folder, and those above it."""
        path = self.path(inside)
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)

    def write(self, inside: str, content: bytes | str, mode: int = 0o644) -> None:
        """Make a file with this content."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)

    def copy(self, source: str, inside: str) -> None:
        """Copy the content of a file; of its mode only whether it may be executed."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
        path.chmod(0o755 if os.stat(source).st_mode & 0o100 else 0o644)

    def link(self, inside: str, target: str) -> None:
        """Make a symbolic link, unless something is there already."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(path):
            path.symlink_to(target)

    def tree(self, source: str, inside: str, skip: Callable[[str], bool]) -> None:
        """Copy a folder with everything below it.

        Links that stay inside the folder remain links; others become what they point to.

        Args:
            source: the folder on the host.
            inside: where it goes.
            skip: asked with each path relative to the folder; True leaves it out.
        """
        top = os.path.realpath(source)
        for path, relative in _walk(top, "", skip):
            target = os.readlink(path) if os.path.islink(path) else ""
            landing = os.path.normpath(os.path.join(os.path.dirname(relative), target))
            if target and not os.path.isabs(target) and not landing.startswith(".."):
                self.link(f"{inside}/{relative}", target)
            elif os.path.isfile(path):
                self.copy(path, f"{inside}/{relative}")

    def settle(self) -> None:
        """Give every file the same date and every folder its mode, deepest first."""
        for folder, folders, files in os.walk(self.root, topdown=False):
            for name in [*folders, *files]:
                os.utime(os.path.join(folder, name), (STAMP, STAMP), follow_symlinks=False)
        os.utime(self.root, (STAMP, STAMP))


def _walk(top: str, below: str, skip: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Yield (path, relative path) of everything but folders, sorted, without what is skipped."""
    with os.scandir(os.path.join(top, below)) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        relative = os.path.join(below, entry.name)
        if skip(relative):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(top, relative, skip)
        else:
            yield entry.path, relative
