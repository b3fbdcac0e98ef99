"""A small tmpfs for what containers and their engine share: sockets, and secrets.

See: tmpfs(5), mount(2). Next: ``api.py``, which passes it on.
"""

from __future__ import annotations

import errno
import os

from . import kernel
from .errors import SyscallError
from .flags import Mount, Umount


def mount_tmpfs(path: str, size_bytes: int) -> None:
    """Mount a small tmpfs in which nobody is led astray; nothing if one is there already.

    Containers write to it: a symbolic link that one leaves there is followed by nobody (since Linux
    5.10), a device node is none and a program cannot be executed. Needs CAP_SYS_ADMIN.

    Raises:
        MinirunError: it could not be mounted.
    """
    os.makedirs(path, 0o700, exist_ok=True)
    if os.path.ismount(path):
        return
    flags = Mount.MS_NOSUID | Mount.MS_NODEV | Mount.MS_NOEXEC | Mount.MS_NOSYMFOLLOW
    kernel.mount("minirun", path, "tmpfs", flags, f"mode=0700,size={size_bytes}")


def unmount(path: str) -> None:
    """Take a mount away, at once or when its last user is gone; nothing if there is none."""
    try:
        kernel.umount2(path, Umount.MNT_DETACH)
    except SyscallError as error:
        if error.errno not in (errno.ENOENT, errno.EINVAL):  # EINVAL: nothing is mounted there
            raise
