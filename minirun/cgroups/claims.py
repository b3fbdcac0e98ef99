"""Who may move into a group, or remove it: one process at a time.

A config.json may name its group, so two of them can name the same. Whether somebody is in a group
can be seen; that somebody is about to come cannot, and between a create's look and its container's
first process lie milliseconds, in which a second create sees the same empty group. So whoever makes
a group claims it until its container is inside, and whoever removes one claims it first.

The claim is a lock, flock(2), of a file that none but the group's owner can open: anybody else who
could hold it could keep containers from starting. When its holder dies, the kernel drops it.

Next: ``driver.py``.
"""

from __future__ import annotations

import fcntl
import os
import time

from ..errors import StateError

#: Mode 0200: on v2 since Linux 5.14, and on v1 where there are device lists.
_PRIVATE = ("cgroup.kill", "devices.allow")
WAIT_S = 10.0


class Claim:
    """The claim on one group.

    Args:
        directory: of all those that make up the group, the first to be made and the last to go.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._fd = -1

    def __enter__(self) -> bool:
        return self.take()

    def __exit__(self, *_: object) -> None:
        self.release()

    def take(self) -> bool:
        """Wait until nobody else has it; return False where there is no group to claim.

        Raises:
            StateError: somebody has it for longer than any create takes that does not hang.
        """
        deadline = time.monotonic() + WAIT_S
        while self._fd < 0:
            fd = _open(self.directory)
            if fd < 0:
                return False
            while not _lock(fd):
                if time.monotonic() > deadline:
                    os.close(fd)
                    raise StateError(
                        f"cgroup {self.directory} is being made or removed by another process",
                        hint="try again, or choose another cgroupsPath",
                    )
                time.sleep(0.002)
            if _is_open_at(fd, self.directory):
                self._fd = fd
            else:
                os.close(fd)  # it was removed while we waited, and perhaps made again
        return True

    def release(self) -> None:
        """Let the next one look; without a claim there is nothing to do."""
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)  # a fork of ours may have the descriptor still
            os.close(self._fd)
            self._fd = -1


def _open(directory: str) -> int:
    """Return a descriptor of what is locked in a group; -1 where there is no group."""
    for name in _PRIVATE if directory else ():
        try:
            return os.open(f"{directory}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            continue  # this version or this controller has no such file
    try:
        return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_open_at(fd: int, directory: str) -> bool:
    """Whether the locked file is the one that others would lock now."""
    other = _open(directory)
    if other < 0:
        return False
    try:
        return os.path.sameopenfile(fd, other)
    finally:
        os.close(other)
