"""Steps for the ``mounts`` of the spec: file systems, binds and control groups.

A mount is made first, as a detached object behind an fd, given all its attributes, and only then
attached at a place that was resolved inside the rootfs. There is no moment at which it is visible
with the wrong options, and no path that could be swapped in between.

See: fsopen(2), open_tree(2), mount_setattr(2), move_mount(2).
Next: ``devices.py``.
"""

from __future__ import annotations

import errno
import os
import stat

from .. import inroot, kernel
from ..errors import HostError, StepError, SyscallError
from ..flags import AT_FDCWD, At, FsConfig, Mount, MountAttr, OpenTree, spell
from ..mount_options import MountOptions
from ..record import replace
from .base import Context, Step, quoted
from .copyup import copy_tree
from .covering import require_may_cover
from .trees import open_source, spell_clone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

_NONE = MountAttr(0)
_MOVE = 'move_mount(fd, "", fd, "", MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH)'


class MountFilesystem(Step):
    """A new instance of a file system: proc, sysfs, tmpfs, devpts, mqueue …."""

    id: ClassVar = "mount"
    why: ClassVar = "programs expect this file system, and a fresh one shows only the container"
    man: ClassVar = "fsopen(2), move_mount(2), filesystems(5)"
    check: ClassVar = "findmnt -N PID"
    without: ClassVar = "ps, df, openpty or shm_open fail, or show the host"

    fstype: str
    source: str
    destination: str
    options: MountOptions

    @property
    def title(self) -> str:
        """Name the place."""
        return f"{self.id} {self.destination}"

    @property
    def call(self) -> tuple[str, ...]:
        """Make, configure, attach."""
        return (
            f"fsopen({quoted(self.fstype)}, FSOPEN_CLOEXEC)",
            *(_spell_setting(setting) for setting in self.options.data),
            "fsconfig(fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0)",
            f"fsmount(fd, FSMOUNT_CLOEXEC, {spell(self.options.attr_set)})",
            _MOVE,
        )

    def apply(self, context: Context) -> None:
        """Mount it; what the image says about a directory's mode holds for a tmpfs on it too."""
        options = self.options
        if self.fstype == "tmpfs" and not any(word.startswith("mode=") for word in options.data):
            options = replace(options, data=(*options.data, *self._mode_beneath(context)))
        tree = make_filesystem(self.fstype, self.source, options)
        target = self._open_target(context)
        if self.options.tmpcopyup:
            copy_tree(target, tree)
        place(context, tree, target, self.options, self.destination)

    def _mode_beneath(self, context: Context) -> tuple[str, ...]:
        """Return the mode of the directory to be covered, as an option; none where it is new."""
        try:
            fd = inroot.open_in_root(context.rootfs_fd, self.destination)
        except SyscallError:
            return ()
        mode = os.fstat(fd).st_mode & 0o7777
        os.close(fd)
        return (f"mode={mode:o}",)

    def _open_target(self, context: Context) -> int:
        """/proc and /sys must be what they seem: the runtime itself relies on them."""
        if self.fstype not in ("proc", "sysfs"):
            return inroot.make_directory(context.rootfs_fd, self.destination)
        os.close(inroot.make_directory(context.rootfs_fd, self.destination))
        try:
            return inroot.open_plain_directory(context.rootfs_fd, self.destination)
        except SyscallError as error:
            raise StepError(
                self.title,
                self.lane,
                f"filesystem {self.fstype} must be mounted on ordinary directory, "
                f"{self.destination} is reached through a symbolic link",
                hint="the image is hostile or broken: remove the link from it",
            ) from error


def make_filesystem(fstype: str, source: str, options: MountOptions) -> int:
    """Return a detached new file system.

    Raises:
        HostError: this kernel does not know the type, or refuses an option; with its own words.
    """
    try:
        fs = kernel.fsopen(fstype)
    except SyscallError as error:
        if error.errno == errno.ENODEV:
            raise HostError(f"file system {fstype} is not known to this kernel") from error
        raise
    try:
        if source:
            kernel.fsconfig(fs, FsConfig.FSCONFIG_SET_STRING, "source", source)
        for setting in options.data:
            key, equals, value = setting.partition("=")
            command = FsConfig.FSCONFIG_SET_STRING if equals else FsConfig.FSCONFIG_SET_FLAG
            kernel.fsconfig(fs, command, key, value if equals else None)
        kernel.fsconfig(fs, FsConfig.FSCONFIG_CMD_CREATE, None, None)
        return kernel.fsmount(fs, options.attr_set)
    except SyscallError as error:
        error.hint = _kernel_log(fs)
        raise
    finally:
        os.close(fs)


def _kernel_log(fs: int) -> str:
    """Return what the kernel wrote about the failed configuration. See: fsopen(2)."""
    try:
        return "the kernel says: " + os.read(fs, 4096).decode(errors="replace").strip()[2:]
    except OSError:
        return ""


def _spell_setting(setting: str) -> str:
    key, equals, value = setting.partition("=")
    if equals:
        return f"fsconfig(fd, FSCONFIG_SET_STRING, {quoted(key)}, {quoted(value)}, 0)"
    return f"fsconfig(fd, FSCONFIG_SET_FLAG, {quoted(key)}, NULL, 0)"


def place(
    context: Context, tree: int, target: int, options: MountOptions, destination: str
) -> None:
    """Attach a detached mount at its target, unless that hides /proc or /sys."""
    require_may_cover(context.rootfs_fd, tree, target, destination)
    inroot.attach(tree, target)
    for propagation in options.propagation:
        flags = At.AT_EMPTY_PATH
        if propagation & Mount.MS_REC:
            flags |= At.AT_RECURSIVE
        kernel.mount_setattr(tree, "", flags, _NONE, propagation=propagation & ~Mount.MS_REC)
    os.close(tree)
    os.close(target)


