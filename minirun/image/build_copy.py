"""Write what COPY brings into a stage's file system, with Docker's rules for the destination.

    COPY file  /dst     the file becomes /dst, or /dst/file where /dst is a folder
    COPY file  /dst/    /dst/file
    COPY dir   /dst     what is in dir, into the folder /dst
    COPY a b*  /dst/    several sources need a folder, written with its slash

Links in the destination are followed inside the image's root, as a program there would follow
them: ``COPY rootfs/ /`` may write below ``/lib`` where that is a link to ``usr/lib``. The last name
is never followed: a file replaces a link of its name.

See: docs.docker.com/reference/dockerfile, COPY. Next: ``build_sources.py``.
"""

from __future__ import annotations

import os
import posixpath
import stat
from contextlib import suppress
from dataclasses import dataclass

from ..errors import ImageError
from .build_ignore import Ignore
from .build_mode import Mode
from .build_rootfs import is_folder
from .build_sources import Item, Origin
from .tree import Tree
from .unpack import write_all

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SENT_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Dress:
    """What a copied file wears.

    Args:
        owner: (uid, gid) from ``--chown``; None is root's, or the origin's own where it keeps them.
        mode: what ``--chmod`` makes of permissions; None keeps each file's own.
        date_s: of what comes from a context, since a checkout's dates are an accident; None keeps
            each file's own.
    """

    owner: tuple[int, int] | None = None
    mode: Mode | None = None
    date_s: int | None = None

    def owner_of(self, origin: Origin, item: Item) -> tuple[int, int]:
        """Return who is to own a copied item."""
        if self.owner is not None:
            return self.owner
        return (item.facts.st_uid, item.facts.st_gid) if origin.keep_owners else (0, 0)

    def mode_of(self, item: Item) -> int:
        """Return the permissions of a copied item."""
        mode = stat.S_IMODE(item.facts.st_mode)
        return mode if self.mode is None else self.mode(mode, item.is_folder)


def target_of(destination: str, workdir: str) -> str:
    """Return the absolute destination; a trailing slash, which means a folder, stays.

    >>> target_of("./", "/app"), target_of("/x/../y", "/app")
    ('/app/', '/y')
    """
    names_folder = destination.endswith(("/", "/.")) or destination == "."
    joined = posixpath.normpath(posixpath.join("/", workdir, destination)).lstrip("/")
    return f"/{joined}/" if names_folder and joined else f"/{joined}"


