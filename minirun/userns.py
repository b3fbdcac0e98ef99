"""Make a user namespace and write its maps, as root or as anybody else.

Whoever has CAP_SETUID and CAP_SETGID writes any map. Everybody may map his own id, once setgroups
is denied. For more there are two programs that an administrator has made set-uid root: newuidmap
and newgidmap write the ranges that /etc/subuid and /etc/subgid grant to the caller, and no others.
They are found at fixed places, never through PATH, and must belong to root.

A child makes the namespace and waits while we, outside, write its maps; what stays is an fd.

See: user_namespaces(7), newuidmap(1), subuid(5). Next: ``rootless.py``.
"""

from __future__ import annotations

import os
import stat

from . import kernel
from .errors import HostError, SyscallError
from .flags import Clone
from .spec import IdMapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

CAP_SETGID, CAP_SETUID = 6, 7
_PLACES = ("/usr/bin", "/bin", "/usr/local/bin")
#: A switch of the host, the value that forbids, and how to allow it again.
_SWITCHES = (
    ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
    ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or a profile with `userns,`",
    ),
)


def make_user_namespace(
    uid_mappings: tuple[IdMapping, ...],
    gid_mappings: tuple[IdMapping, ...],
    *,
    setgroups: bool = True,
) -> int:
    """Return an fd of a new user namespace that nobody is in.

    Args:
        uid_mappings: what /proc/PID/uid_map will hold.
        gid_mappings: likewise; where it is our own gid alone, setgroups is denied.
        setgroups: False denies it in any case.

    Raises:
        HostError: this host makes none for us, or not with these ids; with the remedy.
    """
    made, proceed = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(proceed[1])  # or our own copy would keep us from seeing the end of file
        _hold_user_namespace(made[1], proceed[0])
    os.close(made[1])
    os.close(proceed[0])
    try:
        if error := os.read(made[0], 1)[0]:
            raise refused("unshare(CLONE_NEWUSER)", error, switches())
        write_maps(pid, uid_mappings, gid_mappings, setgroups=setgroups)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(proceed[1])
        os.close(made[0])
        os.waitpid(pid, 0)


def _hold_user_namespace(made: int, proceed: int) -> NoReturn:
    """Make the namespace, tell the errno or 0, and keep it until the parent has its fd."""
    try:
        try:
            kernel.unshare(Clone.CLONE_NEWUSER)
        except SyscallError as error:
            os.write(made, bytes((error.errno or 255,)))
        else:
            os.write(made, b"\0")
            os.read(proceed, 1)
    finally:
        os._exit(0)


def switches() -> dict[str, str]:
    """Return the host's switches that say who may make a user namespace; absent ones are left out.

    See: namespaces(7), /proc/sys/user; Debian's and Ubuntu's additions have no man page.
    """
    found = {}
    for name, _, _ in _SWITCHES:
        try:
            with open(f"/proc/sys/{name}", encoding="ascii") as file:
                found[name] = file.read().strip()
        except OSError:
            continue
    return found


def refused(call: str, errno: int, held: Mapping[str, str]) -> HostError:
    """Return why a user namespace cannot be had, naming the switch that forbids it.

    >>> refused("unshare", 28, {"user/max_user_namespaces": "0"}).hint
    'user.max_user_namespaces is 0; as root: sysctl -w user.max_user_namespaces=15000'
    """
    hint = "see dmesg, and user_namespaces(7); a seccomp filter around us may forbid it too"
    for name, forbids, remedy in _SWITCHES:
        if held.get(name) == forbids:
            hint = f"{name.replace('/', '.')} is {forbids}; as root: {remedy}"
            break
    return HostError(f"{call} was refused: {os.strerror(errno).lower()}", hint=hint)


# ── maps ──────────────────────────────────────────────────────────────────────────────────────


