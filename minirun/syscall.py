"""How a system call is made from Python, and how it is told when the kernel refuses.

Calls that glibc exports are bound by name, with a prototype; the others go through syscall(2) by
number. Whatever fails becomes a SyscallError with the call written out as strace would print it.

Only this module and ``kernel.py`` import ctypes.

See: syscall(2), errno(3). Next: ``kernel.py``, the calls themselves.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import c_char_p, c_int, c_long, c_ulong, c_void_p

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
    from collections.abc import Callable

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = ctypes.CFUNCTYPE(c_long, c_long, *[c_ulong] * 6, use_errno=True)(("syscall", _libc))

#: (x86_64, aarch64), from the kernel's unistd tables.
_NUMBERS = {
    "getcwd": (79, 17),
    "keyctl": (250, 219),
    "personality": (135, 92),
    "ioprio_set": (251, 30),
    "set_mempolicy": (238, 237),
    "sched_setattr": (314, 274),
    "seccomp": (317, 277),
    "bpf": (321, 280),
    "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27),
}
#: From 424 on a call has one number on every architecture.
_NEW_NUMBERS = {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "close_range": 436,
    "openat2": 437,
    "mount_setattr": 442,
}
_MACHINE = {"x86_64": 0, "aarch64": 1}.get(os.uname().machine)


def bind(name: str, *argtypes: type) -> Callable[..., int]:
    """Return libc's function with its prototype fixed once and for all."""
    function: Callable[..., int] = ctypes.CFUNCTYPE(c_int, *argtypes, use_errno=True)((name, _libc))
    return function


def call(name: str, *args: int | bytes | None) -> int:
    """Make a call that libc does not export, with up to six words; bytes are passed by address."""
    words = [_word(arg) for arg in args]
    result: int = _syscall(_number(name), *words, *[0] * (6 - len(words)))
    return result


def _number(name: str) -> int:
    """Return the number of a call on this architecture."""
    if name in _NEW_NUMBERS:
        return _NEW_NUMBERS[name]
    if _MACHINE is None:
        raise SyscallError(f"{name}()", 38, hint=f"{os.uname().machine} is not supported")
    return _NUMBERS[name][_MACHINE]


def _word(arg: int | bytes | None) -> int:
    if isinstance(arg, bytes):
        return ctypes.cast(c_char_p(arg), c_void_p).value or 0
    return (arg or 0) & 0xFFFFFFFFFFFFFFFF


def as_bytes(path: str | bytes | None) -> bytes | None:
    """Return a string as the kernel takes it; None is a null pointer."""
    return None if path is None else os.fsencode(path)


class Word(str):
    """An argument that is spelled already: a constant's name, or a number in another base."""

    __slots__ = ()


def check(result: int, name: str, *args: object) -> int:
    """Return the result, or raise with the call spelled out.

    Raises:
        SyscallError: the result is negative, and errno says why.
    """
    if result < 0:
        number = ctypes.get_errno()
        raise SyscallError(f"{name}({', '.join(map(_spell, args))})", number)
    return result


def _spell(arg: object) -> str:
    """Return one argument as strace prints it."""
    if isinstance(arg, Word):
        return arg
    if isinstance(arg, (Clone, Mount, MountAttr, Umount, At, OpenTree, MoveMount, Resolve)):
        return spell(arg)
    if isinstance(arg, (SeccompFlag, FsConfig)):
        return spell(arg)
    if arg is None or arg == AT_FDCWD:
        return "NULL" if arg is None else "AT_FDCWD"
    return repr(os.fsdecode(arg)) if isinstance(arg, (str, bytes)) else str(arg)
