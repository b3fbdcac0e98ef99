"""Paths of a hostile image never leave it, whatever links it is made of."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from minirun import inroot
from minirun.errors import SyscallError


@pytest.fixture
def root(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """Return an image's root with an outside that holds a secret, and an fd of the root."""
    inside = tmp_path / "root"
    (inside / "etc").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    fd = os.open(inside, os.O_PATH | os.O_DIRECTORY)
    yield inside, fd
    os.close(fd)
    assert os.listdir(tmp_path / "outside") == ["secret"]


def place(fd: int) -> str:
    """Return where an fd leads, by the kernel's word, and close it."""
    path = os.readlink(f"/proc/self/fd/{fd}")
    os.close(fd)
    return path


def test_open_in_root_takes_absolute_links_as_the_root_s_own(root: tuple[Path, int]) -> None:
    inside, fd = root
    (inside / "etc/hosts").write_text("")
    (inside / "link").symlink_to("/etc/hosts")
    assert place(inroot.open_in_root(fd, "/link")) == str(inside / "etc/hosts")


@pytest.mark.parametrize(
    "path", ["../outside/secret", "/../../outside/secret", "up/outside/secret"]
)
def test_open_in_root_cannot_climb_out(root: tuple[Path, int], path: str) -> None:
    inside, fd = root
    (inside / "up").symlink_to("..")
    with pytest.raises(SyscallError) as caught:
        inroot.open_in_root(fd, path)
    assert caught.value.errno == errno.ENOENT


def test_open_in_root_refuses_magic_links(root: tuple[Path, int]) -> None:
    """What if the image's /proc holds a link that the kernel resolves by itself?"""
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    with pytest.raises(SyscallError) as caught:
        inroot.open_in_root(proc, "self/root/etc")
    os.close(proc)
    assert caught.value.errno == errno.ELOOP


def test_make_directory_makes_what_is_missing_below_the_image_s_links(
    root: tuple[Path, int],
) -> None:
    inside, fd = root
    (inside / "run").mkdir()
    (inside / "var").mkdir()
    (inside / "var/run").symlink_to("/run")
    assert place(inroot.make_directory(fd, "/var/run/a/b")) == str(inside / "run/a/b")


@pytest.mark.parametrize("target", ["../outside", "../../outside", "/outside/new"])
def test_make_directory_through_a_link_to_the_outside_stays_inside(
    root: tuple[Path, int], target: str
) -> None:
    inside, fd = root
    (inside / "link").symlink_to(target)
    try:
        made = inroot.make_directory(fd, "/link/x")
    except (SyscallError, OSError):
        return  # refused is as good
    assert place(made).startswith(f"{inside}/")


def test_make_directory_refuses_to_climb_where_nothing_is(root: tuple[Path, int]) -> None:
    _, fd = root
    with pytest.raises(SyscallError) as caught:
        inroot.make_directory(fd, "/missing/../../outside/x")
    assert caught.value.errno == errno.EINVAL


def test_make_file_through_dangling_links_makes_it_inside(root: tuple[Path, int]) -> None:
    inside, fd = root
    (inside / "etc/resolv.conf").symlink_to("../../../outside/resolv.conf")
    os.close(inroot.make_file(fd, "/etc/resolv.conf"))
    assert (inside / "outside/resolv.conf").read_bytes() == b""


def test_make_file_gives_up_on_a_circle_of_links(root: tuple[Path, int]) -> None:
    inside, fd = root
    (inside / "a").symlink_to("b")
    (inside / "b").symlink_to("a")
    with pytest.raises(SyscallError) as caught:
        inroot.make_file(fd, "/a")
    assert caught.value.errno == errno.ELOOP


def test_open_plain_directory_refuses_any_link(root: tuple[Path, int]) -> None:
    inside, fd = root
    (inside / "proc").symlink_to("etc")
    with pytest.raises(SyscallError) as caught:
        inroot.open_plain_directory(fd, "/proc")
    assert caught.value.errno == errno.ELOOP
    os.close(inroot.open_plain_directory(fd, "/etc"))
