"""What large files of a context hash to, remembered no longer than it is true."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from minirun.image import build_digests
from minirun.image.build_digests import FOLDER, Digests

LARGE = b"weights" * (1 << 18)


def digest_of(root: Path, file: Path) -> tuple[str, bool]:
    """Return the digest, and whether the file had to be read for it."""
    fd = os.open(file, os.O_RDONLY)
    try:
        return Digests(str(root)).of(fd), os.lseek(fd, 0, os.SEEK_CUR) > 0
    finally:
        os.close(fd)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file that was just written count as one that nobody writes to."""
    monkeypatch.setattr(build_digests, "_SETTLED_NS", -1)


@pytest.mark.usefixtures("settled")
def test_a_large_file_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(LARGE)
    assert digest_of(tmp_path, file) == (sha256(LARGE), True)
    assert digest_of(tmp_path, file) == (sha256(LARGE), False)


@pytest.mark.usefixtures("settled")
def test_a_change_is_noticed_whatever_the_date_says(tmp_path: Path) -> None:
    """What if somebody writes as many bytes, and puts the old date back?"""
    file = tmp_path / "model.bin"
    file.write_bytes(LARGE)
    digest_of(tmp_path, file)
    before = file.stat()
    changed = LARGE[::-1]
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # a clock of 4 ms
        file.write_bytes(changed)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert digest_of(tmp_path, file) == (sha256(changed), True)


def test_a_file_that_just_changed_is_not_remembered(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(LARGE)
    for _ in range(2):
        assert digest_of(tmp_path, file) == (sha256(LARGE), True)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("entry", ["", "[]", "{", '{"stamp": 1}', '{"digest": "x"}'])
def test_a_damaged_entry_is_no_answer(tmp_path: Path, entry: str) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(LARGE)
    digest_of(tmp_path, file)
    (kept,) = (tmp_path / FOLDER).iterdir()
    kept.write_text(entry)
    assert digest_of(tmp_path, file) == (sha256(LARGE), True)
    assert digest_of(tmp_path, file) == (sha256(LARGE), False)


@pytest.mark.usefixtures("settled")
def test_small_files_leave_nothing(tmp_path: Path) -> None:
    file = tmp_path / "small.py"
    file.write_bytes(b"x = 1\n")
    assert digest_of(tmp_path, file) == (sha256(b"x = 1\n"), True)
    assert not (tmp_path / FOLDER).exists()
