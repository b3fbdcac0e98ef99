"""The kernel's constants, with the kernel's names and values.

Every set of bits is an ``IntFlag`` so that an error, ``explain`` and a debug line can print the
names that strace prints. Values come from the uapi headers; each class names its page.

To a type checker the classes are ``enum.IntFlag``. At run time ``IntFlag`` is what stands below:
to import ``enum`` and make the classes with it took 5 ms, where Python itself starts in 7.

May not import anything. Next: ``syscall.py``, which makes the calls that take them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from enum import IntFlag
else:

    class _FlagType(type):
        """Turns the numbers of a class body into instances of the class that know their names."""

        def __new__(cls, name: str, bases: tuple, body: dict) -> type:
            numbers = {k: v for k, v in body.items() if type(v) is int}
            made = super().__new__(cls, name, bases, body)
            made.__members__ = {k: made(v) for k, v in numbers.items()}
            for member, value in made.__members__.items():
                setattr(made, member, value)
            return made

        def __iter__(cls) -> Iterator:
            return iter(cls.__members__.values())

    class IntFlag(int, metaclass=_FlagType):
        """Bits with names; what enum.IntFlag is, as far as it is used here."""

        __slots__ = ()

        @property
        def name(self) -> str:
            """Return the member's name, or those of its bits."""
            exact = [k for k, v in type(self).__members__.items() if int(v) == int(self)]
            return exact[0] if exact else spell(self)

        def __or__(self, other: int) -> IntFlag:
            return type(self)(int(self) | other)

        def __and__(self, other: int) -> IntFlag:
            return type(self)(int(self) & other)

        def __xor__(self, other: int) -> IntFlag:
            return type(self)(int(self) ^ other)

        __ror__, __rand__, __rxor__ = __or__, __and__, __xor__

        def __invert__(self) -> IntFlag:
            known = 0
            for member in type(self):
                known |= int(member)
            return type(self)(known & ~int(self))

        def __contains__(self, other: int) -> bool:
            return int(self) & other == int(other)

        def __repr__(self) -> str:
            return f"<{type(self).__name__}.{self.name}: {int(self)}>"


class Clone(IntFlag):
    """Namespaces to create or join. See: clone(2), unshare(2), setns(2)."""

    CLONE_NEWTIME = 0x80
    CLONE_NEWNS = 0x20000
    CLONE_NEWCGROUP = 0x2000000
    CLONE_NEWUTS = 0x4000000
    CLONE_NEWIPC = 0x8000000
    CLONE_NEWUSER = 0x10000000
    CLONE_NEWPID = 0x20000000
    CLONE_NEWNET = 0x40000000


class Mount(IntFlag):
    """Flags of the classic mount call. See: mount(2)."""

    MS_RDONLY = 1
    MS_NOSUID = 2
    MS_NODEV = 4
    MS_NOEXEC = 8
    MS_SYNCHRONOUS = 16
    MS_REMOUNT = 32
    MS_MANDLOCK = 64
    MS_DIRSYNC = 128
    MS_NOSYMFOLLOW = 256
    MS_NOATIME = 1024
    MS_NODIRATIME = 2048
    MS_BIND = 4096
    MS_MOVE = 8192
    MS_REC = 16384
    MS_SILENT = 32768
    MS_UNBINDABLE = 1 << 17
    MS_PRIVATE = 1 << 18
    MS_SLAVE = 1 << 19
    MS_SHARED = 1 << 20
    MS_RELATIME = 1 << 21
    MS_I_VERSION = 1 << 23
    MS_STRICTATIME = 1 << 24
    MS_LAZYTIME = 1 << 25


