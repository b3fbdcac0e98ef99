"""A world of its own for the contenders: namespaces that vanish, a folder that is removed.

    make bench ─ fork ─▶ reaper (pid 1 in the lab) ─ fork ─▶ the benchmark and every daemon

Two engines' bridges and firewall rules would meet on the host, and docker's change its forwarding
policy. In the lab each finds a network without neighbours, an empty /run, and a pid 1 whose death
takes along every daemon, shim and container, even when the benchmark itself is killed with -9.
What the kernel does for a start, it does here as anywhere.

See: network_namespaces(7), pid_namespaces(7).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from minirun import kernel
from minirun.flags import Clone, Mount, Umount

from .timing import BenchError, clean_environment, run

_CGROUPS = Path("/sys/fs/cgroup")
#: Where a hybrid host has cgroup v2 beside v1. crun refuses such a host, so here nobody sees it.
_UNIFIED = _CGROUPS / "unified"
_REMOUNTED = ("/run", "/var/lib/cni")


class Lab:
    """The folders of one benchmark.

    Args:
        top: a directory on a disk, as containers have it.
    """

    def __init__(self, top: Path) -> None:
        self.top = top
        self.rootfs = top / "rootfs"
        #: Below it, each contender has a group of its own. Two labs must not clear away each
        #: other's, so it is named after the folder.
        self.cgroup = f"/minirun/{top.name}"

    def folder(self, *names: str) -> Path:
        """Return a folder of the lab, made where it is missing."""
        path = self.top.joinpath(*names)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def volatile(self, *names: str) -> Path:
        """Return a folder for what does not outlive a reboot: on the tmpfs of /run, as anywhere."""
        path = Path("/run", self.top.name, *names)
        path.mkdir(parents=True, exist_ok=True)
        return path


def inside(work: Callable[[Lab], int]) -> int:
    """Call ``work`` in a new lab, in another process; return its exit code. Nothing is left.

    Raises:
        BenchError: this user may not make namespaces.
    """
    if os.geteuid() != 0:
        raise BenchError("the engines and their bridges need root", hint="sudo make bench")
    top = Path(tempfile.mkdtemp(prefix="minirun-bench-", dir="/var/tmp"))
    top.chmod(0o711)
    lab = Lab(top)
    pid = os.fork()
    if pid == 0:
        _be_reaper(lab, work)
    # Ctrl-C reaches the benchmark as well, which ends; this process cleans up after it.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF
    finally:
        signal.signal(signal.SIGINT, before)
        shutil.rmtree(top)
        _remove_cgroups(lab.cgroup)


def _be_reaper(lab: Lab, work: Callable[[Lab], int]) -> None:
    """Make the namespaces, then be their pid 1's parent until it ends."""
    kernel.unshare(Clone.CLONE_NEWNS | Clone.CLONE_NEWNET | Clone.CLONE_NEWPID)
    pid = os.fork()
    if pid == 0:
        _be_first(lab, work)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF)


def _be_first(lab: Lab, work: Callable[[Lab], int]) -> None:
    """Be pid 1: start the benchmark, collect whatever is orphaned, end with the benchmark."""
    _furnish(lab)
    pid = os.fork()
    if pid == 0:
        sys.exit(work(lab))
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == pid:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _furnish(lab: Lab) -> None:
    """Mount what the namespaces need, start loopback, unpack the root file system."""
    clean_environment(lab.folder("home"))
    kernel.mount(None, "/", None, Mount.MS_REC | Mount.MS_PRIVATE, None)
    kernel.mount("proc", "/proc", "proc", Mount.MS_NOSUID | Mount.MS_NODEV, None)
    if _UNIFIED.is_mount():
        kernel.umount2(str(_UNIFIED), Umount.MNT_DETACH)
    for place in filter(os.path.isdir, _REMOUNTED):
        kernel.mount("tmpfs", place, "tmpfs", Mount.MS_NOSUID | Mount.MS_NODEV, "mode=755")
    run(("ip", "link", "set", "lo", "up"))
    _make_rootfs(lab.rootfs)


def _make_rootfs(rootfs: Path) -> None:
    """Make the smallest root that docker, podman and runc all accept: a static busybox."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise BenchError("no busybox in PATH", hint="apt-get install busybox-static")
    for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp"):
        (rootfs / name).mkdir(parents=True)
    shutil.copy2(busybox, rootfs / "bin/busybox")
    for applet in ("cat", "echo", "sh", "sleep", "true"):
        (rootfs / "bin" / applet).symlink_to("busybox")
    (rootfs / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (rootfs / "etc/group").write_text("root:x:0:\n")


def _remove_cgroups(group: str) -> None:
    """Remove the groups that engines leave empty behind, leaf first."""
    for parent in (_CGROUPS / group[1:], *_CGROUPS.glob(f"*{group}")):
        for folder, _, _ in os.walk(parent, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
