"""The system calls of a container, one wrapper each.

A wrapper takes the arguments of its man page in their order, and either returns what the kernel
returned or raises SyscallError with the call written out as strace would print it. No policy, no
retries, no logging: this is the file that a security reader audits first.

Every file descriptor made here is close-on-exec.

Next: ``spec.py``, what a container is asked to be. Aside: ``syscall.py`` makes the calls,
``kernel_rare.py`` has those that few containers need, ``host.py`` asks what this kernel can do.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import byref, c_char_p, c_int, c_long, c_size_t, c_uint, c_uint64, c_ulong, c_void_p

from .flags import At, Clone, FsConfig, Mount, MountAttr, MoveMount, OpenTree, SeccompFlag
from .syscall import Word, as_bytes, bind, call, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .flags import Resolve, Umount

_mount = bind("mount", c_char_p, c_char_p, c_char_p, c_ulong, c_char_p)
_umount2 = bind("umount2", c_char_p, c_int)
_unshare = bind("unshare", c_int)
_setns = bind("setns", c_int, c_int)
_pivot_root = bind("pivot_root", c_char_p, c_char_p)
_sethostname = bind("sethostname", c_char_p, c_size_t)
_setdomainname = bind("setdomainname", c_char_p, c_size_t)
_prctl = bind("prctl", c_int, c_ulong, c_ulong, c_ulong, c_ulong)
_capset = bind("capset", c_void_p, c_void_p)
_capget = bind("capget", c_void_p, c_void_p)
_fstatfs = bind("fstatfs", c_int, c_void_p)
_execve = bind("execve", c_char_p, c_void_p, c_void_p)
_sched_getcpu = bind("sched_getcpu")
_tee = bind("tee", c_int, c_int, c_size_t, c_uint)


# ── namespaces ────────────────────────────────────────────────────────────────────────────────


def unshare(flags: Clone) -> None:
    """Move this process into new namespaces.

    Raises SyscallError: EPERM without CAP_SYS_ADMIN; EINVAL for CLONE_NEWUSER with threads.
    See: unshare(2), namespaces(7). Needs CAP_SYS_ADMIN in the owning user namespace.
    """
    check(_unshare(flags), "unshare", flags)


def setns(fd: int, nstype: Clone) -> None:
    """Join the namespace that ``fd`` refers to. See: setns(2)."""
    check(_setns(fd, nstype), "setns", fd, nstype)


def sethostname(name: str) -> None:
    """Set the host name of this UTS namespace. See: sethostname(2)."""
    raw = os.fsencode(name)
    check(_sethostname(raw, len(raw)), "sethostname", name, len(raw))


def setdomainname(name: str) -> None:
    """Set the NIS domain name of this UTS namespace. See: setdomainname(2)."""
    raw = os.fsencode(name)
    check(_setdomainname(raw, len(raw)), "setdomainname", name, len(raw))


# ── mounts ────────────────────────────────────────────────────────────────────────────────────


def mount(
    source: str | None, target: str, fstype: str | None, flags: Mount, data: str | None
) -> None:
    """Attach a file system, or change one that is attached. See: mount(2)."""
    result = _mount(as_bytes(source), as_bytes(target), as_bytes(fstype), flags, as_bytes(data))
    check(result, "mount", source, target, fstype, flags, data)


def umount2(target: str, flags: Umount) -> None:
    """Detach the topmost file system at ``target``. See: umount2(2)."""
    check(_umount2(as_bytes(target), flags), "umount2", target, flags)


def pivot_root(new_root: str, put_old: str) -> None:
    """Swap the root file system.

    Raises SyscallError: EINVAL when the parent mount of either is shared.
    See: pivot_root(2), the section on ``pivot_root(".", ".")``.
    """
    check(_pivot_root(as_bytes(new_root), as_bytes(put_old)), "pivot_root", new_root, put_old)


def open_tree(dirfd: int, path: str, flags: OpenTree) -> int:
    """Return an fd for a mount, detached when OPEN_TREE_CLONE is given. See: open_tree(2)."""
    flags |= OpenTree.OPEN_TREE_CLOEXEC
    return check(call("open_tree", dirfd, as_bytes(path), flags), "open_tree", dirfd, path, flags)


def move_mount(from_fd: int, from_path: str, to_fd: int, to_path: str, flags: MoveMount) -> None:
    """Attach a detached mount, or move one. See: move_mount(2)."""
    result = call("move_mount", from_fd, as_bytes(from_path), to_fd, as_bytes(to_path), flags)
    check(result, "move_mount", from_fd, from_path, to_fd, to_path, flags)


def fsopen(fstype: str) -> int:
    """Return an fd to configure a new file system with. See: fsopen(2)."""
    return check(call("fsopen", as_bytes(fstype), 1), "fsopen", fstype, Word("FSOPEN_CLOEXEC"))


def fsconfig(fd: int, cmd: FsConfig, key: str | None, value: str | None) -> None:
    """Set one option of the file system being configured, or create it. See: fsconfig(2)."""
    result = call("fsconfig", fd, cmd, as_bytes(key), as_bytes(value), 0)
    check(result, "fsconfig", fd, Word(cmd.name), key, value, 0)


def fsmount(fd: int, attributes: MountAttr) -> int:
    """Return a detached mount of a configured file system. See: fsmount(2)."""
    result = call("fsmount", fd, 1, attributes)
    return check(result, "fsmount", fd, Word("FSMOUNT_CLOEXEC"), attributes)


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
    result = call("mount_setattr", dirfd, as_bytes(path), flags, attr, len(attr))
    check(result, "mount_setattr", dirfd, path, flags, attr_set, attr_clr)


def fstatfs_type(fd: int) -> int:
    """Return the magic number of the file system that ``fd`` is on. See: fstatfs(2)."""
    buffer = (c_long * 32)()
    check(_fstatfs(fd, byref(buffer)), "fstatfs", fd)
    return int(buffer[0])


def openat2(dirfd: int, path: str, flags: int, mode: int, resolve: Resolve) -> int:
    """Open a path with the kernel enforcing how it may be walked. See: openat2(2)."""
    how = bytes((c_uint64 * 3)(flags | os.O_CLOEXEC, mode, resolve))
    result = call("openat2", dirfd, as_bytes(path), how, len(how))
    return check(result, "openat2", dirfd, path, Word(hex(flags)), Word(oct(mode)), resolve)


def getcwd() -> str:
    """Return the kernel's own answer: ``(unreachable)…`` when outside the root. See: getcwd(2)."""
    buffer = ctypes.create_string_buffer(4096)
    check(call("getcwd", ctypes.addressof(buffer), 4096), "getcwd")
    return os.fsdecode(buffer.value)


