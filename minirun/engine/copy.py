"""Copy files between the host and a container: ``minirun cp``.

    one side ─ pack ─▶ tar stream in a pipe ─ unpack ─▶ the other side

Both sides are directory fds, and every path is walked by the kernel from there (openat2,
RESOLVE_IN_ROOT), because a container may change its links while we look (CVE-2018-15664). A
container that runs is seen as it sees itself, volumes included; of one that does not, the layers
are put together for us alone.

Next: ``pack.py``.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from pathlib import Path

from ..errors import MinirunError, StateError, SyscallError
from ..inroot import open_in_root
from ..record import Record
from ..shim.place import StartFile
from ..spec import Spec
from .command import open_root
from .pack import Packer, receive, through_pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..container.entry import ContainerRecord
    from ..image.streams import Readable
    from .home import Home


class _Place(Record):
    """Where a copy goes: an open directory below ``root``, and the name that it gets there.

    No name means that the contents of a directory go into this one.
    """

    folder: str
    name: str


@contextmanager
def root_of(home: Home, record: ContainerRecord) -> Iterator[int]:
    """Yield an fd of a container's root directory.

    Raises:
        StateError: it is being restarted: there is no root just now.
    """
    if record.state.status in ("running", "paused"):
        outer = open_root(record)
        root = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=outer)
        os.close(outer)
        try:
            yield root
        finally:
            os.close(root)
    elif record.state.status == "restarting":
        raise StateError(f"container {record.name} is being restarted", hint="try again")
    else:
        with _merged(home, record) as root:
            yield root


@contextmanager
def _merged(home: Home, record: ContainerRecord) -> Iterator[int]:
    """Yield the root of a container that does not run."""
    from ..image.build_rootfs import merged

    place = home.place(record.id)
    overlay = place.read("start.json", StartFile).overlay
    if overlay is None:
        path = Path(place.read("config.json", Spec).root.path)
        with merged([path]) as root:
            yield root
        return
    lowers = [Path(lower) for lower in overlay.lowers]
    with merged(lowers, Path(overlay.upper), Path(overlay.work)) as root:
        yield root


def pack(root: int, path: str, write: Callable[[bytes], object], *, follow: bool) -> None:
    """Write a path of the container as a tar stream, named after its last part."""
    source = _resolved(root, path, follow=follow)
    Packer(root, source, _base(path), owners=True, devices=True).write(write)


def unpack(stream: Readable, root: int, path: str) -> None:
    """Unpack a tar stream in a directory of the container.

    Raises:
        MinirunError: the directory is not there, or an entry is hostile.
    """
    found = _look(root, path)
    if found is None or not stat.S_ISDIR(found.st_mode):
        raise MinirunError(f"{path} is no directory of the container", hint="make it first")
    receive(stream, root, path)


def out_of(
    root: int, path: str, target: str, *, follow: bool, owners: bool, seen: Callable[[int], object]
) -> None:
    """Copy a path of the container to the host.

    Args:
        root: the container's.
        path: inside; its last link is not followed unless ``follow``.
        target: on the host; one that ends in a slash must be a directory.
        follow: copy what a link leads to.
        owners: keep them.
        seen: told how many bytes have passed, again and again, from a thread.
    """
    host = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        source = _resolved(root, path, follow=follow)
        whole, wants_folder = os.path.abspath(target), target.endswith("/")
        place = _place(_look(root, source), path, host, whole, wants_folder=wants_folder)
        packer = Packer(root, source, place.name, owners=owners, devices=False)
        through_pipe(_counted(packer, seen), lambda stream: receive(stream, host, place.folder))
    finally:
        os.close(host)


def into(
    path: str, root: int, target: str, *, follow: bool, owners: bool, seen: Callable[[int], object]
) -> None:
    """Copy a path of the host into the container; it belongs to root there unless ``owners``."""
    host = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        whole = os.path.abspath(path) + ("/." if path.endswith("/.") else "")
        source = _resolved(host, whole, follow=follow)
        wants_folder = target.endswith("/")
        place = _place(_look(host, source), whole, root, target, wants_folder=wants_folder)
        packer = Packer(host, source, place.name, owners=owners, devices=owners)
        through_pipe(_counted(packer, seen), lambda stream: receive(stream, root, place.folder))
    finally:
        os.close(host)


def _counted(
    packer: Packer, seen: Callable[[int], object]
) -> Callable[[Callable[[bytes], object]], None]:
    """Return what packs, and tells how much on the way."""

    def pack_all(write: Callable[[bytes], object]) -> None:
        def both(data: bytes) -> None:
            write(data)
            seen(len(data))

        packer.write(both)

    return pack_all


def _place(
    found: os.stat_result | None, source: str, root: int, target: str, *, wants_folder: bool
) -> _Place:
    """Decide where a copy goes, by docker's rules.

    Raises:
        MinirunError: the source is missing, or the target cannot take it.
    """
    if found is None:
        raise MinirunError(f"{source}: no such file or directory")
    is_folder = stat.S_ISDIR(found.st_mode)
    there = _look(root, target)
    if there is not None and stat.S_ISDIR(there.st_mode):
        contents = is_folder and source.rstrip("/").endswith("/.")
        return _Place(target, "" if contents else _base(source))
    if there is not None and is_folder:
        raise MinirunError(f"cannot copy a directory over the file {target}")
    if there is None and wants_folder and not is_folder:
        raise MinirunError(f"{target} does not exist", hint="make the directory first")
    head, _, name = target.rstrip("/").rpartition("/")
    if there is not None and wants_folder:
        raise MinirunError(f"{target} is not a directory")
    folder = _look(root, head or "/")
    if folder is None or not stat.S_ISDIR(folder.st_mode):
        raise MinirunError(f"{head or '/'} does not exist", hint="make the directory first")
    return _Place(head or "/", name)


def _base(path: str) -> str:
    """Return the last part of a path; the root and ``.`` have none."""
    name = path.rstrip("/").removesuffix("/.").rstrip("/").rpartition("/")[2]
    return "" if name in (".", "..") else name


def _look(root: int, path: str) -> os.stat_result | None:
    """Return what a path is, its links followed inside the root; None where there is nothing."""
    try:
        fd = open_in_root(root, path)
    except SyscallError as error:
        if error.errno in (2, 20):  # ENOENT, ENOTDIR
            return None
        raise MinirunError(f"{path}: {os.strerror(error.errno or 0).lower()}") from error
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def _resolved(root: int, path: str, *, follow: bool) -> str:
    """Return the path to copy: what its last link leads to, where that was asked for."""
    plain = "/".join(part for part in path.split("/") if part not in ("", "."))
    for _ in range(40 if follow else 0):
        head, _, name = plain.rpartition("/")
        try:
            parent = open_in_root(root, head or "/", os.O_PATH | os.O_DIRECTORY)
        except SyscallError:
            return plain
        try:
            link = os.readlink(name, dir_fd=parent)
        except OSError:
            return plain
        finally:
            os.close(parent)
        plain = link.lstrip("/") if link.startswith("/") else f"{head}/{link}".lstrip("/")
    return plain
