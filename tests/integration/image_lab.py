"""Layers made by hand, and the witnesses to compare results with."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from minirun.image.model import ContainerConfig, ImageConfig, RootFs
from minirun.image.store import Image, Store

PLAIN = ImageConfig("amd64", "linux", RootFs("layers"), ContainerConfig(cmd=("/bin/true",)))


def member(
    name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "", **fields: int
) -> tuple[tarfile.TarInfo, bytes]:
    """Return one member; any field of TarInfo may be given."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def directory(name: str, **fields: int) -> tuple[tarfile.TarInfo, bytes]:
    """Return a directory member."""
    fields.setdefault("mode", 0o755)
    return member(name, b"", tarfile.DIRTYPE, "", **fields)


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """Return a symbolic link."""
    return member(name, kind=tarfile.SYMTYPE, link=target)


def hardlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """Return a hard link."""
    return member(name, kind=tarfile.LNKTYPE, link=target)


def tar(members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """Return an archive, written by the standard library."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def listing(path: Path | str) -> list[str]:
    """Return every path with type, mode, owner, time, link count and target, as find(1) sees it."""
    form = "%P %y %m %U:%G %Ts %n %l\n"
    argv = ["find", str(path), "-mindepth", "1", "-printf", form]
    return sorted(
        subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split("\n")
    )


def everything_in(root: Path | str) -> list[str]:
    """Return all paths below a store, but for lock files."""
    found = [os.path.join(top, n) for top, ds, fs in os.walk(root) for n in (*ds, *fs)]
    return sorted(path for path in found if os.path.basename(path) != "lock")


def make_image(store: Store, content: Path, name: str) -> Image:
    """Return an image of one layer, made of a directory."""
    with store.write() as writer:
        return writer.write_image(PLAIN, [writer.add_layer_from_dir(str(content))], [name])


def python(code: str, *argv: str, stdin: IO[str] | None = None) -> subprocess.Popen[str]:
    """Start a Python process that runs ``code``."""
    command = [sys.executable, "-c", code, *argv]
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, text=True)
