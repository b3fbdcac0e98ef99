"""CVE-2007-4559, CVE-2024-12718, CVE-2025-4138, CVE-2025-4517, CVE-2021-32760: a layer that climbs.

Mechanism: an archive names its entries, and an entry can be a link. ``../x`` and ``/x`` climb by
name; a link that is unpacked first makes a harmless name climb; a hard link makes a file of the
host one of the layer's, whose contents and mode the next entry changes. Python's own tarfile, told
to trust an archive, does all of it; its filters were got around more than once.

Defence: ``minirun/image/unpack.py``: every name is walked by the kernel with the layer as its root,
nothing is opened through a link, and what is in the way is replaced, not written through.
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from minirun.errors import ImageError
from minirun.image.layers import unpack_layer

pytestmark = pytest.mark.requires("root")

Entry = tarfile.TarInfo
Unpack = Callable[[bytes, Path], None]
SECRET = "the secret of the host\n"


def trusting(archive: bytes, layer: Path) -> None:
    """Unpack as a runtime would that takes the library's word for it."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(layer, filter="fully_trusted")


def ours(archive: bytes, layer: Path) -> None:
    fd = os.open(layer, os.O_RDONLY | os.O_DIRECTORY)
    with contextlib.suppress(ImageError):
        unpack_layer(io.BytesIO(archive), fd)
    os.close(fd)


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o777) -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


#: What an enemy packs; ``HOST`` stands for the canary's absolute path.
ATTACKS: dict[str, list[Entry]] = {
    "climbs": [entry("../canary/secret")],
    "absolute": [entry("HOST/secret")],
    "through a link": [entry("way", tarfile.SYMTYPE, "../canary"), entry("way/secret")],
    "through an absolute link": [entry("way", tarfile.SYMTYPE, "HOST"), entry("way/secret")],
    "through two links": [
        entry("a", tarfile.DIRTYPE),
        entry("a/up", tarfile.SYMTYPE, ".."),
        entry("way", tarfile.SYMTYPE, "a/up/../canary"),
        entry("way/secret"),
    ],
    "hard link": [entry("way", tarfile.LNKTYPE, "../canary/secret"), entry("way")],
    "mode of what a link means": [
        entry("way", tarfile.SYMTYPE, "../canary/secret"),
        entry("again", tarfile.LNKTYPE, "way", mode=0o777),
    ],
}


def touched(attack: str, unpack: Unpack, top: Path) -> bool:
    """Unpack an attack; return whether the canary beside the layer has changed."""
    canary, layer = top / "canary", top / "layer"
    canary.mkdir()
    layer.mkdir()
    secret = canary / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info in ATTACKS[attack]:
            real = tarfile.TarInfo(info.name.replace("HOST", str(canary)))
            real.type, real.mode = info.type, info.mode
            real.linkname = info.linkname.replace("HOST", str(canary))
            data = b"the enemy's\n" if info.type == tarfile.REGTYPE else b""
            real.size = len(data)
            tar.addfile(real, io.BytesIO(data))
    unpack(buffer.getvalue(), layer)
    return secret.read_text() != SECRET or secret.stat().st_mode & 0o777 != 0o600


@pytest.mark.parametrize("attack", ATTACKS)
def test_trusting_unpacker_changes_the_host(tmp_path: Path, attack: str) -> None:
    assert touched(attack, trusting, tmp_path)


@pytest.mark.parametrize("attack", ATTACKS)
def test_layer_stays_in_its_folder(tmp_path: Path, attack: str) -> None:
    assert not touched(attack, ours, tmp_path)
