"""A bundle with busybox, and ``minirun-oci`` as its callers start it: a process of its own."""

from __future__ import annotations

import array
import json
import os
import select
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

from tests.features import cgroup1_mount, cgroup2_mount

ROOT = Path(__file__).parents[2]
MINIRUN = ROOT / "scripts" / "minirun-oci"
APPLETS = "sh true cat echo id pwd sleep ls test stty grep env readlink ps kill tty".split()
SERVE = "trap 'exit 9' TERM; echo up; sleep 1000 & wait"


class Runtime:
    """One runtime's command line, with its own state root.

    Args:
        root: the state root.
        bundle: a bundle whose config.json each test may rewrite.
        command: the program.
    """

    def __init__(self, root: Path, bundle: Path, command: str | Path = MINIRUN) -> None:
        self.root = root
        self.bundle = bundle
        self.argv = [str(command), "--root", str(root)]

    def run(self, *words: str, stdin: str = "", **options: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401 - passed through to subprocess
        """Run one command and return how it ended."""
        options = {"cwd": self.bundle, **options}
        return subprocess.run(
            [*self.argv, *words], input=stdin, capture_output=True, text=True, timeout=120,
            check=False, **options,
        )  # fmt: skip

    def quiet(self, *words: str, **options: Any) -> None:  # noqa: ANN401 - as above
        """Run one command that must succeed and say nothing."""
        done = self.run(*words, **options)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), words

    def start(self, name: str, command: str = SERVE) -> int:
        """Create and start a container that serves; return its pid."""
        self.config(args=["sh", "-c", command])
        self.create(name)
        self.quiet("start", name)
        return self.pid(name)

    def create(self, name: str, *options: str, **others: Any) -> None:  # noqa: ANN401 - as above
        """Create a container; its output goes nowhere, because it outlives the command."""
        with open(os.devnull, "r+b") as null:
            done = subprocess.run(
                [*self.argv, "create", *options, name], cwd=self.bundle, stdin=null, stdout=null,
                stderr=subprocess.PIPE if others.pop("listen", False) else null, check=False,
                **others,
            )  # fmt: skip
        assert done.returncode == 0

    def state(self, name: str) -> dict[str, Any]:
        """Return what ``state`` prints."""
        found: dict[str, Any] = json.loads(self.run("state", name).stdout)
        return found

    def pid(self, name: str) -> int:
        """Return the pid of a container's init."""
        return int(self.state(name)["pid"])

    def config(self, **process: Any) -> None:  # noqa: ANN401 - any property of config.json
        """Write config.json with some properties of the process changed."""
        path = self.bundle / "config.json"
        path.unlink(missing_ok=True)
        subprocess.run([MINIRUN, "spec"], cwd=self.bundle, check=True)
        held = json.loads(path.read_text())
        held["process"] |= {"terminal": False, **process}
        path.write_text(json.dumps(held))

    def delete_all(self) -> None:
        """Leave nothing behind."""
        for name in self.run("list", "--quiet").stdout.split():
            self.run("delete", "--force", name)


def make_bundle(folder: Path) -> Path:
    """Return a folder with a root file system made of busybox."""
    rootfs = folder / "rootfs"
    for name in ("bin", "etc", "tmp", "dev", "proc", "sys"):
        (rootfs / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, rootfs / "bin" / "busybox")
    for applet in APPLETS:
        (rootfs / "bin" / applet).symlink_to("busybox")
    (rootfs / "etc" / "passwd").write_text("root:x:0:0::/:/bin/sh\nweb:x:1000:1000::/tmp:/bin/sh\n")
    return folder


def limits(group: str) -> dict[str, str]:
    """Return what bounds a group, as the kernel says it: in bytes, processes, microseconds."""
    if (tree := cgroup2_mount()) is not None:
        found = {name: (tree / group / f"{name}.max").read_text() for name in ("memory", "pids")}
        return {name: said.strip() for name, said in found.items()} | {
            "cpu": (tree / group / "cpu.max").read_text().split()[0]
        }
    files = {"memory": "memory.limit_in_bytes", "pids": "pids.max", "cpu": "cpu.cfs_quota_us"}
    return {name: _v1(name, group, file).strip() for name, file in files.items()}


def device_rules(group: str) -> str:
    """Return what v1 lets be read; v2 has a program for it, see test_unified."""
    return "" if cgroup2_mount() is not None else _v1("devices", group, "devices.list")


def _v1(controller: str, group: str, file: str) -> str:
    mounted = cgroup1_mount(controller)
    assert mounted is not None
    return (mounted / group / file).read_text()


class Receiver:
    """Listens on a unix socket for one descriptor, as an engine does for the console."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(self.path)
        self._socket.listen(1)

    def receive(self) -> tuple[bytes, int]:
        """Return the name that was sent, and the descriptor."""
        self._socket.settimeout(60)
        connection, _ = self._socket.accept()
        with connection:
            name, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
        self._socket.close()
        fds = array.array("i")
        fds.frombytes(ancillary[0][2])
        return name, fds[0]


def wait_for_end(pidfd: int) -> None:
    """Wait until a process that need not be our child has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(60_000)
    os.close(pidfd)
