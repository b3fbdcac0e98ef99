"""The commands of images/README.md make the image that the page says they make."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.images.conftest import IMAGES


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder where the page's commands were run, in their order, as one script."""
    page = (IMAGES / "README.md").read_text()
    chapter = re.split(r"^## ", page.partition("## An image, by hand")[2], flags=re.MULTILINE)[0]
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", chapter, re.MULTILINE | re.DOTALL))
    folder = tmp_path_factory.mktemp("by-hand")
    done = subprocess.run(
        ["sh", "-euc", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (folder / "output").write_text(done.stdout)
    return folder


def test_page_shows_the_output_its_commands_have(made: Path) -> None:
    page = (IMAGES / "README.md").read_text()
    shown = "".join(re.findall(r"^```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL))

    assert (made / "output").read_text() == shown


def test_unpacked_root_has_the_upper_file_and_not_the_deleted_one(made: Path) -> None:
    files = sorted(str(path.relative_to(made / "rootfs")) for path in (made / "rootfs").rglob("*"))

    assert files == ["etc", "etc/greeting"]
    assert "layer two" in (made / "rootfs" / "etc" / "greeting").read_text()


def test_every_blob_is_named_by_its_content(made: Path) -> None:
    blobs = list((made / "image" / "blobs" / "sha256").iterdir())

    assert len(blobs) == 4
    assert all(hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name for blob in blobs)


@pytest.mark.requires("skopeo")
def test_skopeo_reads_the_image(made: Path) -> None:
    """What if the page is wrong about the format: another tool has to agree."""
    inspect = ["skopeo", "inspect", "--override-os=linux", f"oci:{made / 'image'}:by-hand"]

    done = subprocess.run(inspect, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["Layers"]) == 2