def write_maps(
    pid: int,
    uid_mappings: tuple[IdMapping, ...],
    gid_mappings: tuple[IdMapping, ...],
    *,
    setgroups: bool = True,
) -> None:
    """Write the maps of the user namespace that a process has just made.

    Raises:
        HostError: an id is not ours to give.
    """
    direct = may_map(CAP_SETGID)
    if not setgroups or (not direct and is_own(gid_mappings, os.getegid())):
        # Without this a group could be dropped to gain access that the group was denied.
        _write(pid, "setgroups", "deny")
    for kind, mappings, own, capability in (
        ("uid", uid_mappings, os.geteuid(), CAP_SETUID),
        ("gid", gid_mappings, os.getegid(), CAP_SETGID),
    ):
        # See: user_namespaces(7), "Defining user and group ID mappings".
        if may_map(capability) or is_own(mappings, own):
            _write(pid, f"{kind}_map", _map_text(mappings))
        else:
            _ask_helper(kind, pid, mappings)


def may_map(capability: int) -> bool:
    """Tell whether we may map ids that are not our own."""
    effective, _, _ = kernel.capget()
    return bool(effective >> capability & 1)


def is_own(mappings: tuple[IdMapping, ...], own: int) -> bool:
    """Tell whether the map is one that everybody may write: one id, and that the writer's.

    >>> is_own((IdMapping(0, 1000, 1),), 1000), is_own((IdMapping(0, 100000, 65536),), 1000)
    (True, False)
    """
    return len(mappings) == 1 and (mappings[0].host_id, mappings[0].size) == (own, 1)


def _map_text(mappings: tuple[IdMapping, ...]) -> str:
    return "".join(f"{m.container_id} {m.host_id} {m.size}\n" for m in mappings)


def _write(pid: int, name: str, text: str) -> None:
    """Write one file of the new namespace's first process, in one write(2) as such files demand."""
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except PermissionError as error:
        raise refused(f"write to {name}", error.errno or 0, switches()) from error


def _ask_helper(kind: str, pid: int, mappings: tuple[IdMapping, ...]) -> None:
    """Let newuidmap or newgidmap write a map.

    Raises:
        HostError: the program is missing or powerless, or the range is not the caller's.
    """
    name = f"new{kind}map"
    numbers = (str(n) for m in mappings for n in (m.container_id, m.host_id, m.size))
    code, said = _run((find_helper(name), str(pid), *numbers))
    if code:
        raise HostError(
            f"{name}: {said.removeprefix(f'{name}: ') or f'exit code {code}'}",
            hint=f"/etc/sub{kind} must grant the range to this user: "
            f"usermod --add-sub{kind}s 100000-165535 USER",
        )


def find_helper(name: str, places: tuple[str, ...] = _PLACES) -> str:
    """Return the path of newuidmap or newgidmap.

    Raises:
        HostError: it is not there, could be anybody's, or has no power to do its work.
    """
    for path in (f"{place}/{name}" for place in places):
        try:
            status = os.stat(path)
        except OSError:
            continue
        if status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise HostError(
                f"{path} is not root's alone: it could be anybody's program",
                hint="reinstall the package uidmap",
            )
        if not status.st_mode & stat.S_ISUID and not _has_file_capabilities(path):
            raise HostError(
                f"{path} cannot map ids: it is not set-uid root",
                hint=f"as root: chmod u+s {path}, or reinstall the package uidmap",
            )
        return path
    raise HostError(
        f"{name} is not installed: only one's own id can be mapped without it",
        hint="apt-get install uidmap, or use a bundle of minirun-oci spec --rootless",
    )


def _has_file_capabilities(path: str) -> bool:
    """Whether file capabilities stand in for set-uid, as on Fedora. See: capabilities(7)."""
    try:
        return bool(os.getxattr(path, "security.capability"))
    except OSError:
        return False


def _run(argv: tuple[str, ...]) -> tuple[int, str]:
    """Run a program without our environment; return its exit code and the first line it said."""
    heard, said = os.pipe()
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
        (os.POSIX_SPAWN_DUP2, 0, 1),
        (os.POSIX_SPAWN_DUP2, said, 2),
    ]
    try:
        pid = os.posix_spawn(argv[0], argv, {}, file_actions=actions)
    finally:
        os.close(said)
    with open(heard, "rb") as stream:
        text = stream.read().decode(errors="replace")
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), text.partition("\n")[0].strip()
