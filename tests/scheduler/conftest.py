"""What tests with real replicas share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scheduler import serve_lab


@pytest.fixture(scope="session")
def tiny() -> Iterator[Path]:
    """Return a MINIRUN_DATA that holds the image ``tiny``: a web server of a static busybox."""
    images = Path(tempfile.mkdtemp(prefix="minirun-"))
    images.chmod(0o711)
    with tempfile.TemporaryDirectory() as scratch:
        serve_lab.build_tiny(images, Path(scratch))
    yield images
    shutil.rmtree(images)
