r"""Compiled filters, kept: a start pays for reading a small file, not for loading a compiler.

An entry is one file that holds both the question (the profile, the machine, the kernel) and the
answer (the program). It is found by a checksum of the question and used only when the whole
question is equal, so no hash has to be trusted, nor imported (hashlib loads OpenSSL)::

    minirun-seccomp 1 <crc of the rest> <length of the question> <stamp> <libseccomp's path>\n
    <question><program>

The stamp tells when libseccomp was replaced: a newer one knows more calls. Anything odd is a miss.

Whoever can write here chooses what containers may do, so the folder must be ours alone; another is
refused, not repaired.

Next: ``kernel.seccomp_set_mode_filter``, which takes the program.
"""

from __future__ import annotations

import errno
import os
import stat
from binascii import crc32

from ..errors import HostError
from .words import load_flags, needs_listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..spec import Seccomp

__all__ = ["compiled", "default_filter", "load_flags", "needs_listener"]

#: Count up whenever the same profile is compiled to something else.
_FORMAT = b"minirun-seccomp 1"
_DEFAULT_FILE = __file__.rpartition("/")[0] + "/default.json"
#: Where the cache cannot be kept, a start is slower and as safe.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def compiled(seccomp: Seccomp, cache_dir: str) -> bytes:
    """Return the program for ``linux.seccomp``; 0.5 ms when it was compiled before.

    Call it in the host-side parent, before any fork.

    Args:
        seccomp: from config.json.
        cache_dir: a folder that only this user can enter; made where it does not exist.

    Raises:
        SpecError: the profile cannot be honoured.
        HostError: libseccomp is missing, or the folder is open to others.
    """
    filtered = (seccomp.default_action, seccomp.default_errno_ret, seccomp.architectures)
    question = repr((filtered, seccomp.syscalls, seccomp.listener_path, seccomp.flags))

    def compile_now() -> bytes:
        from .compile import compile_filter

        return compile_filter(seccomp)

    return _remembered(question.encode(), cache_dir, compile_now)


def default_filter(capabilities: Iterable[str], cache_dir: str) -> bytes:
    """Return the default profile's program for a container with these capabilities.

    The fast path of ``minirun run``: while it is cached, the profile is compared, not parsed.

    Args:
        capabilities: the bounding set, as names like ``CAP_SYS_ADMIN``.
        cache_dir: as in ``compiled``.

    Raises:
        HostError: as in ``compiled``.
    """
    kept = sorted(set(capabilities))
    with open(_DEFAULT_FILE, "rb") as file:
        profile = file.read()

    def compile_now() -> bytes:
        from .compile import compile_filter
        from .profile import parse, resolve

        host = os.uname()
        parsed = parse(profile, _DEFAULT_FILE)
        return compile_filter(resolve(parsed, kept, host.machine, host.release))

    return _remembered(profile + " ".join(kept).encode(), cache_dir, compile_now)


def _remembered(question: bytes, cache_dir: str, compile_now: Callable[[], bytes]) -> bytes:
    """Return the kept answer, or make it and keep it."""
    host = os.uname()
    question += f"\n{host.machine} {host.release}\n".encode()
    name = f"{crc32(question):08x}-{len(question)}"
    directory = _open_private(cache_dir)
    try:
        answer = _read(directory, name, question) if directory >= 0 else None
        if answer is None:
            answer = compile_now()
            if directory >= 0:
                _write(directory, name, question, answer)
        return answer
    finally:
        if directory >= 0:
            os.close(directory)


def _open_private(cache_dir: str) -> int:
    """Return an fd of the folder, made where missing; -1 where it cannot be made.

    Raises:
        HostError: someone else owns it, or can write to it.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        try:
            directory = os.open(cache_dir, flags)
        except FileNotFoundError:
            os.makedirs(cache_dir, 0o700, exist_ok=True)
            directory = os.open(cache_dir, flags)
    except OSError as error:
        if error.errno in _NO_ROOM:
            return -1
        raise HostError(f"seccomp cache {cache_dir}: {error.strerror}") from error
    found = os.fstat(directory)
    if found.st_uid == os.geteuid() and not found.st_mode & 0o077:
        return directory
    os.close(directory)
    mode = stat.S_IMODE(found.st_mode)
    message = f"seccomp cache {cache_dir} is open to others: owner {found.st_uid}, mode {mode:04o}"
    raise HostError(message, hint=f"remove it: it is made again, for uid {os.geteuid()} alone")


def _read(directory: int, name: str, question: bytes) -> bytes | None:
    """Return the program of an entry that answers this very question, else None."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return None
    try:
        found = os.fstat(file)
        ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        if not ours or found.st_mode & 0o077:
            return None
        entry = os.read(file, found.st_size)
    finally:
        os.close(file)
    return _answer(entry, question)


def _answer(entry: bytes, question: bytes) -> bytes | None:
    """Return the program out of an entry's bytes, or None where anything differs."""
    header, _, rest = entry.partition(b"\n")
    if not header.startswith(_FORMAT + b" ") or not rest.startswith(question):
        return None
    fields = header[len(_FORMAT) + 1 :].split(b" ", 3)
    if len(fields) != 4 or fields[:2] != [b"%08x" % crc32(rest), b"%d" % len(question)]:
        return None
    from .library import stamp

    program = rest[len(question) :]
    same_library = stamp(os.fsdecode(fields[3])).encode() == fields[2]
    return program if same_library and program and len(program) % 8 == 0 else None


def _write(directory: int, name: str, question: bytes, program: bytes) -> None:
    """Keep an answer: complete under a name of its own, then renamed over the entry."""
    from . import library

    where = library.path()
    rest = question + program
    numbers = b" %08x %d " % (crc32(rest), len(question))
    header = _FORMAT + numbers + os.fsencode(f"{library.stamp(where)} {where}") + b"\n"
    draft = f".{name}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        file = os.open(draft, flags, 0o600, dir_fd=directory)
        try:
            os.write(file, header + rest)
        finally:
            os.close(file)
        os.rename(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError as error:
        _remove(directory, draft)
        if error.errno not in _NO_ROOM:
            raise HostError(f"seccomp cache: {draft}: {error.strerror}") from error


def _remove(directory: int, draft: str) -> None:
    try:
        os.unlink(draft, dir_fd=directory)
    except OSError:
        return  # it was never made
