"""The seam between a build and whatever runs a command in a container.

The builder decides what to run and on which layers; an Executor runs it. The runtime implements it
with its own containers; a test implements it with fifty lines of unshare and chroot.

Next: ``build.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder of the host that the command sees for as long as it runs.

    Args:
        source: on the host.
        target: in the container; the mount point is there already.
        read_only: refuse writes.
    """

    source: Path
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class Tmpfs:
    """An empty folder in memory.

    Args:
        target: in the container; the mount point is there already.
        size_bytes: the most it holds, 0 is half of the memory.
    """

    target: str
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class RunStep:
    """One command to run on top of an image's layers.

    Args:
        lowers: the unpacked layers, topmost first, as overlayfs takes them; never written to.
        upper: the folder that receives what the command changes.
        work: overlayfs's own folder, empty, on the same file system as ``upper``.
        argv: the program and its arguments; looked up in PATH of ``env`` inside the root.
        env: the environment; HOME is the executor's to add, from the image's user database.
        cwd: absolute, and there already.
        user: as written in USER: a name or number, with a group or without; "" is root.
        mounts: in this order, after /proc, /sys and /dev; one may be inside of another.
        network: ``host``, ``none`` or ``bridge``.
    """

    lowers: tuple[Path, ...]
    upper: Path
    work: Path
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str = "/"
    user: str = ""
    mounts: tuple[Bind | Tmpfs, ...] = field(default=())
    network: str = "host"


class Executor(Protocol):
    """Runs commands for a build.

    The overlay must be mounted with ``redirect_dir=off,metacopy=off,index=off``: the upper folder
    becomes a layer, and a layer cannot spell what those write into it. Nothing may be left in the
    upper folder but what the command wrote.
    """

    def run(self, step: RunStep, output: Callable[[bytes], None]) -> int:
        """Run to the end and return the exit status, 128+n for signal n.

        Args:
            step: what to run.
            output: called with pieces of stdout and stderr, as they come.

        Raises:
            MinirunError: the container could not be started.
        """
        ...
