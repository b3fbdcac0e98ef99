"""Layers in and out of directories: hostile ones refused, honest ones exact."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minirun.errors import ImageError
from minirun.image.changes import changes
from minirun.image.layers import pack_layer, unpack_layer
from minirun.image.limits import Limits

from .image_lab import directory, hardlink, listing, member, symlink, tar

pytestmark = pytest.mark.requires("root")
ROOT = "trusted.overlay.opaque"


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "target").mkdir()
    fd = os.open(tmp_path / "target", os.O_RDONLY)
    yield fd
    os.close(fd)


def _unpack(raw: bytes, fd: int, **options: object) -> None:
    unpack_layer(io.BytesIO(raw), fd, **options)  # type: ignore[arg-type]


HOSTILE = {
    "parent": ([member("../x")], r"entry '\.\./x'.*'\.\.'"),
    "parent-inside": ([member("a/../../x")], r"'a/\.\./\.\./x'"),
    "link-out": ([hardlink("x", "../../etc/passwd")], "'x'.*would lead out"),
    "link-missing": ([hardlink("x", "etc/passwd")], "'x': hard link to 'etc/passwd'"),
    "link-to-directory": ([directory("d"), hardlink("x", "d")], "'x': hard link to the directory"),
    "whiteout-of-nothing": ([member("d/.wh.")], "'d/.wh.': whiteout of no file"),
    "whiteout-of-self": ([member("d/.wh..")], "'d/.wh..': whiteout of no file"),
    "whiteout-of-parent": ([member("d/.wh...")], "'d/.wh...': whiteout of no file"),
    "device-as-whiteout": ([member("x", kind=tarfile.CHRTYPE)], "'x': character device 0/0"),
    "owner-minus-one": ([member("x", uid=2**32 - 1)], "'x': owner 4294967295"),
    "root-is-a-file": ([member("./", kind=tarfile.SYMTYPE, link="/")], "root of a layer"),
    "long-name": ([member("n" * 300)], "file name too long"),
    "parent-is-a-file": ([member("a"), member("a/b")], "'a/b': not a directory"),
    "dangling-parent": ([symlink("a", "nowhere"), member("a/b")], "'a/b': 'a' is a symbolic link"),
    "link-loop": ([symlink("a", "b"), symlink("b", "a"), member("a/x")], "'a/x': too many levels"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_unpack_refuses_by_name(target: int, case: str) -> None:
    members, problem = HOSTILE[case]
    with pytest.raises(ImageError, match=problem):
        _unpack(tar(members), target)


@pytest.mark.parametrize("link", ["/", "/etc", "../../../../../..", "../../outside", "/outside"])
@pytest.mark.parametrize("last", [member("a/canary", b"x"), hardlink("stolen", "a/hostname")])
def test_unpack_never_leaves_the_root_through_a_link(
    tmp_path: Path, link: str, last: tuple[tarfile.TarInfo, bytes]
) -> None:
    """The host is a folder here, which the child takes for its root: a bug harms nobody."""
    host = tmp_path / "host"
    for name in ("outside", "etc", "store/layer"):
        (host / name).mkdir(parents=True)
    for name in ("hostname", "outside/hostname", "etc/hostname"):
        (host / name).write_text("secret")
    before = [line for line in listing(host) if not line.startswith("store")]
    _unpack_in(host, "/store/layer", tar([symlink("a", link), directory("etc"), last]))
    assert [line for line in listing(host) if not line.startswith("store")] == before
    assert not (host / "store/layer/stolen").exists()


def _unpack_in(host: Path, path: str, raw: bytes) -> None:
    """Unpack in a child whose root is ``host``; a refusal is as good as a harmless result."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.chroot(host)
            with contextlib.suppress(ImageError):
                _unpack(raw, os.open(path, os.O_RDONLY))
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        (Limits(entries=3), "more than 3 entries"),
        (Limits(size_bytes=1000), "larger than 1000 bytes"),
    ],
)
def test_unpack_stops_at_its_limits(target: int, limits: Limits, problem: str) -> None:
    members = [member("big", bytes(1001)), *(member(str(i)) for i in range(5))]
    ordered = members if limits.size_bytes == 1000 else members[::-1]
    with pytest.raises(ImageError, match=problem):
        _unpack(tar(ordered), target, limits=limits)


