"""Steps that fill /dev: a handful of nodes, never the host's.

Everything is relative to an fd of the container's /dev, so an image that ships /dev as a link
cannot make us create or delete a node on the host (CVE-2026-41579).

See: mknod(2), pts(4), null(4). Next: ``limits.py``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios

from .. import inroot, kernel
from ..errors import StepError, SyscallError
from ..flags import AT_FDCWD, DEVPTS_SUPER_MAGIC, OpenTree
from ..spec import Device
from .base import Context, Step, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

    from ..spec import ConsoleSize

#: What every Linux program may expect. See: config-linux.md, Default Devices.
DEFAULT_DEVICES = tuple(
    Device("c", f"/dev/{name}", major, minor, 0o666, 0, 0)
    for name, major, minor in (
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    )
)
_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)
#: Linked where this kernel has it, as runc does. See: CONFIG_PROC_KCORE.
_CORE = "/proc/kcore"
_TYPES = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}


class MakeDevices(Step):
    """Nodes of the spec and the standard ones, and the links beside them."""

    id: ClassVar = "make-devices"
    why: ClassVar = "null, zero, random and tty, and nothing that reaches the host's hardware"
    man: ClassVar = "mknod(2), null(4), random(4)"
    check: ClassVar = "nsenter -t PID -m ls -l /dev"
    without: ClassVar = "/dev/null is a plain file that fills up, or the host's disks are readable"

    devices: tuple[Device, ...]
    bind: bool = False

    @property
    def call(self) -> tuple[str, ...]:
        """In a user namespace nodes cannot be made, so the host's are bound."""
        if self.bind:
            return tuple(
                f"open_tree(AT_FDCWD, {quoted(d.path)}, OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC)"
                for d in self.devices
            )
        return tuple(f"mknodat(fd, {quoted(d.path.rpartition('/')[2])}" for d in self.devices)

    def apply(self, context: Context) -> None:
        """Make them with an open umask, because the modes are meant literally."""
        umask = os.umask(0)
        dev = inroot.make_directory(context.rootfs_fd, "/dev")
        for device in self.devices:
            if self.bind:
                _bind_node(context.rootfs_fd, device)
            else:
                _make_node(context.rootfs_fd, device)
        for name, destination in _LINKS:
            _replace_link(dev, name, destination)
        if os.path.exists(_CORE):
            _replace_link(dev, "core", _CORE)
        if _exists(dev, "pts"):
            _replace_link(dev, "ptmx", "pts/ptmx")
        os.close(dev)
        os.umask(umask)


def _make_node(root_fd: int, device: Device) -> None:
    """Make one node below an fd of its directory."""
    head, _, name = device.path.rpartition("/")
    parent = inroot.make_directory(root_fd, head)
    mode = _TYPES[device.type] | (0o666 if device.file_mode is None else device.file_mode)
    try:
        os.mknod(name, mode, os.makedev(device.major, device.minor), dir_fd=parent)
    except FileExistsError:
        _require_same_node(parent, name, device)
    os.chown(name, device.uid or 0, device.gid or 0, dir_fd=parent, follow_symlinks=False)
    os.close(parent)


def _require_same_node(parent: int, name: str, device: Device) -> None:
    """A rootfs that has the node already is fine, if it is that node."""
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    wanted = os.makedev(device.major, device.minor)
    if status.st_mode & 0o170000 != _TYPES[device.type] or (
        device.type != "p" and status.st_rdev != wanted
    ):
        raise StepError("make-devices", "I", f"{device.path} exists and is something else")


def _bind_node(root_fd: int, device: Device) -> None:
    """Attach the host's node over an empty file."""
    tree = kernel.open_tree(AT_FDCWD, device.path, OpenTree.OPEN_TREE_CLONE)
    target = inroot.make_file(root_fd, device.path)
    inroot.attach(tree, target)
    os.close(tree)
    os.close(target)


def _replace_link(dev: int, name: str, destination: str) -> None:
    """Make the link, or leave alone what a volume put there."""
    try:
        os.symlink(destination, name, dir_fd=dev)
    except FileExistsError:
        if name == "ptmx":
            os.unlink(name, dir_fd=dev)
            os.symlink(destination, name, dir_fd=dev)


def _exists(dir_fd: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


_TIOCGPTPEER = 0x5441
_TIOCSPTLCK = 0x40045431


class OpenConsole(Step):
    """A terminal of the container's own devpts; its other end goes to whoever drives it."""

    id: ClassVar = "open-console"
    why: ClassVar = "an interactive program gets a terminal, job control and a window size"
    man: ClassVar = "pts(4), ioctl_tty(2) TIOCGPTPEER"
    check: ClassVar = "nsenter -t PID -m tty"
    without: ClassVar = "shells have no prompt, and Ctrl-C kills the runtime instead"

    size: ConsoleSize | None = None
    #: Whether it becomes /dev/console: init's terminal does, that of a process that joins does not.
    show: bool = True

    @property
    def call(self) -> tuple[str, ...]:
        """The peer is opened through the master: a path could be swapped (CVE-2025-52565)."""
        return (
            'openat2(fd, "dev/pts/ptmx", {flags=O_RDWR|O_NOCTTY',
            "ioctl(fd, TIOCSPTLCK, [0])",
            "ioctl(fd, TIOCGPTPEER, 0",
            "ioctl(fd, TIOCSCTTY, 0)",
        )

    def apply(self, context: Context) -> None:
        """Leave the master in ``context.fds["console"]`` and the slave on 0, 1 and 2."""
        flags = os.O_RDWR | os.O_NOCTTY
        master = inroot.open_in_root(context.rootfs_fd, "/dev/pts/ptmx", flags)
        if kernel.fstatfs_type(master) != DEVPTS_SUPER_MAGIC:
            raise StepError(self.id, self.lane, "/dev/pts is not a devpts")
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        slave = fcntl.ioctl(master, _TIOCGPTPEER, flags)
        if self.size is not None:
            size = struct.pack("HHHH", self.size.height, self.size.width, 0, 0)
            fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
        if self.show:
            _mount_console(context.rootfs_fd, slave)
        for fd in (0, 1, 2):
            os.dup2(slave, fd)
        os.close(slave)
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        context.fds["console"] = master


def _mount_console(root_fd: int, slave: int) -> None:
    """Show the terminal as /dev/console too; images without a /dev cannot have one."""
    try:
        tree = kernel.open_tree(slave, "", OpenTree.OPEN_TREE_CLONE | OpenTree.AT_EMPTY_PATH)
        target = inroot.make_file(root_fd, "/dev/console")
    except SyscallError as error:
        if error.errno in (errno.EINVAL, errno.EROFS):
            return
        raise
    inroot.attach(tree, target)
    os.close(tree)
    os.close(target)
