"""Copy a directory of the image into a fresh tmpfs (the mount option ``tmpcopyup``).

Both sides are fds and no link is followed: what is copied comes from the image, what is written
lands in a file system that nobody else can reach yet.

Next: ``mounts.py``.
"""

from __future__ import annotations

import os
import stat

_CHUNK = 1 << 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_tree(source_fd: int, target_fd: int) -> None:
    """Copy the contents, owners and modes of one directory into another.

    Args:
        source_fd: O_PATH fd of a directory.
        target_fd: fd of an empty directory, possibly of a detached mount.
    """
    source = os.open(".", _READ | os.O_DIRECTORY, dir_fd=source_fd)
    try:
        for name in os.listdir(source):
            _copy_entry(source, target_fd, name)
        status = os.fstat(source)
        os.chown(".", status.st_uid, status.st_gid, dir_fd=target_fd)
        os.chmod(".", stat.S_IMODE(status.st_mode), dir_fd=target_fd)
    finally:
        os.close(source)


def _copy_entry(source: int, target: int, name: str) -> None:
    """Copy one file, link or directory; devices and sockets have no place in a tmpfs copy."""
    status = os.stat(name, dir_fd=source, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        os.mkdir(name, 0o700, dir_fd=target)
        inner = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=source)
        made = os.open(name, _READ | os.O_DIRECTORY, dir_fd=target)
        copy_tree(inner, made)
        os.close(inner)
        os.close(made)
    elif stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    elif stat.S_ISREG(status.st_mode):
        _copy_file(source, target, name, status)


def _copy_file(source: int, target: int, name: str, status: os.stat_result) -> None:
    """Copy the bytes, then the owner, then the mode: chown clears set-id bits."""
    reader = os.open(name, _READ, dir_fd=source)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    writer = os.open(name, flags, 0o600, dir_fd=target)
    while chunk := os.read(reader, _CHUNK):
        while chunk:  # a write that fills the file system takes a part; the next one says ENOSPC
            chunk = chunk[os.write(writer, chunk) :]
    os.fchown(writer, status.st_uid, status.st_gid)
    os.fchmod(writer, stat.S_IMODE(status.st_mode))
    os.close(reader)
    os.close(writer)
