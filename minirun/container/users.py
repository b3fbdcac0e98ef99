"""--user and USER against the image's own /etc/passwd and /etc/group.

The files are the image's, so they are hostile: they are read as bytes of bounded size through a
directory fd that cannot leave the image, parsed here by hand, and a line that is not well formed is
no line. The name service of the host (NSS) is never asked: it would load the image's libraries.

A user is a number or a name, and never both: ASCII digits only, from 0 to 4294967294, are a number
and are not looked up as a name; ``0x1``, ``-1`` or ``1 `` are errors instead of root
(CVE-2026-30892, CVE-2024-40635). -1, which is 4294967295, means "leave unchanged" to setuid(2).

``resolve`` is pure. See: passwd(5), group(5). Next: ``command.py``.
"""

from __future__ import annotations

from ..errors import UsageError
from ..record import Record
from ..spec import User
from .words import LETTERS, NAME_REST, is_digits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MAX_ID = 2**32 - 2
MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_GROUPS = 65536
"""NGROUPS_MAX: setgroups(2) refuses more."""


class Identity(Record):
    """Who a container's process is; ``home`` becomes $HOME where nothing else sets it."""

    user: User
    home: str = "/"


class PasswdLine(Record):
    """One account, without what only login(1) needs."""

    name: str
    uid: int
    gid: int
    home: str


class GroupLine(Record):
    """One group and its members' names."""

    name: str
    gid: int
    members: tuple[str, ...]


def passwd_lines(content: bytes) -> Iterator[PasswdLine]:
    """Yield the well-formed lines of an /etc/passwd."""
    for fields in _fields(content, 7):
        uid, gid = _id_or_none(fields[2]), _id_or_none(fields[3])
        if fields[0] and uid is not None and gid is not None:
            yield PasswdLine(fields[0], uid, gid, fields[5])


def group_lines(content: bytes) -> Iterator[GroupLine]:
    """Yield the well-formed lines of an /etc/group."""
    for fields in _fields(content, 4):
        gid = _id_or_none(fields[2])
        if fields[0] and gid is not None:
            yield GroupLine(fields[0], gid, tuple(filter(None, fields[3].split(","))))


def _fields(content: bytes, count: int) -> Iterator[list[str]]:
    if len(content) > MAX_FILE_BYTES:
        raise UsageError(
            f"the image's user database is larger than {MAX_FILE_BYTES} bytes",
            hint="give --user as numbers, UID:GID",
        )
    for raw in content.split(b"\n"):
        fields = raw.decode("utf-8", "replace").split(":")
        if len(fields) == count and "\0" not in fields[0]:
            yield fields


def _id_or_none(text: str) -> int | None:
    """Return the number, or None when the text is not exactly one."""
    if not is_digits(text) or len(text) > 10 or int(text) > MAX_ID:
        return None
    return int(text)


def _wanted(text: str, what: str) -> int | str:
    """Return a number or a name that the user asked for.

    Raises:
        UsageError: it is neither.
    """
    number = _id_or_none(text)
    if number is not None:
        return number
    if not text or text[0] not in LETTERS | {"_"} or set(text[:-1]) - NAME_REST:
        raise UsageError(f"invalid {what} {text!r}", hint=f"a name, or a number up to {MAX_ID}")
    if text[-1] not in NAME_REST | {"$"}:
        raise UsageError(f"invalid {what} {text!r}", hint=f"a name, or a number up to {MAX_ID}")
    return text


def check(text: str) -> str:
    """Return ``user[:group]`` when its grammar is right; whether they exist is known later."""
    if text:
        user, group = _split(text)
        _wanted(user, "user")
        if group is not None:
            _wanted(group, "group")
    return text


def check_group(text: str) -> str:
    """Return a group of --group-add when its grammar is right."""
    _wanted(text, "group")
    return text


def _split(text: str) -> tuple[str, str | None]:
    user, colon, group = text.partition(":")
    return user, group if colon else None


def resolve(
    text: str, passwd: bytes = b"", group: bytes = b"", extra_groups: Sequence[str] = ()
) -> Identity:
    """Return who ``user[:group]`` is in an image.

    Args:
        text: --user, or the image's USER; "" is root.
        passwd: the image's /etc/passwd, b"" where it has none.
        group: the image's /etc/group, likewise.
        extra_groups: --group-add, as names or numbers.

    Raises:
        UsageError: the text is malformed, or names somebody the image does not know.
    """
    user_text, group_text = _split(text or "0")
    found = _find_user(_wanted(user_text, "user"), passwd)
    groups = tuple(group_lines(group)) if group else ()
    if group_text is not None:
        gid, joined = _find_group(_wanted(group_text, "group"), groups), []
    else:
        gid = found.gid
        joined = [g.gid for g in groups if found.name and found.name in g.members]
    added = [_find_group(_wanted(name, "group"), groups) for name in extra_groups]
    # The primary group belongs to the list too: else a process could leave a group that denies it
    # access (CVE-2022-36109).
    gids = tuple(dict.fromkeys((gid, *joined, *added)))
    if len(gids) > MAX_GROUPS:
        raise UsageError(f"{text!r} is in {len(gids)} groups; the kernel allows {MAX_GROUPS}")
    home = found.home if found.home.startswith("/") else "/"
    user = User(uid=found.uid, gid=gid, additional_gids=gids, username=found.name)
    return Identity(user, home)


def _find_user(wanted: int | str, passwd: bytes) -> PasswdLine:
    for line in passwd_lines(passwd):
        if wanted in (line.uid, line.name):
            return line
    if isinstance(wanted, str):
        hint = "give a number, or add the user in the Dockerfile"
        raise UsageError(f"no user {wanted!r} in the image's /etc/passwd", hint=hint)
    return PasswdLine("", wanted, 0, "/")


def _find_group(wanted: int | str, groups: Iterable[GroupLine]) -> int:
    for line in groups:
        if wanted in (line.gid, line.name):
            return line.gid
    if isinstance(wanted, str):
        hint = "give a number, or add the group in the Dockerfile"
        raise UsageError(f"no group {wanted!r} in the image's /etc/group", hint=hint)
    return wanted


def read_database(rootfs_fd: int, name: str) -> bytes:
    """Return ``etc/passwd`` or ``etc/group`` of a root file system, b"" where there is none.

    Args:
        rootfs_fd: the root directory; no symbolic link leads out of it.
        name: relative to it.

    Raises:
        UsageError: it is not a regular file, or too large to be what it claims.
    """
    import os
    import stat

    from .. import kernel
    from ..errors import SyscallError
    from ..flags import Resolve

    # O_NONBLOCK: opening a fifo would wait for a writer that never comes.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    resolve_flags = Resolve.RESOLVE_IN_ROOT | Resolve.RESOLVE_NO_MAGICLINKS
    try:
        fd = kernel.openat2(rootfs_fd, name, flags, 0, resolve_flags)
    except SyscallError:
        return b""
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_FILE_BYTES:
            raise UsageError(f"the image's {name} is not a small file", hint="give UID:GID")
        chunks = iter(lambda: os.read(fd, 65536), b"")
        return b"".join(chunks)
    finally:
        os.close(fd)
