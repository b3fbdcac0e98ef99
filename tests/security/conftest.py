"""What every replay gets: a bundle with canaries."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security.lab import Bundle, make_bundle


@pytest.fixture
def bundle(state_root: Path, data_root: Path) -> Iterator[Bundle]:
    """Return a bundle that an unprivileged user can reach, in a folder that the witness knows."""
    folder = Path(tempfile.mkdtemp(prefix="replay-", dir=data_root))
    folder.chmod(0o711)
    yield make_bundle(folder, state_root)
    shutil.rmtree(folder)
