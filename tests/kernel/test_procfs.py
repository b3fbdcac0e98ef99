"""The private procfs: real, attached nowhere, and walked without links."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from minirun import procfs
from minirun.errors import HostError, SyscallError

pytestmark = pytest.mark.requires("root")


@pytest.fixture
def proc() -> Iterator[int]:
    fd = procfs.open_private()
    yield fd
    os.close(fd)


@pytest.fixture
def neighbour() -> Iterator[int]:
    """Return the pid of a process whose files may be written."""
    wait, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go)
        os.read(wait, 1)
        os._exit(0)
    yield pid
    os.close(go)
    os.close(wait)
    os.waitpid(pid, 0)


def test_open_private_is_a_procfs_that_no_path_leads_to() -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    fd = procfs.open_private()
    assert os.readlink("self", dir_fd=fd) == str(os.getpid())
    assert os.fstat(fd).st_dev != os.stat("/proc").st_dev
    assert Path("/proc/self/mountinfo").read_text() == mounts
    os.close(fd)


def test_write_reaches_the_kernel(proc: int, neighbour: int) -> None:
    file = Path(f"/proc/{neighbour}/oom_score_adj")
    assert file.read_text() != "321\n"
    procfs.write(proc, f"{neighbour}/oom_score_adj", "321")
    assert file.read_text() == "321\n"


@pytest.mark.parametrize("path", ["{}/../{}/oom_score_adj", "..", "../x", "{}/.."])
def test_write_refuses_dot_dot(proc: int, neighbour: int, path: str) -> None:
    before = Path(f"/proc/{neighbour}/oom_score_adj").read_text()
    with pytest.raises(HostError, match=r"holds '\.\.'") as caught:
        procfs.write(proc, path.replace("{}", str(neighbour)), "321")
    assert caught.value.hint == "write where it really is"
    assert Path(f"/proc/{neighbour}/oom_score_adj").read_text() == before


@pytest.mark.parametrize("path", ["self/oom_score_adj", "{}/root/etc/hosts", "{}/cwd/file"])
def test_write_refuses_links(proc: int, neighbour: int, path: str) -> None:
    with pytest.raises(SyscallError) as caught:
        procfs.write(proc, path.replace("{}", str(neighbour)), "321")
    assert caught.value.errno == errno.ELOOP


def test_write_refuses_an_absolute_path(proc: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(SyscallError) as caught:
        procfs.write(proc, f"{tmp_path}/file", "new")
    assert caught.value.errno == errno.EXDEV
    assert (tmp_path / "file").read_text() == "old"


def test_write_refuses_what_only_looks_like_a_procfs(tmp_path: Path) -> None:
    """What if the image put a plain file where the sysctl should be?"""
    (tmp_path / "sys").write_text("old")
    fd = os.open(tmp_path, os.O_PATH)
    with pytest.raises(HostError, match="/proc/sys is not in a procfs"):
        procfs.write(fd, "sys", "new")
    os.close(fd)
    assert (tmp_path / "sys").read_text() == "old"
