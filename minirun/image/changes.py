"""What a container added, changed and deleted: ``minirun diff``.

The upper directory is compared with the lower ones as overlayfs would merge them. As Docker has it,
a directory is listed as changed when something was added to it or deleted from it, or when its
attributes differ; not when only the content of a file in it did.

Next: nothing; ``pack.py`` reads the same directory to make a layer of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence, Set
from contextlib import ExitStack

from ..record import Record
from .owners import UNMAPPED, Owners
from .pack import is_opaque, is_whiteout
from .tree import Tree

ADDED, CHANGED, DELETED = "A", "C", "D"


class Change(Record):
    """One path, absolute as the container sees it, and what became of it."""

    kind: str
    path: str


def changes(
    upper: str, lowers: Sequence[str], skip: Set[str] = frozenset(), owners: Owners = UNMAPPED
) -> list[Change]:
    """Return what ``upper`` changes, sorted by path.

    Args:
        upper: an overlay upper directory.
        lowers: the lower directories, newest first, as given to overlayfs.
        skip: paths of ``upper`` that do not count, see ``mountpoints.py``.
        owners: what the owners in ``upper`` mean inside the container.
    """
    with ExitStack() as stack:
        trees = [_open(stack, path) for path in (upper, *lowers)]
        kinds = _Comparison(trees[0], trees[1:], skip, owners).run()
    return [Change(kind, f"/{path}") for path, kind in sorted(kinds.items())]


def _open(stack: ExitStack, path: str) -> Tree:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return stack.enter_context(Tree(fd, follow=False))


class _Comparison:
    def __init__(self, upper: Tree, lowers: list[Tree], skip: Set[str], owners: Owners) -> None:
        self._upper = upper
        self._skip = skip
        self._touched = {os.path.dirname(path) for path in skip}
        self._owners = owners
        self._kinds: dict[str, str] = {}
        # Directories to visit, each with the lower trees that overlayfs merges there.
        self._pending = [("", lowers)]

    def run(self) -> dict[str, str]:
        """Return {path: kind}."""
        while self._pending:
            path, lowers = self._pending.pop()
            fd = self._upper.directory(path)
            if is_opaque(fd):
                self._hidden(path, lowers)
            for name in os.listdir(fd):
                self._child(path, name, lowers)
        return self._kinds

    def _child(self, directory: str, name: str, lowers: list[Tree]) -> None:
        path = f"{directory}/{name}" if directory else name
        if path in self._skip:
            return
        fd = self._upper.directory(directory)
        below = _merged(lowers, directory, name)
        if is_whiteout(fd, name):
            if below:
                self._came_or_went(directory, path, DELETED)
            return
        found = os.lstat(name, dir_fd=fd)
        if not below:
            self._came_or_went(directory, path, ADDED)
        elif not (stat.S_ISDIR(found.st_mode) and self._same(path, found, below[0][1])):
            self._kinds[path] = CHANGED
        if stat.S_ISDIR(found.st_mode):
            merging = [tree for tree, held in below if stat.S_ISDIR(held.st_mode)]
            self._pending.append((path, merging))

    def _hidden(self, path: str, lowers: list[Tree]) -> None:
        """Note what an opaque directory deletes from below and does not have itself."""
        own = set(os.listdir(self._upper.directory(path)))
        names = {name for tree in lowers for name in os.listdir(tree.directory(path))} - own
        for name in names:
            if _merged(lowers, path, name):
                self._came_or_went(path, f"{path}/{name}" if path else name, DELETED)

    def _same(self, path: str, upper: os.stat_result, lower: os.stat_result) -> bool:
        """Return True where only copying up, or a mount point, made the directory appear."""
        owner = self._owners.inside(upper.st_uid, upper.st_gid)
        if (upper.st_mode, *owner) != (lower.st_mode, lower.st_uid, lower.st_gid):
            return False
        return path in self._touched or upper.st_mtime_ns == lower.st_mtime_ns

    def _came_or_went(self, directory: str, path: str, kind: str) -> None:
        self._kinds[path] = kind
        if directory:
            self._kinds.setdefault(directory, CHANGED)


def _merged(lowers: list[Tree], directory: str, name: str) -> list[tuple[Tree, os.stat_result]]:
    """Return what the lower trees show under a name: one thing, or directories that merge."""
    found: list[tuple[Tree, os.stat_result]] = []
    for tree in lowers:
        fd = tree.directory(directory)
        try:
            held = os.lstat(name, dir_fd=fd)
        except FileNotFoundError:
            continue
        if is_whiteout(fd, name) or (found and not stat.S_ISDIR(held.st_mode)):
            break
        found.append((tree, held))
        path = f"{directory}/{name}" if directory else name
        if not stat.S_ISDIR(held.st_mode) or is_opaque(tree.directory(path)):
            break
    return found
