"""Where COPY and ADD take files from: the build context, another stage, or a here-document.

A context is somebody else's folder. Nothing in it may lead a build to read outside of it: every
path is opened by the kernel with the context as its "/", and folders are walked by descriptor
without following what was found in them.

Next: ``build_copy.py``, which writes what is found here.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import ImageError
from .build_digests import Digests
from .build_ignore import Ignore, compiled
from .build_rootfs import open_in

_KEPT_ATTRIBUTES = ("security.capability",)


@dataclass(frozen=True, slots=True)
class Item:
    """One file, folder or link that was found.

    Args:
        path: relative to the source that was asked for; "" is the source itself.
        parent: descriptor of the folder it is in, open until the next item.
        name: its name in that folder.
        facts: its stat, links not followed.
    """

    path: str
    parent: int
    name: str
    facts: os.stat_result

    @property
    def is_folder(self) -> bool:
        """True for a folder."""
        return stat.S_ISDIR(self.facts.st_mode)

    @property
    def is_file(self) -> bool:
        """True for a regular file."""
        return stat.S_ISREG(self.facts.st_mode)

    def open(self) -> int:
        """Return a descriptor of the file, opened without following a link put in its place."""
        return os.open(self.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.parent)

    def link(self) -> str:
        """Return the target of the symbolic link."""
        return os.readlink(self.name, dir_fd=self.parent)

    def attributes(self) -> dict[str, bytes]:
        """Return the extended attributes that are part of the file's meaning."""
        if not self.is_file:
            return {}
        fd = self.open()
        try:
            names = [n for n in os.listxattr(fd) if n in _KEPT_ATTRIBUTES or n.startswith("user.")]
            return {name: os.getxattr(fd, name) for name in sorted(names)}
        except OSError:
            return {}  # a file system without attributes
        finally:
            os.close(fd)


