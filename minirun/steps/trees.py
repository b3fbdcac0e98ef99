"""The sources of binds: a clone of a tree of the host is a detached mount behind an fd.

It goes with us into any namespace, and its owners can be mapped while it is still nowhere.

See: open_tree(2). Next: ``mounts.py``, which attaches them.
"""

from __future__ import annotations

import errno

from .. import kernel
from ..errors import SyscallError
from ..flags import AT_FDCWD, OpenTree, spell
from ..record import Record
from .base import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..mount_options import MountOptions
    from ..spec import IdMapping


class HostTree(Record):
    """The source of one bind; with mappings of its own, or with those of the container."""

    destination: str
    source: str
    options: MountOptions
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


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
