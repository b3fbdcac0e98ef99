"""Copying an image's directory into a tmpfs: everything about a file but its device numbers."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from minirun import kernel
from minirun.flags import FsConfig, MountAttr
from minirun.steps.copyup import copy_tree


@pytest.fixture
def source(tmp_path: Path) -> Path:
    made = tmp_path / "source"
    made.mkdir()
    return made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    made = tmp_path / "target"
    made.mkdir()
    return made


def copy(source: Path, target: Path | int) -> None:
    reader = os.open(source, os.O_PATH | os.O_DIRECTORY)
    writer = target if isinstance(target, int) else os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        copy_tree(reader, writer)
    finally:
        os.close(reader)
        os.close(writer)


def listed(top: Path) -> dict[str, tuple[int, int, int, str | bytes]]:
    """Return mode, owner and content of everything below."""
    found: dict[str, tuple[int, int, int, str | bytes]] = {}
    for path in [top, *top.rglob("*")]:
        status = path.lstat()
        content: str | bytes = ""
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        name = str(path.relative_to(top))
        found[name] = (status.st_mode, status.st_uid, status.st_gid, content)
    return found


def test_copy_tree_keeps_content_modes_and_links(source: Path, target: Path) -> None:
    (source / "deep/er").mkdir(parents=True)
    (source / "deep/er/big").write_bytes(os.urandom((1 << 20) + 7))  # more than one chunk
    (source / "run").write_text("#!")
    (source / "run").chmod(0o4751)
    (source / "empty").touch(0o600)
    (source / "deep").chmod(0o1770)
    (source / "dangling").symlink_to("/no/where")
    source.chmod(0o2711)
    before = listed(source)
    copy(source, target)
    assert listed(target) == listed(source) == before
    assert len(before) == 7


@pytest.mark.requires("root")
def test_copy_tree_keeps_owners_and_set_id_bits(source: Path, target: Path) -> None:
    (source / "dir").mkdir()
    (source / "dir/tool").write_text("")
    (source / "link").symlink_to("dir/tool")
    for number, path in enumerate([source, *sorted(source.rglob("*"))]):
        os.chown(path, 1000 + number, 2000 + number, follow_symlinks=False)
    (source / "dir/tool").chmod(0o6755)  # a chown after the chmod would clear these
    copy(source, target)
    assert listed(target) == listed(source)
    assert (target / "dir/tool").stat().st_mode & 0o7777 == 0o6755


def test_copy_tree_never_follows_a_link_of_the_image(source: Path, target: Path) -> None:
    (source.parent / "secret").mkdir()
    (source.parent / "secret/key").write_text("key")
    (source / "out").symlink_to("../secret")
    copy(source, target)
    assert (target / "out").is_symlink()
    assert os.listdir(target) == ["out"]


@pytest.mark.requires("root")
def test_copy_tree_leaves_devices_and_pipes_out(source: Path, target: Path) -> None:
    os.mknod(source / "null", 0o20666, os.makedev(1, 3))
    os.mknod(source / "socket", 0o140666)
    os.mkfifo(source / "pipe")
    (source / "file").write_text("")
    copy(source, target)
    assert os.listdir(target) == ["file"]


@pytest.mark.requires("root")
def test_copy_tree_says_when_the_tmpfs_is_full(source: Path) -> None:
    """What if a write takes only a part? A file cut short in silence would be worse."""
    (source / "big").write_bytes(bytes(1 << 18))
    fs = kernel.fsopen("tmpfs")
    kernel.fsconfig(fs, FsConfig.FSCONFIG_SET_STRING, "size", "64k")
    kernel.fsconfig(fs, FsConfig.FSCONFIG_CMD_CREATE, None, None)
    tree = kernel.fsmount(fs, MountAttr(0))
    os.close(fs)
    with pytest.raises(OSError, match="No space left") as caught:
        copy(source, tree)
    assert caught.value.errno == errno.ENOSPC
