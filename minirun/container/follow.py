"""Reading a file of lines that another process appends to and rotates.

    log.json.2   log.json.1   log.json      oldest ─▶ newest; a rotation renames each to the left

The reader keeps the file open, so a rename under it loses nothing: it drains what it holds, then
moves on to the next newer file, which it finds by inode. A last line without its newline is being
written, or was cut short by kill -9; it is not a line yet.

Waiting is inotify(7) on the directory, so a follower costs nothing while nothing happens.

Next: ``logs.py``.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BLOCK = 64 * 1024
MAX_ROTATED = 1000
_ATTEMPTS = 100

# <sys/inotify.h>
_IN_MODIFY, _IN_MOVED_TO, _IN_CREATE, _IN_DELETE_SELF = 0x2, 0x80, 0x100, 0x400
_MASK = _IN_MODIFY | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE_SELF
# A process that died by kill -9 changes no file; this often the caller is asked whether it lives.
_LOOK_AGAIN_S = 1.0
# Without inotify (a user has 128 instances) the directory is looked at instead.
_POLL_S = 0.2


class _File:
    """One open file and the part of a line that was read from its end."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.inode = os.fstat(fd).st_ino
        self._rest = b""

    def lines(self) -> Iterator[bytes]:
        """Yield the complete lines that are there now."""
        while block := os.read(self.fd, _BLOCK):
            *whole, self._rest = (self._rest + block).split(b"\n")
            yield from whole

    def skip_to_last(self, count: int) -> int:
        """Move to the last ``count`` lines and return how many there are, at most ``count``."""
        at = os.fstat(self.fd).st_size
        seen = 0
        while at > 0:
            start = max(0, at - _BLOCK)
            block = os.pread(self.fd, at - start, start)
            newline = len(block)
            while (newline := block.rfind(b"\n", 0, newline)) >= 0:
                # The newline before the wanted lines is one more than there are lines.
                seen += 1
                if seen > count:
                    os.lseek(self.fd, start + newline + 1, os.SEEK_SET)
                    return count
            at = start
        return seen


class Follower:
    """The lines of a rotated file, oldest first.

    Args:
        path: the newest file; older ones have ``.1``, ``.2`` … behind its name.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def lines(self, tail: int | None = None) -> Iterator[bytes]:
        """Yield the lines that exist now, or the last ``tail`` of them."""
        files = self._open()
        try:
            yield from _read(files, tail)
        finally:
            _close(files)

    def follow(self, running: Callable[[], bool], tail: int | None = None) -> Iterator[bytes]:
        """Yield the lines that exist and those that come, until ``running`` says no.

        Args:
            running: whether more lines can come; asked at least once a second.
            tail: how many of the existing lines to begin with; all by default.
        """
        watch = _watch(os.path.dirname(self._path))
        try:
            for line in self.glances(running, tail):
                if line is None:
                    _wait(watch)
                else:
                    yield line
        finally:
            if watch >= 0:
                os.close(watch)

    def glances(
        self, running: Callable[[], bool], tail: int | None = None
    ) -> Iterator[bytes | None]:
        """Yield as ``follow`` does, and None instead of waiting: there is nothing more now."""
        files = self._open()
        try:
            yield from _read(files, tail)
            while True:
                # Asked before the last look, so a line written just before the end is not lost.
                going_on = running()
                files, moved = self._newer(files)
                for file in files:
                    yield from file.lines()
                if not moved and not going_on:
                    return
                if not moved:
                    yield None
        finally:
            _close(files)

    def _newer(self, files: list[_File]) -> tuple[list[_File], bool]:
        """Return (the file in hand and those newer than it, whether there are newer ones)."""
        held = files[-1:]
        _close(files[:-1])
        if held and _inode(self._path) in (held[0].inode, 0):
            return held, False
        found = self._open()
        inodes = [file.inode for file in found]
        at = inodes.index(held[0].inode) + 1 if held and held[0].inode in inodes else 0
        _close(found[:at])
        if held and found[at:]:
            # What was written between the last read and the rename.
            return [*held, *found[at:]], True
        return held or found[at:], bool(found[at:])

    def _open(self) -> list[_File]:
        """Open all files, oldest first, as they are at one moment.

        A rotation in the middle would mix the order up, so the two newest are looked at before and
        after: when they are others, it was not one moment.
        """
        for _ in range(_ATTEMPTS - 1):
            before = self._newest()
            files = self._open_once()
            if self._newest() == before:
                return files
            _close(files)
        return self._open_once()

    def _newest(self) -> tuple[int, int]:
        return _inode(self._path), _inode(f"{self._path}.1")

    def _open_once(self) -> list[_File]:
        """Open the files from the newest on; one that is renamed meanwhile is met twice.

        While a rotation is under way one number is free, the one that the next file is about to
        move to; two in a row are the end.
        """
        found: dict[int, _File] = {}
        missing = 0
        for number in range(MAX_ROTATED):
            path = f"{self._path}.{number}" if number else self._path
            try:
                # Never through a link: the directory may be one that a container could write to.
                file = _File(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))
            except OSError:
                missing += 1
                if missing == 2:
                    break
                continue
            missing = 0
            if file.inode in found:
                os.close(file.fd)
            else:
                found[file.inode] = file
        return list(reversed(found.values()))


def _read(files: list[_File], tail: int | None) -> Iterator[bytes]:
    """Yield the lines of open files from the first, or from the ``tail``-th before the end."""
    first = 0
    if tail is not None:
        wanted = tail
        for first in range(len(files) - 1, -1, -1):
            wanted -= files[first].skip_to_last(wanted)
            if wanted <= 0:
                break
    for file in files[first:]:
        yield from file.lines()


def _close(files: list[_File]) -> None:
    for file in files:
        os.close(file.fd)


def _inode(path: str) -> int:
    try:
        return os.stat(path, follow_symlinks=False).st_ino
    except OSError:
        return 0


def _watch(folder: str) -> int:
    """Return an inotify fd for a directory, or -1 where there is none to be had."""
    from .. import kernel_rare
    from ..errors import SyscallError

    try:
        fd = kernel_rare.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    except SyscallError:
        return -1
    try:
        kernel_rare.inotify_add_watch(fd, folder, _MASK)
    except SyscallError:
        os.close(fd)
        return -1
    return fd


def _wait(watch: int) -> None:
    """Wait for a change in the watched directory, but not for ever."""
    import select

    if watch < 0:
        select.select([], [], [], _POLL_S)
        return
    if select.select([watch], [], [], _LOOK_AGAIN_S)[0]:
        # Which file it was does not matter; the queue must be empty before the next wait.
        try:
            os.read(watch, _BLOCK)
        except BlockingIOError:
            return
