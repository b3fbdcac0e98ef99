"""Take the sources of binds in hand before the namespaces are entered.

A clone of a tree is a detached mount behind an fd: it goes with us into any namespace, and its
owners can be mapped while it is still nowhere.

See: open_tree(2), mount_setattr(2), ID-mapped mounts. Next: ``mounts.py``, which attaches them.
"""

from __future__ import annotations

import errno
import os

from .. import kernel
from ..errors import SyscallError
from ..flags import AT_FDCWD, OpenTree, spell
from ..mount_options import MountOptions
from ..record import Record
from ..spec import IdMapping
from ..userns import make_user_namespace
from .base import Context, Step, quoted
from .overlay import map_owners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class HostTree(Record):
    """The source of one bind; with mappings of its own, or with those of the container."""

    destination: str
    source: str
    options: MountOptions
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


class OpenTrees(Step):
    """Take the sources of binds in hand while we still may."""

    lane: ClassVar = "M"
    id: ClassVar = "open-trees"
    why: ClassVar = "the container's root may not reach these host paths, or map their owners"
    man: ClassVar = "open_tree(2), mount_setattr(2)"
    check: ClassVar = "grep idmapped /proc/PID/mountinfo"
    without: ClassVar = "a volume cannot be mounted, or its files belong to nobody (65534)"

    trees: tuple[HostTree, ...]
    #: The user namespace that the container joins, where it joins one.
    userns_path: str = ""

    @property
    def call(self) -> tuple[str, ...]:
        """One clone for each bind."""
        return tuple(spell_clone(tree.source, tree.options) for tree in self.trees)

    def apply(self, context: Context) -> None:
        """Leave the fds in ``context.trees``; the fork that makes init hands them on."""
        for tree in self.trees:
            fd = open_source(tree.source, tree.options)
            if tree.options.idmap or tree.uid_mappings:
                userns = self._open_maps(tree, context)
                map_owners(fd, userns, recursive=tree.options.idmap == "ridmap")
                os.close(userns)
            context.trees[tree.destination] = fd

    def _open_maps(self, tree: HostTree, context: Context) -> int:
        """Return an fd of a user namespace whose maps say who owns what."""
        if tree.uid_mappings:
            return make_user_namespace(tree.uid_mappings, tree.gid_mappings)
        if self.userns_path:
            return os.open(self.userns_path, os.O_RDONLY | os.O_CLOEXEC)
        return os.dup(context.fds["userns"])


def open_source(source: str, options: MountOptions) -> int:
    """Return a detached clone of a host tree.

    Raises:
        SyscallError: with a hint when the source does not exist.
    """
    try:
        return kernel.open_tree(AT_FDCWD, source, _clone_flags(options))
    except SyscallError as error:
        if error.errno == errno.ENOENT:
            error.hint = f"create {source} first, or use a volume"
        raise


def _clone_flags(options: MountOptions) -> OpenTree:
    flags = OpenTree.OPEN_TREE_CLONE | OpenTree.OPEN_TREE_CLOEXEC
    return flags | OpenTree.AT_RECURSIVE if options.bind == "rbind" else flags


def spell_clone(source: str, options: MountOptions) -> str:
    """Return the call of ``open_source`` as strace prints it."""
    return f"open_tree(AT_FDCWD, {quoted(source)}, {spell(_clone_flags(options))})"
