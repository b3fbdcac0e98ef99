"""Mount points that exist while a RUN step runs, and leave no trace in its layer.

What is mounted needs something to be mounted on. That is made in the layer's upper folder before
the command starts and removed afterwards: by a descriptor that was open all the time, and only
where it still is the very same thing, empty and unchanged. A command that replaced it with
something of its own keeps that.

Next: ``build_rootfs.py``.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .build_executor import RunStep
from .build_rootfs import is_folder, merged
from .tree import Tree


@dataclass(frozen=True, slots=True)
class _Stub:
    """Something that was made: its folder's descriptor, its name, and how it looked."""

    parent: int
    name: str
    facts: os.stat_result

    def is_unchanged(self) -> bool:
        """Return True when the name still means the same thing with the same attributes."""
        now = os.stat(self.name, dir_fd=self.parent, follow_symlinks=False)
        before = self.facts
        seen = [(f.st_dev, f.st_ino, f.st_mode, f.st_uid, f.st_gid) for f in (now, before)]
        return seen[0] == seen[1] and (stat.S_ISDIR(now.st_mode) or now.st_size == 0)

    def remove(self) -> None:
        """Remove it; a folder that is not empty stays."""
        with suppress(OSError):
            if self.is_unchanged():
                if stat.S_ISDIR(self.facts.st_mode):
                    os.rmdir(self.name, dir_fd=self.parent)
                else:
                    os.unlink(self.name, dir_fd=self.parent)


@contextmanager
def mount_points(
    step: RunStep, folders: Sequence[str], files: Sequence[str]
) -> Iterator[frozenset[str]]:
    """Make what is missing of some paths in a step's root, and take it out of its layer again.

    Yields:
        The paths that can be mounted on: all but a file whose name is a dangling link.
    """
    stubs: list[_Stub] = []
    try:
        with merged(step.lowers, step.upper, step.work) as root, Tree(root) as tree:
            names = [name for path in folders for name in _make(tree, path.strip("/"))]
            names += [n for path in files for n in _make(tree, path.strip("/"), is_file=True)]
            present = {p for p in (*folders, *files) if is_folder(root, p) or _is_file(tree, p)}
            stubs = _held(step.upper, names)
        clear_work(step.work)
        yield frozenset(present)
    finally:
        for stub in reversed(stubs):
            stub.remove()
            os.close(stub.parent)


def _make(tree: Tree, path: str, *, is_file: bool = False) -> list[str]:
    """Make a path; return what that made, and the folder above, which the kernel copied up."""
    parts = path.split("/")
    paths = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
    folders = paths[:-1] if is_file else paths
    first = len(folders)
    for depth, candidate in enumerate(folders):
        try:
            tree.directory(candidate)
        except FileNotFoundError:
            first = depth
            break
    if folders:
        tree.make_directory(folders[-1])
    if is_file and not _make_file(tree, path):
        return []
    # One above the first new one: it was copied up to hold it.
    return paths[max(first - 1, 0) :] if first < len(paths) else []


def _make_file(tree: Tree, path: str) -> bool:
    """Make an empty file; False where the name is taken, by a link also."""
    above, _, name = path.rpartition("/")
    try:
        fd = os.open(
            name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=tree.directory(above)
        )
    except FileExistsError:
        return False
    os.close(fd)
    return True


def _is_file(tree: Tree, path: str) -> bool:
    above, _, name = path.strip("/").rpartition("/")
    with suppress(OSError):
        facts = os.stat(name, dir_fd=tree.directory(above), follow_symlinks=False)
        return stat.S_ISREG(facts.st_mode)
    return False


def _held(upper: Path, paths: list[str]) -> list[_Stub]:
    """Return the stubs as they are in the upper folder, shallow ones first, each once."""
    held = []
    top = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with Tree(top, follow=False) as tree:
            for path in sorted(set(paths)):
                above, _, name = path.rpartition("/")
                parent = os.dup(tree.directory(above))
                facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
                held.append(_Stub(parent, name, facts))
    finally:
        os.close(top)
    return held


def clear_work(work: Path) -> None:
    """Empty overlayfs's own folder, so that the next mount can use it."""
    for entry in os.scandir(work):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
