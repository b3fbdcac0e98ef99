"""One file or directory as a tar stream, and a stream as files: the two ends of ``copy.py``.

Unlike a layer's, these archives know no whiteouts: a file named ``.wh.x`` is a file.

Next: ``../image/tarwriter.py`` and ``../image/unpack.py``, which do the work.
"""

from __future__ import annotations

import os
import stat
import threading

from ..errors import ImageError, MinirunError
from ..image.limits import Limits
from ..image.tarheader import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    HARDLINK,
    REGULAR,
    SYMLINK,
)
from ..image.tarstream import Entry, TarReader
from ..image.tarwriter import TarWriter
from ..image.tree import Tree
from ..image.unpack import Unpacker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..image.streams import Readable

_KINDS = {
    stat.S_IFREG: REGULAR,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK_DEVICE,
    stat.S_IFIFO: FIFO,
}
_NO_LIMIT = 2**62
_CHUNK = 1 << 20


class Packer:
    """Walks below one path.

    Args:
        root: the fd that the path is walked from.
        path: relative to it.
        name: what it is called in the archive; "" leaves the directory itself out.
        owners: keep owners and set-id bits; without, all belongs to whoever unpacks.
        devices: keep devices; a host wants none from a container.
    """

    def __init__(self, root: int, path: str, name: str, *, owners: bool, devices: bool) -> None:
        self._root = root
        self._path = path
        self._name = name
        self._owners = owners
        self._devices = devices
        self._seen: dict[tuple[int, int], str] = {}

    def write(self, write: Callable[[bytes], object]) -> None:
        """Write the archive.

        Raises:
            MinirunError: a file cannot be read, or changed while it was.
        """
        tar = TarWriter(write)
        with Tree(self._root) as tree:
            pending = [(self._path, self._name)]
            while pending:
                path, name = pending.pop()
                try:
                    pending += self._one(tree, tar, path, name)
                except OSError as error:
                    text = os.strerror(error.errno or 0).lower()
                    raise MinirunError(f"/{path}: {text}") from error
        tar.close()

    def _one(self, tree: Tree, tar: TarWriter, path: str, name: str) -> list[tuple[str, str]]:
        """Write one entry; return what is in it, the first name last."""
        head, _, last = path.rpartition("/")
        parent = tree.directory(head)
        found = os.lstat(last or ".", dir_fd=parent)
        kind = _KINDS.get(stat.S_IFMT(found.st_mode))
        if kind is None or (kind in (CHARACTER, BLOCK_DEVICE) and not self._devices):
            return []
        if name:
            self._write(tar, parent, last or ".", self._entry(parent, last, name, kind, found))
        if kind != DIRECTORY:
            return []
        below = f"{name}/" if name else ""
        inside = f"{path}/" if path else ""
        names = sorted(os.listdir(tree.directory(path)), reverse=True)
        return [(inside + one, below + one) for one in names]

    def _entry(self, parent: int, last: str, name: str, kind: str, found: os.stat_result) -> Entry:
        first = self._seen.setdefault((found.st_dev, found.st_ino), name)
        linked = kind == REGULAR and found.st_nlink > 1 and first != name
        target = first if linked else os.readlink(last, dir_fd=parent) if kind == SYMLINK else ""
        mode = stat.S_IMODE(found.st_mode)
        is_device = kind in (CHARACTER, BLOCK_DEVICE)
        return Entry(
            name,
            HARDLINK if linked else kind,
            mode if self._owners else mode & 0o1777,
            found.st_uid if self._owners else os.geteuid(),
            found.st_gid if self._owners else os.getegid(),
            found.st_size if kind == REGULAR and not linked else 0,
            found.st_mtime_ns,
            target,
            (os.major(found.st_rdev), os.minor(found.st_rdev)) if is_device else (0, 0),
        )

    def _write(self, tar: TarWriter, parent: int, last: str, entry: Entry) -> None:
        if entry.kind != REGULAR:
            tar.add(entry)
            return
        # Were it swapped for a fifo since lstat, a blocking open would never return.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(last, flags, dir_fd=parent)
        try:
            tar.add(entry, _chunks(fd))
        finally:
            os.close(fd)


def _chunks(fd: int) -> Iterator[bytes]:
    while data := os.read(fd, _CHUNK):
        yield data


class _Careful(Unpacker):
    """Never replaces a directory by something else: that would delete what is in it."""

    def _remove(self, parent: int, name: str) -> None:
        if stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            raise ImageError("it would replace a directory")
        super()._remove(parent, name)


def receive(stream: Readable, root: int, path: str) -> None:
    """Unpack a stream in a directory; no entry can leave it.

    Args:
        stream: a tar archive, not compressed.
        root: the fd that the path is walked from.
        path: of a directory.

    Raises:
        MinirunError: an entry is hostile or cannot be written; names it.
    """
    with Tree(root) as tree:
        folder = os.dup(tree.directory("/".join(p for p in path.split("/") if p)))
    limits = Limits(entries=_NO_LIMIT, size_bytes=_NO_LIMIT)
    try:
        _Careful(folder, limits, whiteouts=False).apply(TarReader(stream))
    except ImageError as error:
        message = error.message.replace("layer entry", "cannot copy")
        raise MinirunError(message, hint=_hint(message)) from error
    finally:
        os.close(folder)


def _hint(message: str) -> str:
    if "read-only" in message:
        return "the container's root is read-only: copy into a volume"
    return "there is no space left" if "no space" in message else ""


def through_pipe(
    write: Callable[[Callable[[bytes], object]], None], read: Callable[[Readable], None]
) -> None:
    """Let one side write what the other side reads, at the same time."""
    reader, writer = os.pipe()
    failed: list[Exception] = []

    def work() -> None:
        try:
            with os.fdopen(writer, "wb", buffering=_CHUNK) as file:
                write(file.write)
        except BrokenPipeError:
            return  # the reader has failed, and says why
        except (MinirunError, OSError) as error:
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    with os.fdopen(reader, "rb", buffering=0) as stream:
        thread.start()
        try:
            read(stream)
        except MinirunError:
            if not failed:
                raise
    thread.join()
    if failed:
        raise failed[0]
