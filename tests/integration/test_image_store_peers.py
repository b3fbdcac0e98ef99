"""What skopeo and umoci write is read, and what is written here they read."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from minirun.image import archive, layout
from minirun.image.store import Image, Store

from .image_lab import listing, make_image

pytestmark = pytest.mark.requires("root", "skopeo")


@pytest.fixture
def image(tmp_path: Path) -> Image:
    content = tmp_path / "content"
    (content / "usr" / "bin").mkdir(parents=True)
    (content / "usr/bin/tool").write_bytes(b"x" * 70_000)
    (content / "usr/bin/tool").chmod(0o4755)
    (content / "bin").symlink_to("usr/bin")
    os.link(content / "usr/bin/tool", content / "usr/bin/tool2")
    os.chown(content / "usr", 5, 6)
    return make_image(Store(str(tmp_path / "store")), content, "example.com/team/app:1")


def _run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def _saved(image: Image, path: Path) -> Path:
    with path.open("wb") as file:
        archive.save([image], file.write)
    return path


def test_skopeo_reads_what_we_write(tmp_path: Path, image: Image) -> None:
    layout.save([image], str(tmp_path / "layout"))
    tar = _saved(image, tmp_path / "a.tar")
    for where in (f"oci:{tmp_path}/layout", f"oci-archive:{tar}", f"oci:{image.root}"):
        found = json.loads(_run("skopeo", "inspect", where))
        assert found["Digest"] == image.descriptor.digest
        assert found["Layers"] == [image.manifest.layers[0].digest]
    config = json.loads(_run("skopeo", "inspect", "--config", f"docker-archive:{tar}"))
    assert config["rootfs"]["diff_ids"] == [image.layers[0].diff_id]


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive", "oci"])
def test_we_read_what_skopeo_writes(tmp_path: Path, image: Image, kind: str) -> None:
    source = f"docker-archive:{_saved(image, tmp_path / 'a.tar')}"
    _run("skopeo", "copy", "-q", source, f"{kind}:{tmp_path}/copy:example.com/team/app:1")
    other = Store(str(tmp_path / "other"))
    load = archive.load if kind == "docker-archive" else layout.load
    (found,) = load(other, str(tmp_path / "copy"))
    assert found.config.rootfs == image.config.rootfs
    assert kind != "docker-archive" or found.id == image.id  # for OCI it rewrites the config
    assert found.familiar_names == ("example.com/team/app:1",)
    assert listing(found.lower_dirs()[0] + "/") == listing(image.lower_dirs()[0] + "/")


@pytest.mark.requires("umoci")
def test_umoci_unpacks_to_the_same_files(tmp_path: Path, image: Image) -> None:
    folder = tmp_path / "layout"
    layout.save([image], str(folder))
    index = json.loads((folder / "index.json").read_text())
    index["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": "v1"}
    (folder / "index.json").write_text(json.dumps(index))
    _run("umoci", "raw", "unpack", "--image", f"{folder}:v1", str(tmp_path / "umoci"))
    assert listing(tmp_path / "umoci") == listing(image.lower_dirs()[0] + "/")
