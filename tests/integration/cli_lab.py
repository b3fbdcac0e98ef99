"""The command line as a person has it: a process, an exit code, two streams.

Each test has data and state directories of its own, and a bridge name that is nobody else's.
"""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

MINIRUN = Path(sys.executable).with_name("minirun")
PATIENCE_S = 20.0
_APPLETS = (
    *("sh", "true", "false", "sleep", "cat", "echo", "ls", "ps", "hostname", "id", "seq", "yes"),
    *("wc", "head", "tail", "kill", "mount", "env", "touch", "mkdir", "rm", "stty", "dd", "trap"),
    *("test", "ln", "chmod", "httpd", "wget", "nc", "usleep", "tty", "readlink", "sync", "printf"),
)


def make_rootfs(path: Path) -> Path:
    """Make a root file system of a static busybox and nothing else."""
    busybox = shutil.which("busybox")
    assert busybox is not None
    for name in ("bin", "etc", "tmp", "dev", "proc", "sys", "root"):
        (path / name).mkdir(parents=True)
    shutil.copy(busybox, path / "bin/busybox")
    for applet in _APPLETS:
        (path / "bin" / applet).symlink_to("busybox")
    (path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    (path / "etc/group").write_text("root:x:0:\nnobody:x:65534:\n")
    return path


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass
class Cli:
    """Calls minirun below one pair of directories."""

    data: Path
    root: Path
    rootfs: Path
    bridge: str
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> Mapping[str, str]:
        """Return what tells minirun where to work."""
        return {
            "MINIRUN_DATA": str(self.data),
            "MINIRUN_ROOT": str(self.root),
            "MINIRUN_BRIDGE": self.bridge,
            "MINIRUN_NETWORK_ROOT": str(self.root / "network"),
            "PYTHONWARNINGS": "",
            "MINIRUN_DEFAULT_REGISTRY": "none",  # a misspelt name must not lead to the internet
            **self.extra,
        }

    def __call__(self, *words: str, stdin: str = "", check: bool = True) -> Done:
        """Run a command to its end; a failure fails the test unless it is what is wanted."""
        done = subprocess.run(
            [str(MINIRUN), *words],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S * 3,
            env=os.environ | self.environment,
        )
        assert not check or done.returncode == 0, f"{words}: {done.returncode}: {done.stderr}"
        assert "Traceback" not in done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def fails(self, *words: str, code: int = 125) -> str:
        """Run a command that must fail, with a message and a hint; return what it said.

        A build tells of its steps before.
        """
        done = self(*words, check=False)
        assert done.code == code, f"{words}: {done.code}: {done.err}"
        assert any(line.startswith("minirun: ") for line in done.err.splitlines())
        return done.err

    def busy(self, *flags: str, command: str = "sleep 1000") -> str:
        """Start a detached container without a network; return its id."""
        words = ("run", "-d", "--network", "none", *flags, str(self.rootfs), "sh", "-c", command)
        return self(*words).out.strip()

    def spawn(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command and leave it running."""
        return subprocess.Popen(
            [str(MINIRUN), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | self.environment,
        )

    def field(self, container: str, path: str) -> str:
        """Return one field of inspect."""
        return self("inspect", "--format", f"{{{{{path}}}}}", container).out.strip()

    def left(self) -> list[str]:
        """Return what is left of containers in both directories."""
        below_data = (self.data / "containers", self.data / "names")
        folders = (*below_data, self.root, self.root / ".attach")
        found = [e.name for f in folders if f.is_dir() for e in f.iterdir()]
        stay = (".seccomp", ".attach", "network", ".launcher.sock")
        return [name for name in found if name not in stay]

    def clear(self) -> None:
        """Remove every container, whatever the test did."""
        ids = self("ps", "-aq", "--no-trunc").out.split()
        if ids:
            self("rm", "-fv", *ids, check=False)
        if (self.root / "network").exists():
            self("system", "prune", "-f")


@contextmanager
def fresh(below: Path | None = None) -> Iterator[Cli]:
    """Yield a command line with directories of its own, empty at the start and at the end."""
    top = Path(tempfile.mkdtemp(prefix="minirun-", dir=below))
    top.chmod(0o755)
    made = Cli(
        top / "data", top / "run", make_rootfs(top / "rootfs"), f"minirun-t{os.getpid() % 10**5}"
    )
    try:
        yield made
    finally:
        made.clear()
        shutil.rmtree(top)


class Terminal:
    """A command at a pseudo terminal."""

    def __init__(self, cli: Cli, *words: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(MINIRUN, [str(MINIRUN), *words], os.environ | cli.environment)
        self.seen = b""

    def type(self, data: bytes) -> None:
        """Press keys."""
        os.write(self.fd, data)

    def until(self, wanted: bytes) -> bytes:
        """Return what was printed, once the words are in it."""
        deadline = time.monotonic() + PATIENCE_S
        while wanted not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"no {wanted!r} in {self.seen!r}"
            if select.select([self.fd], [], [], left)[0]:
                try:
                    data = os.read(self.fd, 65536)
                except OSError:
                    data = b""
                assert data, f"ended without {wanted!r}: {self.seen!r}"
                self.seen += data
        return self.seen

    def end(self) -> int:
        """Wait for the command and return its exit code."""
        with suppress(OSError):
            while os.read(self.fd, 65536):
                continue
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def wait_until(true: Callable[[], object], what: str) -> None:
    """Look again and again, for a thing that has no fd to wait for."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


def kill_9(pid: int) -> None:
    """Kill a process of this test, and wait until it is gone."""
    pidfd = os.pidfd_open(pid)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    select.select([pidfd], [], [], PATIENCE_S)
    os.close(pidfd)