# ── identity and filters ──────────────────────────────────────────────────────────────────────


def prctl(option: int, arg2: int = 0, arg3: int = 0) -> int:
    """Change an attribute of this process. See: prctl(2)."""
    return check(_prctl(option, arg2, arg3, 0, 0), "prctl", option, arg2, arg3, 0, 0)


def prctl_get_child_subreaper() -> bool:
    """Return whether orphans among our descendants become our children. See: prctl(2)."""
    value = c_int()
    check(_prctl(37, ctypes.addressof(value), 0, 0, 0), "prctl", Word("PR_GET_CHILD_SUBREAPER"))
    return bool(value.value)


_CAPABILITY_VERSION_3 = 0x20080522


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set the three classic capability sets of this thread, as bit masks. See: capset(2)."""
    header = (c_uint * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (effective, permitted, inheritable)
    data = (c_uint * 6)(*(s & 0xFFFFFFFF for s in sets), *(s >> 32 for s in sets))
    check(_capset(byref(header), byref(data)), "capset", *(Word(hex(s)) for s in sets))


def capget() -> tuple[int, int, int]:
    """Return (effective, permitted, inheritable) of this thread. See: capget(2)."""
    header, data = (c_uint * 2)(_CAPABILITY_VERSION_3, 0), (c_uint * 6)()
    check(_capget(byref(header), byref(data)), "capget")
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
    result = call("seccomp", 1, flags, ctypes.addressof(prog))
    return check(result, "seccomp", Word("SECCOMP_SET_MODE_FILTER"), flags, Word("prog"))


def keyctl_join_session_keyring(name: str | None) -> int:
    """Join a new session keyring, so the caller's keys stay outside. See: keyctl(2)."""
    return check(call("keyctl", 1, as_bytes(name)), "keyctl", Word("JOIN_SESSION_KEYRING"), name)


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
        check(_execve(*arguments), "execve", path)

    return execute


def move_aside(pid: int) -> None:
    """Let a child that was just forked go on on another CPU than ours, at once.

    It is born in the queue of the CPU that its parent runs on, and may wait there until the parent
    sleeps, with a second CPU idle beside. Whoever may not use every CPU (taskset, isolcpus, a
    cpuset) is left alone: what we set would outlast a change of its cpuset.
    See: sched_setaffinity(2), getcpu(2).
    """
    allowed = os.sched_getaffinity(0)
    if len(allowed) != os.cpu_count() or len(allowed) == 1:
        return
    try:
        os.sched_setaffinity(pid, allowed - {_sched_getcpu()})
        os.sched_setaffinity(pid, allowed)
    except OSError:
        return  # it has ended, or a real-time policy forbids it


def close_range(first: int, last: int, *, cloexec: bool) -> None:
    """Close a range of fds, or mark it close-on-exec. See: close_range(2)."""
    flags = 4 if cloexec else 0
    check(call("close_range", first, last, flags), "close_range", first, last, flags)


def tee(fd_in: int, fd_out: int, length: int) -> int:
    """Copy bytes between pipes without consuming them. See: tee(2)."""
    return check(_tee(fd_in, fd_out, length, 0), "tee", fd_in, fd_out, length)


def buffer_address(data: bytes) -> tuple[ctypes.Array[ctypes.c_char], int]:
    """Return (owner, address) of a copy of ``data`` for structures that hold pointers.

    The address is valid while the owner is referenced.
    """
    buffer = ctypes.create_string_buffer(data, len(data))
    return buffer, ctypes.addressof(buffer)