class Copier:
    """Copies into one root.

    Args:
        root: descriptor of the stage's merged root, writable.
        dress: owner and mode of everything that is copied.
        exclude: patterns of ``--exclude``, relative to each source.
    """

    def __init__(self, root: int, dress: Dress, exclude: Ignore | None = None) -> None:
        self._root = root
        self._dress = dress
        self._exclude = exclude
        self._tree = Tree(root)
        self._links: dict[tuple[int, int], str] = {}

    def __enter__(self) -> Copier:
        """Return the copier; its descriptors are closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close what was opened."""
        self._tree.forget()

    def copy(self, origin: Origin, source: str, target: str) -> None:
        """Copy one source.

        Args:
            origin: where it is.
            source: its path there, as ``Origin.find`` returned it.
            target: absolute; with a trailing slash it names a folder.

        Raises:
            ImageError: a folder is in the way of a file, or the other way round.
        """
        with origin.item(source) as item:
            if item.is_folder:
                self._folder(origin, source, target)
                return
            into = target.endswith("/") or is_folder(self._root, target)
            path = f"{target.rstrip('/')}/{posixpath.basename(source)}" if into else target
            self._one(origin, item, path.strip("/"))

    def copy_below(self, origin: Origin, source: str, target: str, kept: int) -> None:
        """Copy one source together with the last ``kept`` folders above it (``--parents``)."""
        parts = source.split("/")
        first = len(parts) - 1 - kept
        base = target.strip("/")
        self._parent(base)
        for depth in range(first, len(parts)):
            path = "/".join((*filter(None, [base]), *parts[first : depth + 1]))
            with origin.item("/".join(parts[: depth + 1])) as item:
                self._one(origin, item, path)
                if item.is_folder and depth == len(parts) - 1:
                    self._folder(origin, source, path)

    def write(self, content: bytes, target: str, name: str) -> None:
        """Write a here-document; ``target`` as in ``copy``."""
        into = target.endswith("/") or is_folder(self._root, target)
        path = f"{target.rstrip('/')}/{name}" if into else target
        above, _, last = path.strip("/").rpartition("/")
        parent = self._parent(above)
        self._make_way(parent, last, path)
        fd = os.open(last, _CREATE, 0o600, dir_fd=parent)
        try:
            write_all(fd, content)
            os.fchown(fd, *(self._dress.owner or (0, 0)))
            os.fchmod(fd, 0o644 if self._dress.mode is None else self._dress.mode(0o644, False))
        finally:
            os.close(fd)

    def _folder(self, origin: Origin, source: str, target: str) -> None:
        """Copy what is in a folder; not the folder itself, so its owner and mode do not matter."""
        base = target.strip("/")
        self._parent(base)
        for item in origin.walk(source, self._exclude):
            self._one(origin, item, f"{base}/{item.path}" if base else item.path)

    def _one(self, origin: Origin, item: Item, path: str) -> None:
        if not path:
            raise ImageError(
                "a file cannot replace the root folder", hint="name it: COPY file /file"
            )
        above, _, name = path.rpartition("/")
        if stat.S_ISSOCK(item.facts.st_mode):
            return  # means nothing without the process that listens
        parent = self._parent(above)
        if item.is_folder:
            if is_folder(self._root, path):
                return
            self._make_way(parent, name, path, for_folder=True)
            os.mkdir(name, 0o700, dir_fd=parent)
        else:
            self._make_way(parent, name, path)
            self._create(origin, item, parent, name)
        self._wear(origin, item, parent, name)

    def _parent(self, path: str) -> int:
        """Return the folder to write into; what is missing on the way is made, for the owner."""
        try:
            return self._tree.directory(path)
        except FileNotFoundError:
            pass
        except NotADirectoryError as error:
            raise ImageError(f"/{path} is not a folder in the image") from error
        above = path.rpartition("/")[0]
        self._parent(above)
        fd = self._tree.make_directory(path)
        if self._dress.owner is not None:
            os.fchown(fd, *self._dress.owner)
        return fd

    def _make_way(self, parent: int, name: str, path: str, *, for_folder: bool = False) -> None:
        """Remove what has the name; a folder and a file never replace each other."""
        try:
            facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(facts.st_mode):
            raise ImageError(f"cannot copy a file over the folder /{path.lstrip('/')}")
        if for_folder:
            raise ImageError(f"cannot copy a folder over the file /{path.lstrip('/')}")
        os.unlink(name, dir_fd=parent)

    def _create(self, origin: Origin, item: Item, parent: int, name: str) -> None:
        mode = item.facts.st_mode
        if stat.S_ISLNK(mode):
            os.symlink(item.link(), name, dir_fd=parent)
        elif item.is_file:
            self._copy_content(item, parent, name)
        elif origin.keep_owners or stat.S_ISFIFO(mode):
            os.mknod(name, mode, item.facts.st_rdev, dir_fd=parent)
        else:
            raise ImageError(f"{item.path or item.name!r} in {origin.label} is a device")

    def _copy_content(self, item: Item, parent: int, name: str) -> None:
        source = item.open()
        try:
            target = os.open(name, _CREATE, 0o600, dir_fd=parent)
            try:
                while os.sendfile(target, source, None, _SENT_BYTES):
                    pass
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _wear(self, origin: Origin, item: Item, parent: int, name: str) -> None:
        """Owner, mode, attributes, date: chown clears setuid, so it goes first."""
        os.chown(name, *self._dress.owner_of(origin, item), dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISLNK(item.facts.st_mode):
            os.chmod(name, self._dress.mode_of(item), dir_fd=parent)
        for key, value in item.attributes().items():
            with suppress(OSError):  # the image store's file system may have none
                os.setxattr(f"/proc/self/fd/{parent}/{name}", key, value, follow_symlinks=False)
        date_ns = item.facts.st_mtime_ns
        if self._dress.date_s is not None and not origin.keep_owners:
            date_ns = self._dress.date_s * 10**9
        os.utime(name, ns=(date_ns, date_ns), dir_fd=parent, follow_symlinks=False)
