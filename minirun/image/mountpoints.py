"""What a start left in a container's writable layer: the places that something was mounted on.

A mount needs a file or a directory to sit on. Where the image has none, the runtime makes an empty
one, in the writable layer like everything else. It is not the container's work, so ``diff`` does
not tell of it and ``commit`` does not keep it: docker hides the same behind a layer of its own.

Next: ``changes.py`` and ``pack.py``, which are given the result.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress

from .tree import Tree


def made_for_mounts(upper: str, lowers: Sequence[str], targets: Iterable[str]) -> frozenset[str]:
    """Return the paths of the upper directory that exist only to be mounted on.

    Args:
        upper: an overlay upper directory.
        lowers: the directories below it.
        targets: where something is mounted, as absolute paths of the container.
    """
    made: set[str] = set()
    with ExitStack() as stack:
        trees = [_open(stack, path) for path in (upper, *lowers)]
        # The deepest first: a directory is empty once what was made in it is left out.
        for target in sorted({t.strip("/") for t in targets}, key=len, reverse=True):
            path = _without_links(trees, target)
            while path and _is_ours(trees, path, made):
                made.add(path)
                path = path.rpartition("/")[0]
    return frozenset(made)


def _open(stack: ExitStack, path: str) -> Tree:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return stack.enter_context(Tree(fd, follow=False))


def _is_ours(trees: Sequence[Tree], path: str, made: set[str]) -> bool:
    """Whether only the upper tree has this, and nothing in it."""
    upper, *lowers = trees
    found = _look(upper, path)
    if found is None or any(_look(lower, path) is not None for lower in lowers):
        return False
    if stat.S_ISDIR(found.st_mode):
        return all(f"{path}/{name}" in made for name in os.listdir(upper.directory(path)))
    return stat.S_ISREG(found.st_mode) and found.st_size == 0


def _look(tree: Tree, path: str) -> os.stat_result | None:
    head, _, name = path.rpartition("/")
    try:
        return os.lstat(name, dir_fd=tree.directory(head))
    except OSError:  # not there, or a link or a file on the way
        return None


def _without_links(trees: Sequence[Tree], target: str) -> str:
    """Return where a target really is: a mount on /var/run/x sits on /run/x where that is a link.

    Only the links of its parent directories matter, and each is read in the newest tree that has
    it. A link in what a link leads to is rare enough to be left alone.
    """
    parts = target.split("/")
    for count in range(1, len(parts)):
        path = "/".join(parts[:count])
        for tree in trees:
            found = _look(tree, path)
            if found is None:
                continue
            if stat.S_ISLNK(found.st_mode):
                return os.path.normpath(f"{_link(tree, path)}/{'/'.join(parts[count:])}").strip("/")
            break
    return target


def _link(tree: Tree, path: str) -> str:
    """Return what a link leads to, from the root on."""
    head, _, name = path.rpartition("/")
    with suppress(OSError):
        return os.path.join("/", head, os.readlink(name, dir_fd=tree.directory(head)))
    return path
