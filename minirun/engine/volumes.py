"""Fill a new volume with what the image has at the place where it is mounted, as docker does.

The image's layers have to be seen as one, so a child mounts them for itself; what it copies, it
copies by fd and without following a link. A program with threads cannot fork: it asks a process.

Next: ``start.py``.
"""

from __future__ import annotations

import os
import sys

from .. import inroot, kernel
from ..container.files import Lock, make_folder, remove_tree
from ..errors import MinirunError, SyscallError
from ..flags import Clone, Mount
from ..host import in_user_namespace
from ..quickjson import dumps, loads
from ..steps.copyup import copy_tree
from ..steps.overlay import Overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from .home import Home


def fill_fresh_volumes(
    home: Home, volumes: Mapping[str, str], lowers: tuple[str, ...], untouched: Collection[str]
) -> None:
    """Copy the image's content into each volume that is new.

    Args:
        home: where the volumes are.
        volumes: their names, by where they are mounted.
        lowers: the image's layers.
        untouched: where ``nocopy`` leaves them empty.

    Raises:
        MinirunError: the content could not be copied: no space, for example.
    """
    for target, name in volumes.items():
        if home.volumes.get(name).fresh:
            _fill(home, name, () if target in untouched else lowers, target)


def _fill(home: Home, name: str, lowers: tuple[str, ...], target: str) -> None:
    """Fill a volume that nobody uses yet; of several who want to, one does."""
    folder = home.volumes.path(name)
    with Lock(f"{os.path.dirname(folder)}/lock"):
        if not home.volumes.get(name).fresh:
            return
        if lowers:
            remove_tree(folder)  # what somebody has left who was killed over it
            make_folder(folder, 0o755)
            _copy(lowers, target, folder)
        home.volumes.settle(name)


def fill_by_process(
    home: Home, volumes: Mapping[str, str], lowers: tuple[str, ...], untouched: Collection[str]
) -> None:
    """Do the same in a process of its own, where there is something to do.

    Raises:
        MinirunError: what that process said.
    """
    if not any(home.volumes.get(name).fresh for name in volumes.values()):
        return
    import subprocess

    path = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    place = {"MINIRUN_DATA": home.data, "MINIRUN_ROOT": home.root, "PYTHONPATH": path}
    asked = {"volumes": dict(volumes), "lowers": list(lowers), "untouched": list(untouched)}
    done = subprocess.run(
        (sys.executable, "-P", "-c", f"from {__name__} import answer; answer()"),
        input=dumps(asked),
        env={**os.environ, **place},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MinirunError(done.stderr.strip() or "a volume could not be filled")


def answer() -> None:
    """Be the process that ``fill_by_process`` asks."""
    from .home import default_home

    asked = loads(sys.stdin.read())
    try:
        lowers = tuple(asked["lowers"])
        fill_fresh_volumes(default_home(), asked["volumes"], lowers, asked["untouched"])
    except MinirunError as error:
        sys.exit(error.message)


def _copy(lowers: tuple[str, ...], target: str, volume: str) -> None:
    """Let a child with mounts of its own do it, and hear how it went."""
    import tempfile  # costs as much as a start of Python, and few starts fill a volume

    heard, told = os.pipe()
    with tempfile.TemporaryDirectory(prefix="minirun-") as place:
        pid = os.fork()
        if pid == 0:
            try:
                _copy_in_child(lowers, target, volume, place)
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


def _copy_in_child(lowers: tuple[str, ...], target: str, volume: str, place: str) -> None:
    """Mount the layers read-only and copy one directory of them; the mount goes with us."""
    kernel.unshare(Clone.CLONE_NEWNS)
    kernel.mount(None, "/", None, Mount.MS_PRIVATE | Mount.MS_REC, None)
    root = _mount(lowers, place)
    try:
        source = inroot.open_in_root(root, target, os.O_PATH | os.O_DIRECTORY)
    except SyscallError as error:
        if error.errno in (2, 20):  # the image has no such directory
            return
        raise
    copy_tree(source, os.open(volume, os.O_RDONLY | os.O_DIRECTORY))


def _mount(lowers: tuple[str, ...], place: str) -> int:
    """Return an fd of the merged layers; one layer needs no overlay, and gets none."""
    if len(lowers) > 1:
        stack = Overlay(lowers, userxattr=in_user_namespace())
        kernel.mount("overlay", place, "overlay", Mount.MS_RDONLY, stack.data)
        return os.open(place, os.O_PATH | os.O_DIRECTORY)
    return os.open(lowers[0], os.O_PATH | os.O_DIRECTORY)