def test_unpack_verifies_both_digests(target: int) -> None:
    raw = gzip.compress(tar([member("x")]))
    with pytest.raises(ImageError, match="not the one its image names"):
        _unpack(raw, target, diff_id="sha256:" + "0" * 64)
    with pytest.raises(ImageError, match="not the one asked for"):
        _unpack(raw, target, digest="sha256:" + "0" * 64)


def test_unpack_survives_very_deep_directories(tmp_path: Path, target: int) -> None:
    """What if a layer nests 2000 directories and then puts a file in their place?"""
    deep = "d/" * 1900 + "x"
    _unpack(tar([member(deep), member("d", b"flat")]), target)
    assert (tmp_path / "target" / "d").read_bytes() == b"flat"


def _honest() -> list[tuple[tarfile.TarInfo, bytes]]:
    device = member("dev/null", kind=tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3)
    capable = member("bin/ping", b"elf", mode=0o755, mtime=1234567890)
    value = bytes.fromhex("0100000200200000000000000000000000000000")
    capable[0].pax_headers = {"SCHILY.xattr.security.capability": value.decode("latin-1")}
    return [
        directory("./", mode=0o755, mtime=1),
        directory("bin", mode=0o555, mtime=1000),
        capable,
        member("bin/su", b"elf", mode=0o4755, uid=0, gid=7, mtime=5),
        hardlink("bin/su2", "bin/su"),
        symlink("bin/sh", "/bin/busybox"),
        directory("dev"),
        device,
        member("dev/fifo", kind=tarfile.FIFOTYPE, mode=0o640),
        member("implied/deep/f", b"x" * 100_000, uid=1000, gid=1000, mtime=7),
        member("/absolute", b"as all runtimes take it"),
        directory("shared", mode=0o2775, gid=50, mtime=9),
        member("shared/file", b"", gid=60),
        member("twice", b"old"),
        member("twice", b"new"),
        directory("becomes-file"),
        member("becomes-file/x"),
        member("becomes-file", b"file"),
    ]


def test_unpack_agrees_with_tar(tmp_path: Path, target: int) -> None:
    raw = tar(_honest())
    _unpack(gzip.compress(raw), target)
    (tmp_path / "reference").mkdir()
    argv = ["tar", "-C", str(tmp_path / "reference"), "--xattrs", "--xattrs-include=*", "-xpf", "-"]
    subprocess.run([*argv, "--recursive-unlink"], input=raw, check=True, capture_output=True)
    ours, theirs = listing(tmp_path / "target"), listing(tmp_path / "reference")
    implied = {"implied", "implied/deep"}  # made now: their times say nothing

    def timeless(lines: list[str]) -> list[str]:
        return [line for line in lines if line.split(" ")[0] not in implied]

    assert timeless(ours) == timeless(theirs)
    assert (tmp_path / "target" / "becomes-file").read_bytes() == b"file"
    assert os.getxattr(tmp_path / "target/bin/ping", "security.capability")
    assert stat.S_IMODE((tmp_path / "target/implied").stat().st_mode) == 0o755


def test_unpack_is_not_bent_by_the_umask(tmp_path: Path, target: int) -> None:
    old = os.umask(0o077)
    try:
        _unpack(tar([member("a/b", mode=0o666), directory("c", mode=0o777)]), target)
    finally:
        os.umask(old)
    modes = [stat.S_IMODE((tmp_path / "target" / n).stat().st_mode) for n in ("a", "a/b", "c")]
    assert modes == [0o755, 0o666, 0o777]


# ── whiteouts, through a real overlay ─────────────────────────────────────────────────────────


