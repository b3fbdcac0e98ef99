"""The layer below all layers: an empty place for each thing that is mounted in every container.

An image from scratch, or one that somebody cleaned up, has no /etc/hosts to mount ours on, nor a
/proc. Made at each start they would be five files and directories of a writable layer, each of them
written to the disk. So they are made once, and lie at the very bottom, where whatever an image has
of that name covers them. Docker has such a layer for each container.

Next: ``create.py``.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .home import Home

_DIRECTORIES = ("dev", "etc", "proc", "sys")
_FILES = ("etc/hostname", "etc/hosts", "etc/resolv.conf")


def foundation(home: Home) -> str:
    """Return the layer's directory, made when it is missing.

    Raises:
        OSError: the data directory cannot be written.
    """
    path = _path(home)
    if not os.path.isdir(path):
        _make(path)
    return path


def above_foundation(home: Home, lowers: tuple[str, ...]) -> tuple[str, ...]:
    """Return the layers of the image alone."""
    return tuple(lower for lower in lowers if lower != _path(home))


def _path(home: Home) -> str:
    return f"{home.data}/foundation"


def _make(path: str) -> None:
    """Make it aside, then give it its name: nobody ever mounts half of it.

    Threads of one scheduler make it at the same time, and a pid comes back.
    """
    aside = f"{path}.{os.urandom(6).hex()}"
    os.mkdir(aside, 0o755)
    try:
        for name in _DIRECTORIES:
            os.mkdir(f"{aside}/{name}", 0o755)
        for name in _FILES:
            os.close(os.open(f"{aside}/{name}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
        os.rename(aside, path)
    except OSError:
        _remove(aside)
        if not os.path.isdir(path):  # somebody else was faster: that is as good
            raise


def _remove(aside: str) -> None:
    for folder, _, files in os.walk(aside, topdown=False):
        for name in files:
            os.unlink(f"{folder}/{name}")
        os.rmdir(folder)