class MountAttr(IntFlag):
    """Attributes that can be changed for a whole tree at once. See: mount_setattr(2)."""

    MOUNT_ATTR_RDONLY = 0x1
    MOUNT_ATTR_NOSUID = 0x2
    MOUNT_ATTR_NODEV = 0x4
    MOUNT_ATTR_NOEXEC = 0x8
    MOUNT_ATTR_NOATIME = 0x10
    MOUNT_ATTR_STRICTATIME = 0x20
    MOUNT_ATTR__ATIME = 0x70
    MOUNT_ATTR_NODIRATIME = 0x80
    MOUNT_ATTR_IDMAP = 0x100000
    MOUNT_ATTR_NOSYMFOLLOW = 0x200000


class Umount(IntFlag):
    """See: umount2(2)."""

    MNT_FORCE = 1
    MNT_DETACH = 2
    MNT_EXPIRE = 4
    UMOUNT_NOFOLLOW = 8


class At(IntFlag):
    """Flags of the calls that take a directory fd. See: openat(2), open_tree(2), move_mount(2)."""

    AT_SYMLINK_NOFOLLOW = 0x100
    AT_NO_AUTOMOUNT = 0x800
    AT_EMPTY_PATH = 0x1000
    AT_RECURSIVE = 0x8000


class OpenTree(IntFlag):
    """See: open_tree(2); the AT_* bits may be added."""

    OPEN_TREE_CLONE = 1
    AT_SYMLINK_NOFOLLOW = 0x100
    AT_EMPTY_PATH = 0x1000
    AT_RECURSIVE = 0x8000
    OPEN_TREE_CLOEXEC = 0o2000000


class MoveMount(IntFlag):
    """See: move_mount(2)."""

    MOVE_MOUNT_F_SYMLINKS = 0x1
    MOVE_MOUNT_F_EMPTY_PATH = 0x4
    MOVE_MOUNT_T_SYMLINKS = 0x10
    MOVE_MOUNT_T_EMPTY_PATH = 0x40


class Resolve(IntFlag):
    """How openat2 may walk a path. See: openat2(2)."""

    RESOLVE_NO_XDEV = 0x01
    RESOLVE_NO_MAGICLINKS = 0x02
    RESOLVE_NO_SYMLINKS = 0x04
    RESOLVE_BENEATH = 0x08
    RESOLVE_IN_ROOT = 0x10


class SeccompFlag(IntFlag):
    """See: seccomp(2)."""

    SECCOMP_FILTER_FLAG_TSYNC = 1
    SECCOMP_FILTER_FLAG_LOG = 2
    SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4
    SECCOMP_FILTER_FLAG_NEW_LISTENER = 8
    SECCOMP_FILTER_FLAG_TSYNC_ESRCH = 16
    SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 32


class FsConfig(IntFlag):
    """Commands of fsconfig; an enumeration in the kernel, printed like one. See: fsconfig(2)."""

    FSCONFIG_SET_FLAG = 0
    FSCONFIG_SET_STRING = 1
    FSCONFIG_SET_FD = 5
    FSCONFIG_CMD_CREATE = 6


#: The working directory in place of a directory fd. See: openat(2).
AT_FDCWD = -100

# prctl(2): operations are plain numbers in <linux/prctl.h>.
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

# statfs(2): f_type of the file systems that must be what they claim to be.
PROC_SUPER_MAGIC = 0x9FA0
SYSFS_MAGIC = 0x62656572
CGROUP_SUPER_MAGIC = 0x27E0EB
CGROUP2_SUPER_MAGIC = 0x63677270
DEVPTS_SUPER_MAGIC = 0x1CD1
TMPFS_MAGIC = 0x01021994
OVERLAYFS_SUPER_MAGIC = 0x794C7630


def spell(flags: IntFlag) -> str:
    """Return the flags as strace prints them: ``MS_BIND|MS_REC``, or 0.

    >>> spell(Mount.MS_BIND | Mount.MS_REC)
    'MS_BIND|MS_REC'
    """
    names = [bit.name for bit in type(flags) if bit & flags == bit and bit]
    return "|".join(str(name) for name in names) or "0"
