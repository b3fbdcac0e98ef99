"""The system calls of a container, one wrapper each. The only module that imports ctypes.

A wrapper takes the arguments of its man page in their order, and either returns what the kernel
returned or raises SyscallError with the call written out as strace would print it. No policy, no
retries, no logging: this is the file that a security reader audits first.

Calls that glibc exports are bound by name. Newer ones go through syscall(2) by number; those from
424 on share one number on every architecture, the older ones are in ``_NUMBERS``. Every file
descriptor made here is close-on-exec.

Next: ``host.py``, which asks what this kernel can do.
"""

from __future__ import annotations

import ctypes
import os
import struct
from ctypes import byref, c_char_p, c_int, c_long, c_size_t, c_uint, c_uint64, c_ulong, c_void_p

from .errors import SyscallError
from .flags import (
    AT_FDCWD,
    At,
    Clone,
    FsConfig,
    Mount,
    MountAttr,
    MoveMount,
    OpenTree,
    Resolve,
    SeccompFlag,
    Umount,
    spell,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_libc = ctypes.CDLL(None, use_errno=True)

#: (x86_64, aarch64), from the kernel's unistd tables.
_NUMBERS = {
    "getcwd": (79, 17),
    "keyctl": (250, 219),
    "ioprio_set": (251, 30),
    "set_mempolicy": (238, 237),
    "sched_setattr": (314, 274),
    "seccomp": (317, 277),
    "bpf": (321, 280),
    "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27),
}
_MACHINE = {"x86_64": 0, "aarch64": 1}.get(os.uname().machine)


def _bind(name: str, *argtypes: type) -> Callable[..., int]:
    """Return libc's function with its prototype fixed once and for all."""
    function: Callable[..., int] = ctypes.CFUNCTYPE(c_int, *argtypes, use_errno=True)((name, _libc))
    return function


_syscall = ctypes.CFUNCTYPE(c_long, c_long, *[c_ulong] * 6, use_errno=True)(("syscall", _libc))
_mount = _bind("mount", c_char_p, c_char_p, c_char_p, c_ulong, c_char_p)
_umount2 = _bind("umount2", c_char_p, c_int)
_unshare = _bind("unshare", c_int)
_setns = _bind("setns", c_int, c_int)
_pivot_root = _bind("pivot_root", c_char_p, c_char_p)
_sethostname = _bind("sethostname", c_char_p, c_size_t)
_setdomainname = _bind("setdomainname", c_char_p, c_size_t)
_prctl = _bind("prctl", c_int, c_ulong, c_ulong, c_ulong, c_ulong)
_capset = _bind("capset", c_void_p, c_void_p)
_capget = _bind("capget", c_void_p, c_void_p)
_personality = _bind("personality", c_ulong)
_fstatfs = _bind("fstatfs", c_int, c_void_p)
_execve = _bind("execve", c_char_p, c_void_p, c_void_p)
_tee = _bind("tee", c_int, c_int, c_size_t, c_uint)


def _check(result: int, call: str, *args: object) -> int:
    """Return the result, or raise with the call spelled out."""
    if result < 0:
        number = ctypes.get_errno()
        raise SyscallError(f"{call}({', '.join(map(_spell, args))})", number)
    return result


class _Word(str):
    """An argument that is spelled already: a constant's name, or a number in another base."""

    __slots__ = ()


def _spell(arg: object) -> str:
    """Return one argument as strace prints it."""
    if isinstance(arg, _Word):
        return arg
    if isinstance(arg, (Clone, Mount, MountAttr, Umount, At, OpenTree, MoveMount, Resolve)):
        return spell(arg)
    if isinstance(arg, (SeccompFlag, FsConfig)):
        return spell(arg)
    if arg is None or arg == AT_FDCWD:
        return "NULL" if arg is None else "AT_FDCWD"
    return repr(os.fsdecode(arg)) if isinstance(arg, (str, bytes)) else str(arg)


def _number(name: str) -> int:
    """Return the number of an older call on this architecture."""
    if _MACHINE is None:
        raise SyscallError(f"{name}()", 38, hint=f"{os.uname().machine} is not supported")
    return _NUMBERS[name][_MACHINE]


def _raw(number: int, *args: int | bytes | None) -> int:
    """Call syscall(2) with up to six words; bytes are passed by address."""
    words = [_word(arg) for arg in args]
    result: int = _syscall(number, *words, *[0] * (6 - len(words)))
    return result


def _word(arg: int | bytes | None) -> int:
    if isinstance(arg, bytes):
        return ctypes.cast(c_char_p(arg), c_void_p).value or 0
    return (arg or 0) & 0xFFFFFFFFFFFFFFFF


def _path(path: str | bytes | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


# ── namespaces ────────────────────────────────────────────────────────────────────────────────


def unshare(flags: Clone) -> None:
    """Move this process into new namespaces.

    Raises SyscallError: EPERM without CAP_SYS_ADMIN; EINVAL for CLONE_NEWUSER with threads.
    See: unshare(2), namespaces(7). Needs CAP_SYS_ADMIN in the owning user namespace.
    """
    _check(_unshare(flags), "unshare", flags)


def setns(fd: int, nstype: Clone) -> None:
    """Join the namespace that ``fd`` refers to. See: setns(2)."""
    _check(_setns(fd, nstype), "setns", fd, nstype)


def sethostname(name: str) -> None:
    """Set the host name of this UTS namespace. See: sethostname(2)."""
    raw = os.fsencode(name)
    _check(_sethostname(raw, len(raw)), "sethostname", name, len(raw))


def setdomainname(name: str) -> None:
    """Set the NIS domain name of this UTS namespace. See: setdomainname(2)."""
    raw = os.fsencode(name)
    _check(_setdomainname(raw, len(raw)), "setdomainname", name, len(raw))


# ── mounts ────────────────────────────────────────────────────────────────────────────────────


def mount(
    source: str | None, target: str, fstype: str | None, flags: Mount, data: str | None
) -> None:
    """Attach a file system, or change one that is attached. See: mount(2)."""
    result = _mount(_path(source), _path(target), _path(fstype), flags, _path(data))
    _check(result, "mount", source, target, fstype, flags, data)


def umount2(target: str, flags: Umount) -> None:
    """Detach the topmost file system at ``target``. See: umount2(2)."""
    _check(_umount2(_path(target), flags), "umount2", target, flags)


def pivot_root(new_root: str, put_old: str) -> None:
    """Swap the root file system.

    Raises SyscallError: EINVAL when the parent mount of either is shared.
    See: pivot_root(2), the section on ``pivot_root(".", ".")``.
    """
    _check(_pivot_root(_path(new_root), _path(put_old)), "pivot_root", new_root, put_old)


def open_tree(dirfd: int, path: str, flags: OpenTree) -> int:
    """Return an fd for a mount, detached when OPEN_TREE_CLONE is given. See: open_tree(2)."""
    flags |= OpenTree.OPEN_TREE_CLOEXEC
    return _check(_raw(428, dirfd, _path(path), flags), "open_tree", dirfd, path, flags)


def move_mount(from_fd: int, from_path: str, to_fd: int, to_path: str, flags: MoveMount) -> None:
    """Attach a detached mount, or move one. See: move_mount(2)."""
    result = _raw(429, from_fd, _path(from_path), to_fd, _path(to_path), flags)
    _check(result, "move_mount", from_fd, from_path, to_fd, to_path, flags)


def fsopen(fstype: str) -> int:
    """Return an fd to configure a new file system with. See: fsopen(2)."""
    return _check(_raw(430, _path(fstype), 1), "fsopen", fstype, _Word("FSOPEN_CLOEXEC"))


def fsconfig(fd: int, cmd: FsConfig, key: str | None, value: str | None) -> None:
    """Set one option of the file system being configured, or create it. See: fsconfig(2)."""
    result = _raw(431, fd, cmd, _path(key), _path(value), 0)
    _check(result, "fsconfig", fd, _Word(cmd.name), key, value, 0)


def fsmount(fd: int, attributes: MountAttr) -> int:
    """Return a detached mount of a configured file system. See: fsmount(2)."""
    return _check(_raw(432, fd, 1, attributes), "fsmount", fd, _Word("FSMOUNT_CLOEXEC"), attributes)


def mount_setattr(
    dirfd: int,
    path: str,
    flags: At,
    attr_set: MountAttr,
    attr_clr: MountAttr = MountAttr(0),
    userns_fd: int = 0,
    propagation: Mount = Mount(0),
) -> None:
    """Change attributes of a mount, or of a whole tree with AT_RECURSIVE. See: mount_setattr(2)."""
    attr = bytes((c_uint64 * 4)(attr_set, attr_clr, propagation, userns_fd))
    result = _raw(442, dirfd, _path(path), flags, attr, len(attr))
    _check(result, "mount_setattr", dirfd, path, flags, attr_set, attr_clr)


def fstatfs_type(fd: int) -> int:
    """Return the magic number of the file system that ``fd`` is on. See: fstatfs(2)."""
    buffer = (c_long * 32)()
    _check(_fstatfs(fd, byref(buffer)), "fstatfs", fd)
    return int(buffer[0])


def openat2(dirfd: int, path: str, flags: int, mode: int, resolve: Resolve) -> int:
    """Open a path with the kernel enforcing how it may be walked. See: openat2(2)."""
    how = bytes((c_uint64 * 3)(flags | os.O_CLOEXEC, mode, resolve))
    result = _raw(437, dirfd, _path(path), how, len(how))
    return _check(result, "openat2", dirfd, path, _Word(hex(flags)), _Word(oct(mode)), resolve)


def getcwd() -> str:
    """Return the kernel's own answer: ``(unreachable)…`` when outside the root. See: getcwd(2)."""
    buffer = ctypes.create_string_buffer(4096)
    _check(_raw(_number("getcwd"), ctypes.addressof(buffer), 4096), "getcwd")
    return os.fsdecode(buffer.value)


# ── identity and filters ──────────────────────────────────────────────────────────────────────


def prctl(option: int, arg2: int = 0, arg3: int = 0) -> int:
    """Change an attribute of this process. See: prctl(2)."""
    return _check(_prctl(option, arg2, arg3, 0, 0), "prctl", option, arg2, arg3, 0, 0)


def prctl_get_child_subreaper() -> bool:
    """Return whether orphans among our descendants become our children. See: prctl(2)."""
    value = c_int()
    _check(_prctl(37, ctypes.addressof(value), 0, 0, 0), "prctl", _Word("PR_GET_CHILD_SUBREAPER"))
    return bool(value.value)


_CAPABILITY_VERSION_3 = 0x20080522


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set the three classic capability sets of this thread, as bit masks. See: capset(2)."""
    header = (c_uint * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (effective, permitted, inheritable)
    data = (c_uint * 6)(*(s & 0xFFFFFFFF for s in sets), *(s >> 32 for s in sets))
    _check(_capset(byref(header), byref(data)), "capset", *(_Word(hex(s)) for s in sets))


def capget() -> tuple[int, int, int]:
    """Return (effective, permitted, inheritable) of this thread. See: capget(2)."""
    header, data = (c_uint * 2)(_CAPABILITY_VERSION_3, 0), (c_uint * 6)()
    _check(_capget(byref(header), byref(data)), "capget")
    low, high = data[:3], data[3:]
    effective, permitted, inheritable = (a | b << 32 for a, b in zip(low, high, strict=True))
    return effective, permitted, inheritable


def seccomp_set_mode_filter(program: bytes, flags: SeccompFlag) -> int:
    """Load a BPF program of 8-byte instructions; returns the listener fd or 0.

    The program's address is prepared before the call, because between load and execve the
    interpreter itself runs under the filter. See: seccomp(2).
    """
    fprog = c_uint64 * 2
    buffer = ctypes.create_string_buffer(program, len(program))
    prog = fprog(len(program) // 8, ctypes.addressof(buffer))
    result = _raw(_number("seccomp"), 1, flags, ctypes.addressof(prog))
    return _check(result, "seccomp", _Word("SECCOMP_SET_MODE_FILTER"), flags, _Word("prog"))


def keyctl_join_session_keyring(name: str | None) -> int:
    """Join a new session keyring, so the caller's keys stay outside. See: keyctl(2)."""
    return _check(
        _raw(_number("keyctl"), 1, _path(name)), "keyctl", _Word("JOIN_SESSION_KEYRING"), name
    )


def personality(persona: int) -> int:
    """Set the execution domain; returns the previous one. See: personality(2)."""
    return _check(_personality(persona), "personality", _Word(hex(persona)))


def ioprio_set(which: int, who: int, ioprio: int) -> None:
    """Set an I/O scheduling class and level. See: ioprio_set(2)."""
    _check(_raw(_number("ioprio_set"), which, who, ioprio), "ioprio_set", which, who, ioprio)


def set_mempolicy(mode: int, nodemask: Sequence[int]) -> None:
    """Set this thread's NUMA policy; ``nodemask`` lists nodes. See: set_mempolicy(2)."""
    mask = sum(1 << node for node in nodemask)
    raw = mask.to_bytes(128, "little")
    result = _raw(_number("set_mempolicy"), mode, raw, 1024)
    _check(result, "set_mempolicy", mode, list(nodemask))


def sched_setattr(pid: int, attr: bytes) -> None:
    """Set policy and parameters; ``attr`` is a packed struct sched_attr. See: sched_setattr(2)."""
    _check(_raw(_number("sched_setattr"), pid, attr, 0), "sched_setattr", pid)


def bpf(cmd: int, attr: bytes) -> int:
    """Run one command of the eBPF multiplexer; returns an fd or 0. See: bpf(2)."""
    return _check(_raw(_number("bpf"), cmd, attr, len(attr)), "bpf", cmd)


def bpf_prog_query(fd: int, attach_type: int) -> list[int]:
    """Return the ids of the programs attached to the cgroup ``fd``, 64 at most. See: bpf(2)."""
    ids = (c_uint * 64)()
    # The whole union: newer kernels write back a field (revision) that lies beyond the first ones.
    attr = ctypes.create_string_buffer(128)
    struct.pack_into("=IIIIQI", attr, 0, fd, attach_type, 0, 0, ctypes.addressof(ids), len(ids))
    result = _raw(_number("bpf"), 16, ctypes.addressof(attr), len(attr))  # BPF_PROG_QUERY
    _check(result, "bpf", _Word("BPF_PROG_QUERY"), fd)
    return [number for number in ids if number]


# ── processes and pipes ───────────────────────────────────────────────────────────────────────


def execve_later(path: str, args: Sequence[str], env: Sequence[str]) -> Callable[[], None]:
    """Return a function that executes a program, and takes no memory any more to do so.

    It raises SyscallError like every wrapper here. See: execve(2).
    """
    raw = os.fsencode(path)
    argv = (c_char_p * (len(args) + 1))(*map(os.fsencode, args))
    envp = (c_char_p * (len(env) + 1))(*map(os.fsencode, env))
    arguments = raw, byref(argv), byref(envp)

    def execute() -> None:
        _check(_execve(*arguments), "execve", path)

    return execute


def pidfd_getfd(pidfd: int, targetfd: int) -> int:
    """Return a duplicate of another process's fd. See: pidfd_getfd(2)."""
    return _check(_raw(438, pidfd, targetfd, 0), "pidfd_getfd", pidfd, targetfd, 0)


def close_range(first: int, last: int, *, cloexec: bool) -> None:
    """Close a range of fds, or mark it close-on-exec. See: close_range(2)."""
    flags = 4 if cloexec else 0
    _check(_raw(436, first, last, flags), "close_range", first, last, flags)


def tee(fd_in: int, fd_out: int, length: int) -> int:
    """Copy bytes between pipes without consuming them. See: tee(2)."""
    return _check(_tee(fd_in, fd_out, length, 0), "tee", fd_in, fd_out, length)


def inotify_init1(flags: int) -> int:
    """Return an fd that becomes readable when a watched file changes. See: inotify(7)."""
    return _check(_raw(_number("inotify_init1"), flags), "inotify_init1", flags)


def inotify_add_watch(fd: int, path: str, mask: int) -> int:
    """Watch a file or the entries of a directory. See: inotify_add_watch(2)."""
    result = _raw(_number("inotify_add_watch"), fd, _path(path), mask)
    return _check(result, "inotify_add_watch", fd, path, mask)


def buffer_address(data: bytes) -> tuple[object, int]:
    """Return (owner, address) of a copy of ``data`` for structures that hold pointers.

    The address is valid while the owner is referenced.
    """
    buffer = ctypes.create_string_buffer(data, len(data))
    return buffer, ctypes.addressof(buffer)
