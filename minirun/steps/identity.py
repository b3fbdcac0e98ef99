"""Steps that decide who the process is and what that identity may do.

The order is forced: dropping a capability from the bounding set needs CAP_SETPCAP, changing groups
needs CAP_SETGID, changing the uid clears the capabilities unless they are kept on purpose, and only
then are they cut down to what the spec lists.

See: credentials(7), capabilities(7). Next: ``filters.py``.
"""

from __future__ import annotations

import os
import stat

from .. import inroot, kernel
from ..errors import StepError, SyscallError
from ..flags import (
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAP_AMBIENT_RAISE,
    PR_CAPBSET_DROP,
    PR_CAPBSET_READ,
    PR_SET_KEEPCAPS,
    PR_SET_NO_NEW_PRIVS,
)
from ..record import Record
from .base import Context, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

    from ..spec import User


#: An image may ship a user database of any size; the first megabyte is enough.
_PASSWD_LIMIT = 1 << 20


class CapabilityMasks(Record):
    """The five sets as bit masks."""

    bounding: int = 0
    effective: int = 0
    inheritable: int = 0
    permitted: int = 0
    ambient: int = 0


class NoNewPrivileges(Step):
    """A promise that the kernel keeps for us."""

    id: ClassVar = "no-new-privs"
    why: ClassVar = "no later execve can add a privilege"
    man: ClassVar = "prctl(2) PR_SET_NO_NEW_PRIVS"
    check: ClassVar = "grep NoNewPrivs /proc/PID/status"
    without: ClassVar = "a set-uid file in the image gives back what was dropped"

    @property
    def call(self) -> tuple[str, ...]:
        """Cannot be undone."""
        return ("prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)",)

    def apply(self, context: Context) -> None:
        """Also what allows a process without CAP_SYS_ADMIN to load a seccomp filter."""
        del context
        kernel.prctl(PR_SET_NO_NEW_PRIVS, 1)


class OwnStdio(Step):
    """Give the standard streams to the user who will use them."""

    id: ClassVar = "chown-stdio"
    why: ClassVar = "the program can reopen /dev/stdout even when it is not root"
    man: ClassVar = "fchown(2)"
    check: ClassVar = "stat -L /proc/PID/fd/1"
    without: ClassVar = "nginx and others that open /dev/stderr by name fail with EACCES"

    uid: int

    @property
    def call(self) -> tuple[str, ...]:
        """For 0, 1 and 2."""
        return (f"fchown(fd, {self.uid}, ",)

    def apply(self, context: Context) -> None:
        """Skip what is already right, /dev/null, and what belongs to no id of this namespace."""
        del context
        for fd in (0, 1, 2):
            try:
                status = os.fstat(fd)
            except OSError:
                continue
            null = stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, 3)
            if status.st_uid == self.uid or null:
                continue
            try:
                os.fchown(fd, self.uid, status.st_gid)
            except OSError as error:
                # EINVAL: unmapped owner; EPERM and EROFS: somebody else's file.
                if error.errno not in (1, 22, 30):
                    raise


