"""Fill a new volume with what the image has at the place where it is mounted, as docker does.

The image's layers have to be seen as one, so a child mounts them for itself; what it copies, it
copies by fd and without following a link.

Next: ``start.py``.
"""

from __future__ import annotations

import os

from .. import inroot, kernel
from ..errors import MinirunError, SyscallError
from ..flags import Clone, Mount
from ..host import in_user_namespace
from ..steps.copyup import copy_tree
from ..steps.overlay import Overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..container.mounts import MountRequest
    from .home import Home


def fill_fresh_volumes(
    home: Home,
    volumes: Mapping[str, str],
    lowers: tuple[str, ...],
    requests: Iterable[MountRequest],
) -> None:
    """Copy the image's content into each volume that is new; ``nocopy`` leaves it empty.

    Raises:
        MinirunError: the content could not be copied: no space, for example.
    """
    untouched = {request.target for request in requests if request.no_copy}
    for target, name in volumes.items():
        if not home.volumes.get(name).fresh:
            continue
        if target not in untouched and lowers:
            _copy(lowers, target, home.volumes.path(name))
        home.volumes.settle(name)


def _copy(lowers: tuple[str, ...], target: str, volume: str) -> None:
    """Let a child with mounts of its own do it, and hear how it went."""
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _copy_in_child(lowers, target, volume)
            os._exit(0)
        except OSError as error:
            os.write(told, os.strerror(error.errno or 0).encode())
        finally:
            os._exit(1)
    os.close(told)
    problem = os.read(heard, 4096).decode(errors="replace")
    os.close(heard)
    os.waitpid(pid, 0)
    if problem:
        raise MinirunError(f"cannot fill the volume at {target}: {problem.lower()}")


def _copy_in_child(lowers: tuple[str, ...], target: str, volume: str) -> None:
    """Mount the layers read-only and copy one directory of them."""
    import tempfile  # costs as much as a start of Python, and few starts fill a volume

    kernel.unshare(Clone.CLONE_NEWNS)
    kernel.mount(None, "/", None, Mount.MS_PRIVATE | Mount.MS_REC, None)
    with tempfile.TemporaryDirectory(prefix="minirun-") as place:
        root = _mount(lowers, place)
        try:
            source = inroot.open_in_root(root, target, os.O_PATH | os.O_DIRECTORY)
        except SyscallError as error:
            if error.errno in (2, 20):  # the image has no such directory
                os._exit(0)
            raise
        copy_tree(source, os.open(volume, os.O_RDONLY | os.O_DIRECTORY))
        os._exit(0)  # the mount goes with the namespace; the empty directory is below


def _mount(lowers: tuple[str, ...], place: str) -> int:
    """Return an fd of the merged layers; one layer needs no overlay, and gets none."""
    if len(lowers) > 1:
        stack = Overlay(lowers, userxattr=in_user_namespace())
        kernel.mount("overlay", place, "overlay", Mount.MS_RDONLY, stack.data)
        return os.open(place, os.O_PATH | os.O_DIRECTORY)
    return os.open(lowers[0], os.O_PATH | os.O_DIRECTORY)