def _merged(work: Path, uppers: list[str], script: str = "true") -> str:
    """Mount layers in a namespace of their own, run a script inside; returns its output."""
    mount = f"mount -t overlay -o lowerdir={':'.join(uppers)} none merged"
    if script != "true":
        options = "redirect_dir=off,metacopy=off,index=off"
        mount = (
            f"mount -t overlay -o lowerdir={':'.join(uppers)},upperdir=upper,workdir=work,{options}"
            " none merged"
        )
    code = (
        f"set -e; mkdir -p merged upper work; {mount}; cd merged; {script.strip()}; find . | sort"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", code],
        cwd=work,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


LOWER = [
    directory("d"), member("d/kept"), member("d/gone"), directory("o"), member("o/old"),
    directory("r"), member("r/old"), member("top"),
]  # fmt: skip


@pytest.mark.requires("overlay")
@pytest.mark.parametrize("order", [1, -1])
def test_whiteouts_hide_what_is_below_in_any_order(tmp_path: Path, order: int) -> None:
    upper = [
        member("d/.wh.gone"),
        member("o/.wh..wh..opq"), member("o/new"),
        member(".wh.r"), member("r/new"),
        member(".wh.top"), member("d/.wh..wh.plnk"),
    ][::order]  # fmt: skip
    for name, members in (("lower", LOWER), ("newer", upper)):
        (tmp_path / name).mkdir()
        fd = os.open(tmp_path / name, os.O_RDONLY)
        _unpack(tar(members), fd)
        os.close(fd)
    seen = _merged(tmp_path, ["newer", "lower"]).split()
    assert seen == [".", "./d", "./d/kept", "./o", "./o/new", "./r", "./r/new"]


@pytest.mark.requires("overlay")
def test_pack_and_unpack_give_the_same_container(tmp_path: Path) -> None:
    """What a container did, packed and unpacked elsewhere, must look the same when mounted."""
    script = """
        rm d/gone top; rm -r r; mkdir r; echo new >r/new; rm -r o; echo file >o
        mkdir -p deep/er; echo x >deep/er/f; ln deep/er/f deep/link; ln -s /etc deep/sym
        mknod deep/dev c 1 3; mkfifo deep/fifo; chmod 4755 deep/er/f; chown 5:6 deep/sym -h
        touch d/.hidden; setfattr -n user.k -v v d/kept 2>/dev/null || true
    """
    (tmp_path / "lower").mkdir()
    fd = os.open(tmp_path / "lower", os.O_RDONLY)
    _unpack(tar(LOWER), fd)
    os.close(fd)
    _merged(tmp_path, ["lower"], script)
    upper, out = os.open(tmp_path / "upper", os.O_RDONLY), tmp_path / "blob"
    with out.open("wb") as file:
        first = pack_layer(upper, file.fileno())
    with (tmp_path / "again").open("wb") as file:
        assert pack_layer(upper, file.fileno()) == first
    os.close(upper)
    (tmp_path / "unpacked").mkdir()
    fd = os.open(tmp_path / "unpacked", os.O_RDONLY)
    unpack_layer(io.BytesIO(out.read_bytes()), fd, diff_id=first.diff_id, digest=first.digest)
    os.close(fd)
    assert _without_whiteouts(tmp_path / "unpacked") == _without_whiteouts(tmp_path / "upper")
    assert _merged(tmp_path, ["unpacked", "lower"]) == _merged(tmp_path, ["upper", "lower"])


def _without_whiteouts(path: Path) -> list[str]:
    """Leave out whiteouts, which overlayfs links together; what they hide is compared mounted."""
    return [line for line in listing(path) if " c 0 0:0 " not in line]


@pytest.mark.requires("overlay")
def test_changes_are_those_of_docker_diff(tmp_path: Path) -> None:
    script = """
        echo more >>d/kept; rm top; mkdir a; echo x >a/f; echo y >a/g; rm -r o; mkdir o; echo z >o/z
    """
    (tmp_path / "lower").mkdir()
    fd = os.open(tmp_path / "lower", os.O_RDONLY)
    _unpack(tar(LOWER), fd)
    os.close(fd)
    _merged(tmp_path, ["lower"], script)
    found = [
        f"{c.kind} {c.path}" for c in changes(str(tmp_path / "upper"), [str(tmp_path / "lower")])
    ]
    assert found == [
        "A /a",
        "A /a/f",
        "A /a/g",
        "C /d/kept",
        "C /o",
        "D /o/old",
        "A /o/z",
        "D /top",
    ]


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        (lambda d: (d / ".wh.x").touch(), "cannot hold a file of this name"),
        (lambda d: os.setxattr(_dir(d), "trusted.overlay.redirect", b"/x"), "recorded a rename"),
        (lambda d: os.setxattr(_dir(d), "trusted.overlay.new", b"/x"), "unknown mark"),
    ],
)
def test_pack_refuses_what_no_layer_can_say(
    tmp_path: Path, prepare: Callable[[Path], object], problem: str
) -> None:
    (tmp_path / "up").mkdir()
    prepare(tmp_path / "up")
    fd = os.open(tmp_path / "up", os.O_RDONLY)
    with (tmp_path / "blob").open("wb") as out, pytest.raises(ImageError, match=problem):
        pack_layer(fd, out.fileno())
    os.close(fd)


def _dir(parent: Path) -> Path:
    (parent / "sub").mkdir()
    return parent / "sub"