class Origin:
    """A tree of files to copy from.

    Args:
        root: descriptor of its top folder; stays the caller's.
        label: how an error calls it: ``the build context``, ``stage build``.
        ignore: what is not to be seen in it.
        keep_owners: True for another image's files; those of a context become root's.
        digests: hashes the files.
    """

    def __init__(
        self,
        root: int,
        label: str,
        ignore: Ignore | None = None,
        *,
        keep_owners: bool = False,
        digests: Digests | None = None,
    ) -> None:
        self.root = root
        self.label = label
        self.keep_owners = keep_owners
        self._ignore = ignore or Ignore("")
        self._digests = digests or Digests()

    def find(self, pattern: str, *, crosses: bool = False) -> list[str]:
        """Return the paths that a source means, sorted; ``..`` stops at the top.

        Args:
            pattern: as Go's filepath.Match has it.
            crosses: ``**`` stands for any number of folders.

        Raises:
            ImageError: nothing is there, or ``.dockerignore`` hides it.
        """
        parts = _parts(pattern)
        found = [""]
        for part in parts:
            if crosses and part == "**":
                found = [path for base in found for path in self._folders(base)]
            else:
                found = [path for base in found for path in self._matching(base, part)]
        seen = [path for path in found if not self._hides(path)]
        if seen:
            return seen
        if found:
            hint = "a pattern in .dockerignore matches it"
            raise ImageError(f"{pattern!r} is excluded from {self.label}", hint=hint)
        raise ImageError(f"{pattern!r} is not in {self.label}", hint=self._near(parts))

    def exact(self, path: str) -> str:
        """Return a path as it is, without patterns; see ``find``."""
        parts = _parts(path)
        joined = "/".join(parts)
        if not self._exists(joined):
            raise ImageError(f"{path!r} is not in {self.label}", hint=self._near(parts))
        if self._hides(joined) and not self._ignore.has_exceptions:
            hint = "a pattern in .dockerignore matches it"
            raise ImageError(f"{path!r} is excluded from {self.label}", hint=hint)
        return joined

    def _matching(self, base: str, part: str) -> list[str]:
        """Return the paths below a folder that one component of a pattern matches."""
        joined = f"{base}/{part}" if base else part
        if not any(magic in part for magic in "*?[\\"):
            return [joined] if self._exists(joined) else []
        expression = compiled(part)
        names = [name for name in self._list(base) if expression.match(name)]
        return [f"{base}/{name}" if base else name for name in names]

    def _folders(self, base: str) -> list[str]:
        """Return a folder and all folders below it."""
        below = [item.path for item in self.walk(base) if item.is_folder]
        return [base, *(f"{base}/{path}" if base else path for path in below)]

    def _exists(self, path: str) -> bool:
        try:
            os.close(open_in(self.root, path, os.O_PATH))
        except OSError:
            return False
        return True

    def _list(self, path: str) -> list[str]:
        try:
            fd = open_in(self.root, path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return []
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def _near(self, parts: list[str]) -> str:
        from difflib import get_close_matches

        folder, name = "/".join(parts[:-1]), parts[-1] if parts else ""
        close = get_close_matches(name, self._list(folder), n=1)
        if close:
            return f"did you mean {'/'.join([*parts[:-1], close[0]])}?"
        return "paths are relative to the context's top folder"

    def _hides(self, path: str) -> bool:
        return bool(path) and self._ignore.hides(path)

    @contextmanager
    def item(self, path: str) -> Iterator[Item]:
        """Yield a source itself; a link is followed inside the tree."""
        fd = open_in(self.root, path, os.O_PATH)
        try:
            facts = os.fstat(fd)
            if stat.S_ISDIR(facts.st_mode):
                yield Item("", fd, ".", facts)
                return
            parent, name = self._parent_of(fd, path)
            try:
                yield Item("", parent, name, facts)
            finally:
                os.close(parent)
        finally:
            os.close(fd)

    def _parent_of(self, fd: int, path: str) -> tuple[int, str]:
        """Return the folder that really holds a file, following the links of its last name."""
        for _ in range(40):
            above, _, name = path.rstrip("/").rpartition("/")
            parent = open_in(self.root, above, os.O_RDONLY | os.O_DIRECTORY)
            facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if os.path.samestat(facts, os.fstat(fd)):
                return parent, name
            target = os.readlink(name, dir_fd=parent)
            os.close(parent)
            path = target if target.startswith("/") else f"{above}/{target}"
        raise ImageError(f"{path!r}: too many symbolic links")

    def walk(self, path: str, exclude: Ignore | None = None) -> Iterator[Item]:
        """Yield everything below a folder, sorted, a folder before its content."""
        fd = open_in(self.root, path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield from self._below(fd, path, "", exclude or Ignore(""))
        finally:
            os.close(fd)

    def _below(self, folder: int, top: str, relative: str, exclude: Ignore) -> Iterator[Item]:
        for name in sorted(os.listdir(folder)):
            path = f"{relative}/{name}" if relative else name
            hidden = self._hides(f"{top}/{path}" if top else path) or exclude.hides(path)
            facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
            is_folder = stat.S_ISDIR(facts.st_mode)
            # A hidden folder is entered when a later pattern may bring back what is in it.
            if hidden and not (is_folder and self._ignore.has_exceptions):
                continue
            if not hidden:
                yield Item(path, folder, name, facts)
            if is_folder:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                fd = os.open(name, flags, dir_fd=folder)
                try:
                    yield from self._below(fd, top, path, exclude)
                finally:
                    os.close(fd)

    def fingerprint(self, path: str, exclude: Ignore | None = None) -> str:
        """Return a digest of everything that copying a source would bring: not its dates."""
        digest = hashlib.sha256()
        with self.item(path) as top:
            self._add(digest, top)
            if top.is_folder:
                for item in self.walk(path, exclude):
                    self._add(digest, item)
        return digest.hexdigest()

    def _add(self, digest: hashlib._Hash, item: Item) -> None:
        owner = (item.facts.st_uid, item.facts.st_gid) if self.keep_owners else ()
        head = (item.path, item.facts.st_mode, owner, sorted(item.attributes().items()))
        digest.update(repr(head).encode("utf-8", "surrogateescape"))
        if stat.S_ISLNK(item.facts.st_mode):
            digest.update(os.fsencode(item.link()))
        elif item.is_file:
            fd = item.open()
            try:
                digest.update(self._digests.of(fd).encode())
            finally:
                os.close(fd)


def _parts(pattern: str) -> list[str]:
    """Return the components of a path; ``..`` cannot climb above the top."""
    parts: list[str] = []
    for part in pattern.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return parts
