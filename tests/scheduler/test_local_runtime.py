"""Replicas as containers of this host: the same rules as the fake, and what only they can break."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scheduler.contract import RuntimeContract
from tests.scheduler.local_lab import LocalLab, make_images, opened

pytestmark = pytest.mark.requires("root", "overlay", "seccomp", "busybox")


@pytest.fixture(scope="module", autouse=True)
def _images(tmp_path_factory: pytest.TempPathFactory) -> None:
    make_images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def lab() -> Iterator[LocalLab]:
    with opened() as lab:
        yield lab


class TestLocalRuntime(RuntimeContract):
    """What the fake keeps, the real one keeps."""
