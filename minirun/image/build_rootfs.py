"""The file system of a stage, looked at or changed without mounting it anywhere.

``fsmount`` returns an overlay as a file descriptor that is attached to no folder and no mount
namespace. COPY writes through it, and the kernel does the copy-up and the whiteouts; nobody else
sees it, and it is gone with the descriptor, even after kill -9.

See: fsopen(2), fsmount(2), overlayfs.rst. Next: ``build_copy.py``. Needs CAP_SYS_ADMIN.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from .. import kernel
from ..errors import HostError, ImageError, SyscallError
from ..flags import AT_FDCWD, Clone, FsConfig, Mount, MountAttr, OpenTree, Resolve
from .unpack_later import overlay_prefix

IN_ROOT = Resolve.RESOLVE_IN_ROOT | Resolve.RESOLVE_NO_MAGICLINKS
#: Features whose marks in the upper folder mean nothing outside of this mount.
_OFF = {"redirect_dir": "off", "metacopy": "off", "index": "off"}
#: The same in a user namespace, where overlayfs has only marks of this kind, and only index.
_OFF_FOR_USERS = {"userxattr": "", "index": "off"}


@contextmanager
def merged(
    lowers: Sequence[Path], upper: Path | None = None, work: Path | None = None
) -> Iterator[int]:
    """Yield a descriptor of the merged root of some layers; read-only without ``upper``.

    Args:
        lowers: unpacked layers, topmost first; at least one.
        upper: receives the changes.
        work: overlayfs's own folder, required with ``upper``.
    """
    if upper is None and len(lowers) == 1:
        root = os.open(lowers[0], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    else:
        root = _overlay(lowers, upper, work)
    try:
        yield root
    finally:
        os.close(root)


def _overlay(lowers: Sequence[Path], upper: Path | None, work: Path | None) -> int:
    above = {} if upper is None or work is None else {"upperdir": upper, "workdir": work}
    try:
        try:
            return _configured(lowers, above)
        except SyscallError as error:
            if error.errno != errno.EINVAL:
                raise
            return _mounted_aside(lowers, above)
    except SyscallError as error:
        hint = "building needs root, and a file system below the image store that is no overlay"
        raise HostError(f"cannot put the layers together: {error}", hint=hint) from error


def _configured(lowers: Sequence[Path], above: Mapping[str, Path]) -> int:
    """Name the layers one by one, which Linux 6.8 and later understand."""
    context = kernel.fsopen("overlay")
    try:
        for lower in lowers:
            kernel.fsconfig(context, FsConfig.FSCONFIG_SET_STRING, "lowerdir+", str(lower))
        for key, value in {**above, **_off()}.items():
            kind = FsConfig.FSCONFIG_SET_STRING if value else FsConfig.FSCONFIG_SET_FLAG
            kernel.fsconfig(context, kind, key, str(value) or None)
        kernel.fsconfig(context, FsConfig.FSCONFIG_CMD_CREATE, None, None)
        return kernel.fsmount(context, MountAttr(0))
    finally:
        os.close(context)


def _off() -> dict[str, str]:
    return _OFF if overlay_prefix().startswith("trusted.") else _OFF_FOR_USERS


def _mounted_aside(lowers: Sequence[Path], above: Mapping[str, Path]) -> int:
    """Mount as before Linux 6.8, in a mount namespace that ends with its only thread.

    Before that, fsconfig(2) takes all layers as one value of at most 255 bytes. mount(2) takes
    4095, and by descriptor a layer needs 18 of them, however deep the store lies.
    """
    from concurrent.futures import ThreadPoolExecutor  # slow to import, seldom needed

    with ThreadPoolExecutor(1) as aside:
        return aside.submit(_mount_and_clone, lowers, above).result()


def _mount_and_clone(lowers: Sequence[Path], above: Mapping[str, Path]) -> int:
    """Return a detached clone of an overlay; runs in a thread that has nothing else to do."""
    kernel.unshare(Clone.CLONE_NEWNS)
    kernel.mount(None, "/", None, Mount.MS_REC | Mount.MS_PRIVATE, None)
    place = str(lowers[0])
    with ExitStack() as stack:

        def held(path: Path) -> str:
            """Opened only now: overlayfs refuses what is mounted in another namespace."""
            fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            return f"/proc/self/fd/{fd}"

        options = {"lowerdir": ":".join(map(held, lowers))}
        options |= {key: held(path) for key, path in above.items()} | _off()
        data = ",".join(f"{key}={value}" if value else key for key, value in options.items())
        kernel.mount("overlay", place, "overlay", Mount(0), data)
    return kernel.open_tree(AT_FDCWD, place, OpenTree.OPEN_TREE_CLONE)


def open_in(root: int, path: str, flags: int) -> int:
    """Open a path with ``root`` as its "/": no link and no ``..`` leads out of it."""
    try:
        return kernel.openat2(root, path.lstrip("/") or ".", flags, 0, IN_ROOT)
    except SyscallError as error:
        number = error.errno or 0
        raise OSError(number, os.strerror(number), path) from error


def is_folder(root: int, path: str) -> bool:
    """Return True when the path is a folder inside the root, or a link to one."""
    with suppress(OSError):
        os.close(open_in(root, path, os.O_PATH | os.O_DIRECTORY))
        return True
    return False


def read_text(root: int, path: str) -> str:
    """Return the text of a file inside the root, "" where there is none."""
    try:
        fd = open_in(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    with os.fdopen(fd, "rb") as file:
        return file.read(1 << 20).decode("utf-8", "surrogateescape")


def owner_of(root: int, spec: str) -> tuple[int, int]:
    """Return the (uid, gid) that ``user[:group]`` means to the image's own user database.

    A number stands for itself; a user without a group brings the group of the same name, else its
    own, as Docker has it.

    Raises:
        ImageError: the image has no such user or group.
    """
    user, colon, group = spec.partition(":")
    users = _database(read_text(root, "etc/passwd"))
    groups = _database(read_text(root, "etc/group"))
    uid, primary = _user(user, users)
    if not colon:
        same = groups.get(user)
        return uid, int(same[2]) if same else primary
    if group.isdecimal():
        return uid, int(group)
    if group not in groups:
        raise ImageError(f"the image has no group {group!r}", hint="use a number, or add the group")
    return uid, int(groups[group][2])


def _user(user: str, users: dict[str, list[str]]) -> tuple[int, int]:
    if user.isdecimal():
        return int(user), int(user)
    if user not in users:
        raise ImageError(f"the image has no user {user!r}", hint="use a number, or add the user")
    return int(users[user][2]), int(users[user][3])


def _database(text: str) -> dict[str, list[str]]:
    """Return the lines of passwd or group by their first field; damaged ones are skipped."""
    rows = [line.split(":") for line in text.splitlines()]
    return {row[0]: row for row in rows if len(row) >= 4 and row[2].isdecimal()}
