"""Steps that a user namespace needs before it is joined: inside, nobody could do them any more.

Only who has power over the host's file systems may map the owners of files, and only outside are
all of its paths in reach. So the sources of binds are taken in hand, and the root is assembled in a
mount namespace between the host's and the container's. A plan imports this module where a container
has ids of its own, or a bind that must not lose its peers.

See: open_tree(2), mount_setattr(2), ID-mapped mounts; mount_namespaces(7). Next: ``rootfs.py``.
"""

from __future__ import annotations

import os

from .. import inroot, kernel
from ..flags import AT_FDCWD, Clone, OpenTree, spell
from ..userns import make_user_namespace
from .base import Context, Step
from .namespaces import MakeMountsPrivate
from .overlay import MountOverlay, map_owners
from .trees import open_source, spell_clone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

    from .trees import HostTree


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


class UnshareMounts(Step):
    """A mount namespace between the host's and the container's."""

    lane: ClassVar = "M"
    id: ClassVar = "unshare-mounts"
    why: ClassVar = "the root is assembled where layers may still be id-mapped, but not on the host"
    man: ClassVar = "mount_namespaces(7)"
    check: ClassVar = "findmnt on the host shows no overlay of ours"
    without: ClassVar = "the overlay would be mounted on the host, or could not be id-mapped"

    @property
    def call(self) -> tuple[str, ...]:
        """Before the user namespace is joined."""
        return (f"unshare({spell(Clone.CLONE_NEWNS)})",)

    def apply(self, context: Context) -> None:
        """Unshare."""
        del context
        kernel.unshare(Clone.CLONE_NEWNS)


class MakeOuterMountsPrivate(MakeMountsPrivate):
    """The same for the intermediate's namespace."""

    lane: ClassVar = "M"


class MapLayers(Step):
    """Show the image's files as owned by the ids that the container's root really has."""

    lane: ClassVar = "M"
    id: ClassVar = "idmap-layers"
    why: ClassVar = "uid 0 in the image and uid 0 in the container become the same user"
    man: ClassVar = "mount_setattr(2), ID-mapped mounts"
    check: ClassVar = "grep idmapped /proc/PID/mountinfo"
    without: ClassVar = "every file of the image belongs to nobody (65534)"

    lowers: tuple[str, ...]
    target: str

    @property
    def call(self) -> tuple[str, ...]:
        """Each layer is cloned, mapped and attached below a directory of ours."""
        return (
            "open_tree(AT_FDCWD, path, OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC)",
            'mount_setattr(fd, "", AT_EMPTY_PATH, {attr_set=MOUNT_ATTR_IDMAP',
        )

    def apply(self, context: Context) -> None:
        """Attach layer N at ``target``/N."""
        for number, lower in enumerate(self.lowers):
            tree = kernel.open_tree(AT_FDCWD, lower, OpenTree.OPEN_TREE_CLONE)
            map_owners(tree, context.fds["userns"])
            place = f"{self.target}/{number}"
            os.makedirs(place, exist_ok=True)
            target = os.open(place, os.O_PATH | os.O_DIRECTORY)
            inroot.attach(tree, target)
            os.close(target)
            os.close(tree)


class MountMappedOverlay(MountOverlay):
    """The same, outside the user namespace: its layers are already mapped."""

    lane: ClassVar = "M"

    owner: tuple[int, int] = (0, 0)

    def apply(self, context: Context) -> None:
        """The writable layer is not mapped, so it must belong to the container's root."""
        if self.overlay.upper:
            os.chown(self.overlay.upper, *self.owner)
        super().apply(context)
