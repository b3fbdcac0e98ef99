"""CVE-2022-23648: an image names a directory of the host as its volume, and gets a copy of it.

Mechanism: a fresh volume is filled with what the image has at its place. containerd joined the
image's root and the path that the image gave; ``/../../etc``, or a link of a layer, led to the
host, and the copy to the container.

Defence: ``minirun/engine/volumes.py``: the kernel walks the path with the image's root as the root.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minirun import inroot
from minirun.engine import volumes

pytestmark = pytest.mark.requires("root")

SECRET = "the secret of the host"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever it comes to, nothing is left where the layers were put together."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert os.listdir(folder) == []


def filled(top: Path, target: str) -> list[str]:
    """Fill a volume with what a hostile layer has at a path; return what is in it."""
    layer, volume, canary = top / "layer", top / "volume", top / "canary"
    for folder in (layer / "data", volume, canary):
        folder.mkdir(parents=True)
    (canary / "secret").write_text(SECRET)
    (layer / "way").symlink_to(canary)
    (layer / "up").symlink_to("../canary")
    (layer / "data/own").write_text("the image's")
    volumes._copy((str(layer),), target.replace("HOST", str(canary)), str(volume))
    return sorted(os.listdir(volume))


@pytest.mark.parametrize("target", ["/way", "/up", "/data/../../canary"])
def test_weak_fill_copies_the_hosts_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    def open_by_name(root: int, path: str, flags: int) -> int:
        return os.open(os.readlink(f"/proc/self/fd/{root}") + path, flags)

    monkeypatch.setattr(inroot, "open_in_root", open_by_name)
    assert filled(tmp_path, target) == ["secret"]


@pytest.mark.parametrize(
    ("target", "found"),
    [("/way", []), ("/up", []), ("/data/../../canary", []), ("/data/../../data", ["own"])],
)
def test_volume_is_filled_from_the_image(tmp_path: Path, target: str, found: list[str]) -> None:
    assert filled(tmp_path, target) == found