class MountBind(Step):
    """Show a directory or file of the host inside."""

    id: ClassVar = "bind"
    why: ClassVar = "this part of the host is shared with the container, with these options"
    man: ClassVar = "open_tree(2), mount_setattr(2), move_mount(2)"
    check: ClassVar = "findmnt -N PID"
    without: ClassVar = "data is lost with the container, or cannot get in"

    source: str
    destination: str
    options: MountOptions
    prepared: bool = False

    @property
    def title(self) -> str:
        """Name the place."""
        return f"{self.id} {self.destination}"

    @property
    def call(self) -> tuple[str, ...]:
        """Clone, restrict, attach."""
        lines = [] if self.prepared else [spell_clone(self.source, self.options)]
        for set_, clear, at in _changes(self.options):
            what = f"attr_set={spell(set_)}" if set_ else f"attr_set=0, attr_clr={spell(clear)}"
            lines.append(f'mount_setattr(fd, "", {spell(at)}, {{{what}')
        return (*lines, _MOVE)

    def apply(self, context: Context) -> None:
        """Bind it."""
        tree = context.trees.pop(self.destination, -1)
        if tree < 0:
            tree = open_source(self.source, self.options)
        for set_, clear, at in _changes(self.options):
            kernel.mount_setattr(tree, "", at, set_, clear)
        target = inroot.make_mountpoint(context.rootfs_fd, self.destination, tree)
        if stat.S_ISLNK(os.fstat(target).st_mode):
            raise StepError(self.title, self.lane, f"{self.destination} is a symbolic link")
        place(context, tree, target, self.options, self.destination)


def _changes(options: MountOptions) -> list[tuple[MountAttr, MountAttr, At]]:
    """Return the (set, clear, flags) of each mount_setattr that a bind needs."""
    flat = (options.attr_set, options.attr_clr, At.AT_EMPTY_PATH)
    deep = (options.recursive_set, options.recursive_clr, At.AT_EMPTY_PATH | At.AT_RECURSIVE)
    return [change for change in (deep, flat) if change[0] or change[1]]


class MountCgroup2(Step):
    """The unified hierarchy, starting at the container's own group."""

    id: ClassVar = "mount-cgroup"
    why: ClassVar = "programs such as the JVM read their limits here"
    man: ClassVar = "cgroups(7), cgroup_namespaces(7)"
    check: ClassVar = "nsenter -t PID -m -C cat /sys/fs/cgroup/cgroup.controllers"
    without: ClassVar = "the container cannot learn its limits"

    destination: str
    options: MountOptions
    fallback: str = ""

    @property
    def call(self) -> tuple[str, ...]:
        """Without a cgroup namespace the group's directory is bound instead."""
        if self.fallback:
            return (spell_clone(self.fallback, self.options), _MOVE)
        attributes = spell(self.options.attr_set)
        return (
            'fsopen("cgroup2", FSOPEN_CLOEXEC)',
            f"fsmount(fd, FSMOUNT_CLOEXEC, {attributes})",
            _MOVE,
        )

    def apply(self, context: Context) -> None:
        """Mount, or bind."""
        if self.fallback:
            tree = kernel.open_tree(AT_FDCWD, self.fallback, OpenTree.OPEN_TREE_CLONE)
            kernel.mount_setattr(tree, "", At.AT_EMPTY_PATH, self.options.attr_set)
        else:
            tree = make_filesystem("cgroup2", "cgroup", self.options)
        target = inroot.make_directory(context.rootfs_fd, self.destination)
        place(context, tree, target, self.options, self.destination)


class MountCgroup1(Step):
    """Version 1 has a hierarchy for each controller: a tmpfs holds one directory for each."""

    id: ClassVar = "mount-cgroup"
    why: ClassVar = "programs such as the JVM read their limits here"
    man: ClassVar = "cgroups(7), Cgroups version 1"
    check: ClassVar = "nsenter -t PID -m ls /sys/fs/cgroup"
    without: ClassVar = "the container cannot learn its limits"

    destination: str
    options: MountOptions
    #: (directory name, the container's group on the host, names that link to it)
    groups: tuple[tuple[str, str, tuple[str, ...]], ...]

    @property
    def call(self) -> tuple[str, ...]:
        """A clone of the container's own group for each hierarchy."""
        binds = (
            f"open_tree(AT_FDCWD, {quoted(path)}, OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC)"
            for _, path, _ in self.groups
        )
        return ('fsopen("tmpfs", FSOPEN_CLOEXEC)', _MOVE, *binds)

    def apply(self, context: Context) -> None:
        """The tmpfs becomes read-only once its directories are there."""
        settings = MountOptions(_NONE, data=("mode=755",))
        holder = make_filesystem("tmpfs", "cgroup", settings)
        for name, _, links in self.groups:
            os.mkdir(name, 0o755, dir_fd=holder)
            for link in links:
                os.symlink(name, link, dir_fd=holder)
        kernel.mount_setattr(holder, "", At.AT_EMPTY_PATH, self.options.attr_set)
        target = inroot.make_directory(context.rootfs_fd, self.destination)
        require_may_cover(context.rootfs_fd, holder, target, self.destination)
        inroot.attach(holder, target)
        for name, path, _ in self.groups:
            tree = kernel.open_tree(AT_FDCWD, path, OpenTree.OPEN_TREE_CLONE)
            kernel.mount_setattr(tree, "", At.AT_EMPTY_PATH, self.options.attr_set)
            place_at = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=holder)
            inroot.attach(tree, place_at)
            os.close(place_at)
            os.close(tree)
        os.close(holder)
        os.close(target)
