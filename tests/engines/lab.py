"""Engines of our own: private daemons, private data, one tiny image made here.

Each engine is asked twice for the same thing, with runc and with minirun-oci below it, and the two
transcripts are compared: what a user of the engine sees may not depend on the runtime.

Everything an engine makes is in one folder and in control groups below ``minirun``; ``close`` takes
all of it away. Where systemd owns the groups (cgroup v2) the engines ask it for them, as they do by
default on such a host; containerd goes on making its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import shutil
import struct
import subprocess
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.features import cgroup2_mount, missing

ROOT = Path(__file__).parents[2]
MINIRUN = ROOT / "scripts" / "minirun-oci"
APPLETS = (
    "sh true false cat echo id pwd sleep ls mount grep test stty head wc env tty hostname ip nc "
    "mknod cut"
).split()
# It forks once: a shell that forks all the time cannot be frozen by runc on cgroup v1.
SERVE = 'trap "echo bye; exit 9" TERM; echo up; sleep 1000 & wait'
DEADLINE_S = 60.0
UNIFIED = cgroup2_mount() is not None
MANAGER = "systemd" if UNIFIED and not missing("systemd") else "cgroupfs"
#: What a terminal is set to: no program would come to this size by itself.
ROWS, COLUMNS = 33, 101


def parent(engine: str) -> str:
    """Return where an engine's groups go."""
    return f"minirun{engine}.slice" if MANAGER == "systemd" else f"/minirun/{engine}"


def group_files() -> list[str]:
    """Return where a container reads its limits: memory, CPU quota, processes."""
    v1 = ("memory/memory.limit_in_bytes", "cpu/cpu.cfs_quota_us", "pids/pids.max")
    v2 = ("memory.max", "cpu.max", "pids.max")
    return [f"/sys/fs/cgroup/{file}" for file in (v2 if UNIFIED else v1)]


def make_image(folder: Path) -> Path:
    """Return a tar archive of a root file system: busybox and its links."""
    root = folder / "rootfs"
    for name in ("bin", "etc", "tmp", "root"):
        (root / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, root / "bin" / "busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    archive = folder / "image.tar"
    subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
    return archive


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Poll an engine, which tells nobody when it is done."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


class Engine:
    """A command line with a daemon behind it, or none.

    Args:
        folder: everything it makes is in here; short, for the sockets' sake.
        argv: the command and its global options.
        env: beside ours.
        daemon: what has to run for it.
    """

    def __init__(
        self,
        folder: Path,
        argv: Sequence[str | Path],
        env: dict[str, str] | None = None,
        daemon: Sequence[str | Path] = (),
    ) -> None:
        self.folder = folder
        self.argv = [str(word) for word in argv]
        self.env = {**os.environ, **(env or {})}
        self._log = (folder / "log").open("wb")
        self._daemon = (
            subprocess.Popen(daemon, stdout=self._log, stderr=self._log, start_new_session=True)
            if daemon
            else None
        )

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run one command of the engine."""
        argv = [*self.argv, *words]
        return subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            env=self.env,
            # conmon makes a file "oom" where its engine was started, if memory runs out.
            cwd=self.folder,
            timeout=120,
            check=False,
        )

    def out(self, *words: str, stdin: str = "") -> str:
        """Run one command that must succeed; return what it printed."""
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def tell(self, *words: str, stdin: str = "") -> str:
        """Run one command; return its exit code and what it printed, as a line of a transcript."""
        done = self.run(*words, stdin=stdin)
        return f"{done.returncode} {done.stdout}"

    def on_terminal(self, *words: str, typed: str = "") -> str:
        """Run one command on a terminal of its own; return its exit code and what it showed."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        process = subprocess.Popen(
            [*self.argv, *words], stdin=slave, stdout=slave, stderr=slave, env=self.env,
            cwd=self.folder, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        os.write(master, typed.encode())
        shown = b""
        with contextlib.suppress(OSError):  # EIO: nobody has the terminal open any more
            while data := os.read(master, 4096):
                shown += data
        os.close(master)
        # Two terminals on the way each put a carriage return before the end of a line; docker's
        # client complains where the program has ended before it could tell it the size.
        said = f"{process.wait(timeout=60)} {shown.decode()}".replace("\r", "")
        return said.replace("failed to resize tty, using default size\n", "")

    def wait_for_daemon(self, *words: str) -> None:
        """Wait until a harmless command succeeds."""
        wait_until(lambda: self.run(*words).returncode == 0, (self.folder / "log").read_text())

    def close(self) -> None:
        """Stop the daemon."""
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait(timeout=DEADLINE_S)
        self._log.close()


@contextlib.contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A folder that an engine may fill with mounts and control groups; all gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="mr-"))
    try:
        yield folder
    finally:
        wait_until(lambda: _is_removed(folder), f"{folder} is empty")
        if MANAGER == "systemd":
            subprocess.run(["systemctl", "stop", parent(name)], check=False)
        for pattern in (f"*/minirun/{name}", f"minirun/{name}"):
            for top in Path("/sys/fs/cgroup").glob(pattern):
                for group in (*sorted(top.rglob("*/"), reverse=True), top):
                    group.rmdir()


def _is_removed(folder: Path) -> bool:
    """Remove a folder; False where a last process of the engine still writes there."""
    for mounted in reversed(_mounts_below(folder)):
        subprocess.run(["umount", "-l", mounted], check=False)
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
    return not folder.exists()


def _mounts_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [where for line in lines if (where := line.split()[4]).startswith(f"{folder}/")]
