"""Reading and writing the small files of a control group, and removing its directories.

A limit is one ``write`` of one line; the kernel checks it at once and answers with an errno, so
each write names its file and its text in the error. Nothing here knows what a file means.

Next: ``driver.py``.
"""

from __future__ import annotations

import errno
import os
import time

from ..errors import StateError, SyscallError
from .refusals import not_permitted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator
else:
    # The C half has all that is needed; the Python half builds enums for 3 ms.
    import _signal as signal

#: How long a directory may stay busy after its last process was killed: exit is not instant.
REMOVAL_S = 5.0


def write(path: str, text: str) -> None:
    """Write one line.

    Raises:
        SyscallError: with the kernel's answer; ENOENT where this kernel has no such file.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)  # no O_CREAT: a missing file is a fact
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise SyscallError(f"write({path!r}, {text!r})", error.errno or 0) from error


def read(path: str, default: str | None = None) -> str:
    """Return a file's text without the last newline, or the default where there is no such file.

    Raises:
        SyscallError: it cannot be read, and there is no default for it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return b"".join(iter(lambda: os.read(fd, 65536), b"")).decode().rstrip("\n")
        finally:
            os.close(fd)
    except OSError as error:
        # EOPNOTSUPP, ENODEV: the file is there, and what it would tell was compiled out or removed.
        gone = (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP)
        if default is not None and error.errno in gone:
            return default
        raise SyscallError(f"read({path!r})", error.errno or 0) from error


def read_number(path: str) -> int:
    """Return a file's number; 0 where there is no such file."""
    text = read(path, "")
    return int(text) if text.isdecimal() else 0


def read_limit(path: str) -> int | None:
    """Return a limit; None where it is unlimited or there is no such file."""
    text = read(path, "max")
    # v1 says "unlimited" with the greatest multiple of a page that fits in 63 bits.
    return None if not text.isdecimal() or int(text) >= 1 << 62 else int(text)


def read_pairs(path: str) -> dict[str, int]:
    """Return a flat-keyed file, ``oom_kill 3``, as a mapping; empty where there is no such file."""
    lines = (line.split() for line in read(path, "").splitlines())
    return {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdecimal()}


def pids(directory: str, *, recursive: bool) -> list[int]:
    """Return the processes of a group, and of those below it; empty where it does not exist."""
    found = set(map(int, read(directory + "/cgroup.procs", "").split()))
    if recursive:
        for child in _children(directory):
            found.update(pids(child, recursive=True))
    # A process of another pid namespace that we cannot see is listed as 0.
    return sorted(found - {0})


def kill_all(processes: list[int]) -> bool:
    """Send SIGKILL to each; False where there was nobody."""
    for pid in processes:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it was faster
    return bool(processes)


def make_directory(path: str) -> bool:
    """Make a group and the groups above it; False where it existed.

    Raises:
        HostError: this user may not, or the tree is mounted read-only, as inside a container.
        SyscallError: anything else, such as a limit on the number of groups.
    """
    while True:
        try:
            os.mkdir(path, 0o755)
        except FileExistsError:
            return False
        except FileNotFoundError:
            # Once more if somebody removes the empty group above before ours is in it.
            make_directory(os.path.dirname(path))
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise not_permitted(error) from error
            raise SyscallError(f"mkdir({path!r})", error.errno or 0) from error
        else:
            return True


def remove_directory(path: str, deadline: float | None = None) -> None:
    """Remove a group and all groups inside it, the innermost first.

    rmdir is the only way: the files in a group cannot be unlinked, and go with it. EBUSY means that
    a group inside, or a process that has not finished dying, is still there.

    Raises:
        StateError: somebody still lives in it after ``REMOVAL_S`` seconds.
    """
    deadline = deadline or time.monotonic() + REMOVAL_S
    pause_s = 0.0005
    while not _try_remove(path):
        for child in _children(path):
            remove_directory(child, deadline)
        if time.monotonic() > deadline:
            held = ", ".join(map(str, pids(path, recursive=True))) or "none that can be seen"
            raise StateError(
                f"cgroup {path} is still in use by processes: {held}",
                hint="kill them first: minirun kill --all, or write 1 to cgroup.kill on v2",
            )
        time.sleep(pause_s)  # the kernel tells nobody when a group becomes empty on v1
        pause_s = min(pause_s * 2, 0.05)


def _try_remove(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        raise SyscallError(f"rmdir({path!r})", error.errno or 0) from error
    return True


def _children(directory: str) -> Iterator[str]:
    try:
        with os.scandir(directory) as entries:
            groups = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        groups = []
    return iter(groups)
