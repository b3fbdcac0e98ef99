"""``minirun`` for an ordinary user: one user namespace, in which he is root of his own ids.

    $ minirun run …     uid 1000 on the host
        enter()         joins the user's namespace: uid 0 there is 1000 here, 1… are his sub-ids
        …               everything below works as for root: owners of files, mounts, overlays

There is one namespace for each user, and not one for each command: a process in one namespace may
neither enter nor signal what another one's ids own. It lives as long as a process is in it, so a
keeper waits in it for ever. Should somebody kill the keeper, the shim of a container that still
runs leads to it as well. Mounts are each command's own: a copy of the host's, made at that moment.

The host's root never comes here. May not be imported by anything but ``cli``.

See: user_namespaces(7), subuid(5); docs/rootless.md. Next: ``userns.py``.
"""

from __future__ import annotations

import fcntl
import os

from . import kernel
from .errors import HostError
from .flags import Clone
from .quickjson import dumps, loads
from .roots import default_root, user_root
from .spec import IdMapping
from .state import is_alive, process_start_time, replace_file
from .userns import make_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import NoReturn

#: Something that waits for ever and weighs nothing; an interpreter would keep 6 MB.
_WAITING = ("/bin/sleep", "2147483647")
_NAME = "minirun-keeper"


def enter() -> None:
    """Become root of this user's namespace; made when there is none.

    Raises:
        HostError: this host does not let him, or grants him no ids; with the remedy.
    """
    uid, gid, cwd = os.getuid(), os.getgid(), os.getcwd()
    # What is below the home and XDG directories is decided now: inside, we look like root.
    from .container.store import data_root

    os.environ["MINIRUN_DATA"], os.environ["MINIRUN_ROOT"] = data_root(), default_root()
    home = user_root()
    os.makedirs(home, 0o700, exist_ok=True)
    lock = os.open(f"{home}/.keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        namespace = _open_or_make(f"{home}/.keeper", uid, gid)
    finally:
        os.close(lock)
    _join(namespace)
    os.chdir(cwd)


def _join(namespace: int) -> None:
    """Enter as root, with mounts of our own."""
    kernel.setns(namespace, Clone.CLONE_NEWUSER)
    os.close(namespace)
    os.setgroups(())
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    kernel.unshare(Clone.CLONE_NEWNS)


# ── who is in it ──────────────────────────────────────────────────────────────────────────────


def _open_or_make(note: str, uid: int, gid: int) -> int:
    """Return an fd of the namespace, and see to it that a keeper is in it."""
    kept = _open_if_alive(*_read_keeper(note))
    if kept:
        return kept
    namespace = _open_through_a_shim() or make_user_namespace(
        mappings("uid", uid), mappings("gid", gid)
    )
    pid = os.fork()
    if pid == 0:
        try:
            _keep(namespace)
        finally:
            os._exit(1)
    replace_file(note, dumps({"pid": pid, "start_time": process_start_time(pid)}))
    return namespace


def _read_keeper(note: str) -> tuple[int, int]:
    """Return the keeper's pid and start time; zeros where there was none since the boot."""
    try:
        with open(note, encoding="utf-8") as file:
            held = loads(file.read())
    except FileNotFoundError:
        return 0, 0
    return held["pid"], held["start_time"]


def _open_through_a_shim() -> int:
    """Return an fd of the namespace that a running container's shim is in, or 0."""
    from .container.store import Store, data_root

    for record in Store(data_root()).all():
        if found := _open_if_alive(record.state.shim_pid, record.state.shim_start_time):
            return found
    return 0


def _open_if_alive(pid: int, start_time: int) -> int:
    """Return an fd of a process's user namespace, or 0 where it has ended."""
    if not is_alive(pid, start_time):
        return 0
    try:
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0


def _keep(namespace: int) -> NoReturn:
    """Be the keeper: nothing of the caller's stays open, and nothing is left to do."""
    kernel.setns(namespace, Clone.CLONE_NEWUSER)
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    kernel.close_range(3, 2**31 - 1, cloexec=False)
    os.execve(_WAITING[0], (_NAME, *_WAITING[1:]), {})


# ── ids ───────────────────────────────────────────────────────────────────────────────────────


def mappings(kind: str, own: int) -> tuple[IdMapping, ...]:
    """Return the map of a user's namespace: his own id is root, his sub-ids follow from 1 on.

    Args:
        kind: ``uid`` or ``gid``.
        own: his id of that kind.

    Raises:
        HostError: /etc/subuid or /etc/subgid grants him none.
    """
    path, name = f"/etc/sub{kind}", _login_name()
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            ranges = tuple(granted(file, (name, str(os.getuid()))))
    except FileNotFoundError:
        ranges = ()
    if not ranges:
        raise HostError(
            f"{path} grants no ids to {name}: the files of an image belong to many users",
            hint=f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}",
        )
    found = [IdMapping(0, own, 1)]
    for first, count in ranges:
        found.append(IdMapping(found[-1].container_id + found[-1].size, first, count))
    return tuple(found)


def granted(lines: Iterable[str], names: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """Yield (first, count) of each range of subuid(5) that belongs to one of the names.

    >>> list(granted(["ann:100000:65536", "# a comment", "1001:5:1"], ("ann", "1000")))
    [(100000, 65536)]
    """
    for line in lines:
        owner, _, numbers = line.strip().partition(":")
        first, _, count = numbers.partition(":")
        if owner in names and first.isdecimal() and count.isdecimal() and int(count):
            yield int(first), int(count)


def _login_name() -> str:
    """Return the user's name, as the files of sub-ids know him; his number where he has none."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
