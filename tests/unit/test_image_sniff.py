"""What a word on the command line is taken for."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from minirun.errors import ImageError
from minirun.image import sniff as module
from minirun.image.sniff import sniff


def _tar(path: Path, *names: str, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name in names:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return path


@pytest.mark.parametrize(
    ("made", "kind", "sign"),
    [
        (["Dockerfile", "config.json", "rootfs/"], module.DOCKERFILE_DIR, "Dockerfile"),
        (["Containerfile"], module.DOCKERFILE_DIR, "Containerfile"),
        (["config.json", "rootfs/"], module.OCI_BUNDLE, "config.json"),
        (["oci-layout", "index.json"], module.OCI_LAYOUT, "oci-layout"),
        (["bin/", "home/"], module.ROOTFS, "bin/"),
        (["etc/"], module.ROOTFS, "etc/"),
    ],
)
def test_sniff_knows_a_directory_by_what_is_in_it(
    tmp_path: Path, made: list[str], kind: str, sign: str
) -> None:
    for name in made:
        if name.endswith("/"):
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).touch()
    found = sniff(str(tmp_path))
    assert found.kind == kind
    assert sign in found.why


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_sniff_looks_into_archives(tmp_path: Path, mode: str) -> None:
    both = _tar(tmp_path / "both.tar", "oci-layout", "manifest.json", mode=mode)
    layout = _tar(tmp_path / "layout.tar", "blobs/sha256/x", "oci-layout", mode=mode)
    other = _tar(tmp_path / "other.tar", "etc/passwd", mode=mode)
    assert sniff(str(both)).kind == module.DOCKER_ARCHIVE
    assert sniff(str(layout)).kind == module.OCI_ARCHIVE
    with pytest.raises(ImageError, match="no archive of images") as caught:
        sniff(str(other))
    assert "unpack it" in caught.value.hint


def test_sniff_takes_the_rest_for_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ubuntu").mkdir()
    assert sniff("ubuntu").kind == sniff("host:5000/a/b").kind == module.IMAGE_NAME


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", "no image"), ("./missing", "no such file"), ("empty/", "empty"), ("odd/", "nothing")],
)
def test_sniff_explains_what_it_cannot_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "notes.txt").touch()
    with pytest.raises(ImageError, match=problem):
        sniff(text)