class SetIdentity(Step):
    """Groups, gid, uid and capabilities, in the one order that works."""

    id: ClassVar = "identity"
    why: ClassVar = "root's power is cut into parts, and only the listed parts are kept"
    man: ClassVar = "setgroups(2), setresuid(2), capabilities(7)"
    check: ClassVar = "grep -E 'Uid|Gid|Groups|Cap' /proc/PID/status"
    without: ClassVar = "root in the container can load kernel modules"

    user: User
    capabilities: CapabilityMasks | None
    last_capability: int
    setgroups: bool = True

    @property
    def call(self) -> tuple[str, ...]:
        """Bounding set, groups, gid, uid, the three sets, ambient."""
        user = self.user
        ids = (
            f"setresgid({user.gid}, {user.gid}, {user.gid})",
            f"setresuid({user.uid}, {user.uid}, {user.uid})",
        )
        groups = (f"setgroups({len(user.additional_gids)}, ",) if self.setgroups else ()
        if self.capabilities is None:
            return (*groups, *ids)
        drop = tuple("prctl(PR_CAPBSET_DROP, " for _ in range(bool(self._dropped())))
        keep = ("prctl(PR_SET_KEEPCAPS, 1)",)
        return (*drop, *keep, *groups, *ids, "capset({version=_LINUX_CAPABILITY_VERSION_3")

    def _dropped(self) -> list[int]:
        """Return the numbers of the capabilities that leave the bounding set."""
        kept = self.capabilities.bounding if self.capabilities else -1
        return [bit for bit in range(self.last_capability + 1) if not kept >> bit & 1]

    def apply(self, context: Context) -> None:
        """Become that user."""
        del context
        if self.user.umask is not None:
            os.umask(self.user.umask)
        for bit in self._dropped():
            if kernel.prctl(PR_CAPBSET_READ, bit):
                kernel.prctl(PR_CAPBSET_DROP, bit)
        kernel.prctl(PR_SET_KEEPCAPS, 1)
        self._become_user()
        if self.capabilities is not None:
            _set_capabilities(self.capabilities)
        kernel.prctl(PR_SET_KEEPCAPS, 0)

    def _become_user(self) -> None:
        """Set groups, gid and uid; EINVAL means that the id has no mapping."""
        try:
            if self.setgroups:
                os.setgroups(self.user.additional_gids)
            os.setresgid(self.user.gid, self.user.gid, self.user.gid)
            os.setresuid(self.user.uid, self.user.uid, self.user.uid)
        except OSError as error:
            raise StepError(
                self.id,
                self.lane,
                f"user {self.user.uid}:{self.user.gid}: {os.strerror(error.errno or 0)}",
                hint="every id must be mapped in the user namespace",
            ) from error


def _set_capabilities(masks: CapabilityMasks) -> None:
    """Cut the sets down; what we do not hold ourselves cannot be given."""
    _, held, _ = kernel.capget()
    permitted = masks.permitted & held
    kernel.capset(masks.effective & permitted, permitted, masks.inheritable & held)
    kernel.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    raisable = masks.ambient & permitted & masks.inheritable
    for bit in range(raisable.bit_length()):
        if raisable >> bit & 1:
            kernel.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, bit)


class FindHome(Step):
    """HOME comes from the image's own user database, never from the host's."""

    id: ClassVar = "find-home"
    why: ClassVar = "programs keep their settings in HOME, and the spec did not set it"
    man: ClassVar = "passwd(5), environ(7)"
    check: ClassVar = "tr '\\0' '\\n' < /proc/PID/environ | grep HOME"
    without: ClassVar = "shells and pip fail to find a home directory"

    uid: int

    @property
    def call(self) -> tuple[str, ...]:
        """Resolved inside the rootfs; NSS would load libraries of the image."""
        return ('openat2(fd, "etc/passwd", {flags=O_RDONLY',)

    def apply(self, context: Context) -> None:
        """Leave it in ``context.home``; "/" when the user is not listed."""
        try:
            fd = inroot.open_in_root(context.rootfs_fd, "/etc/passwd", os.O_RDONLY | os.O_NONBLOCK)
        except SyscallError:
            return
        for line in os.read(fd, _PASSWD_LIMIT).split(b"\n"):
            fields = line.split(b":")
            if len(fields) >= 6 and fields[2] == b"%d" % self.uid and fields[5]:
                context.home = os.fsdecode(fields[5])
                break
        os.close(fd)


class ChangeDirectory(Step):
    """The working directory, and proof that it is inside."""

    id: ClassVar = "chdir"
    why: ClassVar = "the program starts where its image says"
    man: ClassVar = "chdir(2), getcwd(2)"
    check: ClassVar = "readlink /proc/PID/cwd"
    without: ClassVar = "a leaked fd as working directory is a way to the host (CVE-2024-21626)"

    cwd: str

    @property
    def call(self) -> tuple[str, ...]:
        """The raw getcwd tells the truth that libc hides."""
        return (f'chdir("{self.cwd}")', "getcwd(")

    def apply(self, context: Context) -> None:
        """As the user, because a directory on NFS may be closed to root."""
        del context
        try:
            os.chdir(self.cwd)
        except OSError as error:
            raise StepError(
                self.id,
                self.lane,
                f'chdir to cwd ("{self.cwd}") set in config.json failed: '
                f"{os.strerror(error.errno or 0).lower()}",
                hint="the directory must exist and be open to the user",
                exit_code=126,
            ) from error
        if not kernel.getcwd().startswith("/"):
            raise StepError(self.id, self.lane, "current working directory is outside of container")
