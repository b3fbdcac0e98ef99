"""What we push is read by oras, which has schemas of its own; what oras pushes is no image."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from oras.client import OrasClient

from minirun.errors import ImageError
from minirun.image import sbom
from minirun.image.blobs import read_blob
from minirun.image.model import OCI_MANIFEST
from minirun.image.registry.attach import attach_referrer
from minirun.image.registry.pull import pull
from minirun.image.registry.push import push
from minirun.image.registry.search import referrers
from minirun.image.store import Image, Store

from .image_lab import make_image
from .registry_lab import access, registry

pytestmark = pytest.mark.requires("root", "docker-registry")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def oras(host: str) -> OrasClient:
    return OrasClient(hostname=host, insecure=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def image(store: Store, tmp_path: Path) -> Image:
    (tmp_path / "content").mkdir()
    (tmp_path / "content/file").write_bytes(os.urandom(10_000))
    return make_image(store, tmp_path / "content", "app:1")


def test_oras_reads_an_image_that_we_pushed(
    store: Store, image: Image, host: str, oras: OrasClient
) -> None:
    pushed = push(store, image, f"{host}/app:1", how=access())
    manifest = oras.get_manifest(f"{host}/app:1")
    assert manifest == json.loads(read_blob(store.root, pushed.digest))
    for part in (manifest["config"], *manifest["layers"]):
        content = oras.get_blob(f"{host}/app:1", part["digest"]).content
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == part["digest"]


def test_oras_fetches_a_bill_of_materials_that_we_attached(
    store: Store, image: Image, host: str, oras: OrasClient, tmp_path: Path
) -> None:
    pushed = push(store, image, f"{host}/parts:1", how=access())
    content, kind = sbom.sbom(image), sbom.MEDIA_TYPE
    attach_referrer(f"{host}/parts:1", pushed, content, kind, title="parts.json", how=access())
    (found,) = referrers(f"{host}/parts:1", how=access())
    assert (found.artifact_type, found.media_type) == (kind, OCI_MANIFEST)
    (path,) = oras.pull(f"{host}/parts@{found.digest}", outdir=str(tmp_path / "out"))
    assert Path(path).name == "parts.json"
    assert Path(path).read_bytes() == content


def test_an_artifact_of_oras_is_no_image(
    store: Store, host: str, oras: OrasClient, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    files = [f"{tmp_path / 'model.bin'}:application/octet-stream"]
    oras.push(target=f"{host}/weights:1", files=files, disable_path_validation=True)
    with pytest.raises(ImageError, match="is an artifact of type") as caught:
        pull(store, f"{host}/weights:1", how=access())
    assert "oras" in caught.value.hint
    assert store.images() == []
