"""Steps that stack the layers for a user namespace: there the image's files have other owners.

Only who has power over the host's file systems may map the owners of a layer, so the root is
assembled before the user namespace is joined, in a mount namespace between the host's and the
container's. A plan imports this module where a container has ids of its own.

See: mount_setattr(2), ID-mapped mounts; mount_namespaces(7). Next: ``rootfs.py``.
"""

from __future__ import annotations

import os

from .. import inroot, kernel
from ..flags import AT_FDCWD, Clone, OpenTree, spell
from .base import Context, Step
from .namespaces import MakeMountsPrivate
from .overlay import MountOverlay, map_owners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


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
