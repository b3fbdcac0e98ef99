"""Each wrapper against a witness that is not the wrapper: /proc, another tool, or the effect."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from minirun import kernel, kernel_rare
from minirun.errors import SyscallError
from minirun.flags import (
    AT_FDCWD,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_NO_NEW_PRIVS,
    At,
    Clone,
    FsConfig,
    Mount,
    MountAttr,
    MoveMount,
    OpenTree,
    Resolve,
    Umount,
)

IN_CREATE = 0x100
SCHED_BATCH = 3
ADDR_NO_RANDOMIZE = 0x0040000
NONE = MountAttr(0)
needs_root = pytest.mark.requires("root")


def in_child(work: Callable[[], object]) -> Any:  # noqa: ANN401 - whatever JSON carries
    """Return what ``work`` returns in a forked child, whose changes end with it."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        said: object = "the child failed"
        try:
            said = work()
        except OSError as error:
            said = f"the child failed: {error!r}"
        finally:
            os.write(write, json.dumps(said).encode())
            os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8") as file:
        text = file.read()
    os.waitpid(pid, 0)
    return json.loads(text)


def status(field: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{field}:"))


def mounted(where: Path | str) -> list[str]:
    """Return (options, file system) of what mountinfo lists at a place; [] for nothing."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        fields = line.split()
        if fields[4] == str(where):
            return [fields[5], fields[fields.index("-") + 1]]
    return []


def own_mounts() -> None:
    kernel.unshare(Clone.CLONE_NEWNS)
    kernel.mount(None, "/", None, Mount.MS_REC | Mount.MS_PRIVATE, None)


def namespace(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{kind}")


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "text", "number"),
    [
        (
            lambda: kernel.umount2("/nowhere", Umount.MNT_DETACH | Umount.UMOUNT_NOFOLLOW),
            "umount2('/nowhere', MNT_DETACH|UMOUNT_NOFOLLOW): ENOENT",
            errno.ENOENT,
        ),
        (
            lambda: kernel.mount(None, "/nowhere", None, Mount.MS_REC | Mount.MS_SLAVE, None),
            "mount(NULL, '/nowhere', NULL, MS_REC|MS_SLAVE, NULL): ENOENT",
            errno.ENOENT,
        ),
        (
            lambda: kernel.setns(-1, Clone.CLONE_NEWUTS),
            "setns(-1, CLONE_NEWUTS): EBADF",
            errno.EBADF,
        ),
        (
            lambda: kernel.open_tree(AT_FDCWD, "/nowhere", OpenTree(0)),
            "open_tree(AT_FDCWD, '/nowhere', OPEN_TREE_CLOEXEC): ENOENT",
            errno.ENOENT,
        ),
        (lambda: kernel.prctl(-1, 2), "prctl(-1, 2, 0, 0, 0): EINVAL", errno.EINVAL),
        (lambda: kernel.fstatfs_type(-1), "fstatfs(-1): EBADF", errno.EBADF),
    ],
)
def test_failure_is_spelled_as_strace_would(
    call: Callable[[], object], text: str, number: int
) -> None:
    with pytest.raises(SyscallError) as caught:
        call()
    assert str(caught.value) == text
    assert caught.value.errno == number
    assert isinstance(caught.value, OSError)


# ---- identity -----------------------------------------------------------------------------------


def test_prctl_sets_what_status_shows() -> None:
    def work() -> str:
        kernel.prctl(PR_SET_NO_NEW_PRIVS, 1)
        return status("NoNewPrivs")

    assert in_child(work) == "1"


def test_prctl_subreaper_inherits_orphans() -> None:
    def work() -> list[object]:
        before = kernel.prctl_get_child_subreaper()
        kernel.prctl(PR_SET_CHILD_SUBREAPER, 1)
        if (middle := os.fork()) == 0:
            os._exit(0 if os.fork() else 7)
        os.waitpid(middle, 0)
        orphan = os.waitstatus_to_exitcode(os.waitpid(-1, 0)[1])
        return [before, kernel.prctl_get_child_subreaper(), orphan]

    assert in_child(work) == [False, True, 7]


def test_capget_is_what_status_shows() -> None:
    assert kernel.capget() == tuple(int(status(f), 16) for f in ("CapEff", "CapPrm", "CapInh"))


@needs_root
def test_capset_sets_each_set_also_above_32_bits() -> None:
    held = int(status("CapPrm"), 16)
    highest, lowest = 1 << held.bit_length() - 1, held & -held
    effective, permitted, inheritable = highest, highest | lowest, lowest

    def work() -> list[str]:
        kernel.capset(effective, permitted, inheritable)
        return [status(f) for f in ("CapEff", "CapPrm", "CapInh")]

    assert [int(s, 16) for s in in_child(work)] == [effective, permitted, inheritable]


def test_personality_is_set_and_the_old_returned() -> None:
    def work() -> list[int]:
        before = int(Path("/proc/self/personality").read_text(), 16)
        old = kernel_rare.personality(ADDR_NO_RANDOMIZE)
        return [before - old, int(Path("/proc/self/personality").read_text(), 16)]

    assert in_child(work) == [0, ADDR_NO_RANDOMIZE]


def test_ioprio_and_scheduler_are_what_others_read() -> None:
    def work() -> list[int]:
        kernel_rare.ioprio_set(1, 0, 2 << 13 | 5)  # IOPRIO_WHO_PROCESS, best effort, level 5
        kernel_rare.sched_setattr(0, struct.pack("=IIQiIQQQ", 48, SCHED_BATCH, 0, 3, 0, 0, 0, 0))
        kind, level = psutil.Process().ionice()
        return [int(kind), level, os.sched_getscheduler(0), os.nice(0)]

    assert in_child(work) == [2, 5, SCHED_BATCH, 3]


# ---- namespaces ---------------------------------------------------------------------------------


@needs_root
def test_unshare_and_setns_change_the_namespace_there_and_back() -> None:
    def work() -> list[object]:
        first = os.open("/proc/self/ns/uts", os.O_RDONLY)
        before, name = namespace("uts"), os.uname().nodename
        kernel.unshare(Clone.CLONE_NEWUTS)
        kernel.sethostname("hafen")
        kernel.setdomainname("nord")
        inside = [Path(f"/proc/sys/kernel/{f}").read_text() for f in ("hostname", "domainname")]
        moved = namespace("uts") != before
        kernel.setns(first, Clone.CLONE_NEWUTS)
        return [inside, moved, namespace("uts") == before, os.uname().nodename == name]

    assert in_child(work) == [["hafen\n", "nord\n"], True, True, True]


# ---- mounts -------------------------------------------------------------------------------------


@needs_root
def test_mount_and_umount2_show_in_mountinfo_of_this_namespace_alone(tmp_path: Path) -> None:
    def work() -> list[list[str]]:
        own_mounts()
        flags = Mount.MS_RDONLY | Mount.MS_NOSUID
        kernel.mount("none", str(tmp_path), "tmpfs", flags, "size=64k")
        during = mounted(tmp_path)
        kernel.umount2(str(tmp_path), Umount.MNT_DETACH)
        return [during, mounted(tmp_path)]

    assert in_child(work) == [["ro,nosuid,relatime", "tmpfs"], []]
    assert mounted(tmp_path) == []


@needs_root
def test_new_mount_calls_build_attach_and_change_a_mount(tmp_path: Path) -> None:
    def work() -> list[object]:
        own_mounts()
        fs = kernel.fsopen("tmpfs")
        kernel.fsconfig(fs, FsConfig.FSCONFIG_SET_STRING, "mode", "751")
        kernel.fsconfig(fs, FsConfig.FSCONFIG_CMD_CREATE, None, None)
        tree = kernel.fsmount(fs, MountAttr.MOUNT_ATTR_NODEV)
        kernel.move_mount(tree, "", AT_FDCWD, str(tmp_path), MoveMount.MOVE_MOUNT_F_EMPTY_PATH)
        made = mounted(tmp_path)
        kernel.mount_setattr(
            tree, "", At.AT_EMPTY_PATH, MountAttr.MOUNT_ATTR_NOEXEC, MountAttr.MOUNT_ATTR_NODEV
        )
        return [made[0], mounted(tmp_path)[0], tmp_path.stat().st_mode & 0o777]

    assert in_child(work) == ["rw,nodev,relatime", "rw,noexec,relatime", 0o751]


@needs_root
def test_open_tree_clone_is_attached_elsewhere(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "file").write_text("")

    def work() -> list[object]:
        own_mounts()
        tree = kernel.open_tree(AT_FDCWD, str(source), OpenTree.OPEN_TREE_CLONE)
        kernel.move_mount(tree, "", AT_FDCWD, str(target), MoveMount.MOVE_MOUNT_F_EMPTY_PATH)
        return [bool(mounted(target)), os.listdir(target), bool(fcntl.fcntl(tree, fcntl.F_GETFD))]

    assert in_child(work) == [True, ["file"], True]


@needs_root
def test_pivot_root_swaps_the_root_and_getcwd_says_unreachable(tmp_path: Path) -> None:
    def work() -> list[object]:
        own_mounts()
        kernel.mount("none", str(tmp_path), "tmpfs", Mount(0), None)
        (tmp_path / "here").write_text("")
        os.chdir(tmp_path)
        old = os.open("/", os.O_PATH)
        kernel.pivot_root(".", ".")
        kernel.umount2(".", Umount.MNT_DETACH)
        os.chdir("/")
        inside = os.listdir("/")
        os.fchdir(old)
        return [inside, kernel.getcwd()]

    assert in_child(work) == [["here"], "(unreachable)/"]


@pytest.mark.parametrize("path", ["/proc", "/sys", "/dev", "/"])
def test_fstatfs_type_is_stat_s(path: str) -> None:
    said = subprocess.run(["stat", "-f", "-c", "%t", path], capture_output=True, check=True)
    fd = os.open(path, os.O_RDONLY)
    assert kernel.fstatfs_type(fd) == int(said.stdout, 16)
    os.close(fd)


def test_openat2_walks_only_as_allowed(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/up").symlink_to("../secret")
    (tmp_path / "secret").write_text("")
    root = os.open(tmp_path / "root", os.O_PATH)
    found = {}
    for how in (Resolve.RESOLVE_BENEATH, Resolve.RESOLVE_IN_ROOT, Resolve.RESOLVE_NO_SYMLINKS):
        with pytest.raises(SyscallError) as caught:
            kernel.openat2(root, "up", os.O_RDONLY, 0, how)
        found[how.name] = caught.value.errno
    free = kernel.openat2(root, "up", os.O_RDONLY, 0, Resolve(0))
    assert os.readlink(f"/proc/self/fd/{free}") == str(tmp_path / "secret")
    assert not os.get_inheritable(free)
    os.close(free)
    os.close(root)
    assert list(found.values()) == [errno.EXDEV, errno.ENOENT, errno.ELOOP]


def test_getcwd_is_where_we_are() -> None:
    assert kernel.getcwd() == os.readlink("/proc/self/cwd")


# ---- processes and pipes ------------------------------------------------------------------------


def test_execve_later_passes_arguments_and_environment() -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(write, 1)
            script = 'echo "$0 $1 $V"'
            kernel.execve_later("/bin/sh", ["sh", "-c", script, "é", "b c"], ["V=v"])()
        finally:
            os._exit(99)
    os.close(write)
    with open(read, encoding="utf-8") as file:
        assert file.read() == "é b c v\n"
    assert os.waitpid(pid, 0)[1] == 0


def test_execve_later_raises_what_the_kernel_says() -> None:
    execute = kernel.execve_later("/nowhere", ["x"], [])
    with pytest.raises(SyscallError, match=r"^execve\('/nowhere'\): ENOENT$"):
        execute()


def test_tee_leaves_the_bytes() -> None:
    first, second = os.pipe(), os.pipe()
    os.write(first[1], b"hello")
    assert kernel.tee(first[0], second[1], 4) == 4
    assert (os.read(first[0], 9), os.read(second[0], 9)) == (b"hello", b"hell")
    for fd in (*first, *second):
        os.close(fd)


def test_close_range_marks_or_closes() -> None:
    def work() -> list[object]:
        low = os.dup2(0, 500)
        high = os.dup2(0, 501)
        kernel.close_range(500, 500, cloexec=True)
        marks = [os.get_inheritable(low), os.get_inheritable(high)]
        kernel.close_range(501, 600, cloexec=False)
        return [marks, [fd for fd in os.listdir("/proc/self/fd") if int(fd) >= 500]]

    assert in_child(work) == [[False, True], ["500"]]


def test_inotify_reports_a_new_entry(tmp_path: Path) -> None:
    fd = kernel_rare.inotify_init1(os.O_CLOEXEC)
    watch = kernel_rare.inotify_add_watch(fd, str(tmp_path), IN_CREATE)
    (tmp_path / "fresh").write_text("")
    event = os.read(fd, 4096)
    os.close(fd)
    assert struct.unpack_from("iI", event) == (watch, IN_CREATE)
    assert event[16:].rstrip(b"\0") == b"fresh"


def test_buffer_address_holds_the_bytes() -> None:
    owner, address = kernel.buffer_address(b"a\0b")
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        assert memory.read(3) == b"a\0b"
    del owner


def test_move_aside_leaves_the_child_every_cpu_or_all_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    everywhere = os.sched_getaffinity(0)
    try:
        kernel.move_aside(pid)
        assert os.sched_getaffinity(pid) == everywhere
        one = {min(everywhere)}
        os.sched_setaffinity(pid, one)
        monkeypatch.setattr(os, "cpu_count", lambda: len(everywhere) + 1)  # one is not for us
        kernel.move_aside(pid)
        assert os.sched_getaffinity(pid) == one
    finally:
        os.close(write)
        os.waitpid(pid, 0)
