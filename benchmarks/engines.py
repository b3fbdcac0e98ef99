"""minirun, docker and podman: three commands that understand the same words.

Each keeps its images and state in the lab. docker's daemon is started as Debian starts it, but for
its folders; the storage driver is overlay2 where the disk can, as minirun's own is.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .lab import Lab
from .timing import BenchError, run

#: What the imported root file system is called in docker and podman.
IMAGE = "bench"
_DAEMON_STARTS_IN_S = 30.0


@dataclass(frozen=True)
class Engine:
    """A command line that speaks docker's language.

    Args:
        name: in the table.
        command: with its own folders; words are put behind it.
        image: how it calls the root file system.
        options: of ``run``, always given.
    """

    name: str
    command: tuple[str, ...]
    image: str = IMAGE
    options: tuple[str, ...] = ()

    def argv(self, *words: str) -> tuple[str, ...]:
        """Return a command of this engine."""
        return (*self.command, *words)

    def run_argv(self, *options: str, words: tuple[str, ...] = ("true",)) -> tuple[str, ...]:
        """Return ``run --rm`` of words in a new container."""
        return self.argv("run", "--rm", *self.options, *options, self.image, *words)

    def idle(self, *options: str) -> str:
        """Start a detached container that does nothing; return its id."""
        argv = self.argv("run", "-d", *self.options, *options, self.image, "sleep", "100000")
        return run(argv).strip()

    def pid(self, container: str) -> int:
        """Return the pid of a container's first process."""
        return int(run(self.argv("inspect", "--format", "{{.State.Pid}}", container)))

    def remove(self, *containers: str) -> None:
        """Remove containers, running or not."""
        if containers:
            run(self.argv("rm", "-f", *containers))


@dataclass(frozen=True)
class Engines:
    """Those that work here, ours first, and why the others do not."""

    minirun: Engine
    peers: dict[str, Engine]
    absent: dict[str, str] = field(default_factory=dict)
    docker_socket: Path | None = None

    def all(self) -> dict[str, Engine]:
        """Return {name: engine}, ours first."""
        return {"minirun": self.minirun, **self.peers}


@contextlib.contextmanager
def engines(lab: Lab) -> Iterator[Engines]:
    """Make ready every engine that is installed."""
    found = Engines(_minirun(lab), {})
    with contextlib.ExitStack() as stack:
        try:
            found.peers["podman"] = _podman(lab)
        except BenchError as error:
            found.absent["podman"] = str(error)
        try:
            socket = stack.enter_context(_dockerd(lab))
            found.peers["docker"] = _docker(lab, socket)
        except BenchError as error:
            found.absent["docker"] = str(error)
            yield found
        else:
            yield Engines(found.minirun, found.peers, found.absent, socket)


def own_command(name: str) -> str:
    """Return a command of this project: beside this interpreter, where pip put it."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise BenchError(f"no {name} beside {sys.executable}", hint="make bench installs it")
    return str(path)


def _minirun(lab: Lab) -> Engine:
    os.environ["MINIRUN_DATA"] = str(lab.folder("minirun", "data"))
    os.environ["MINIRUN_ROOT"] = str(lab.volatile("minirun"))
    options = ("--cgroup-parent", f"{lab.cgroup}/minirun")
    return Engine("minirun", (own_command("minirun"),), str(lab.rootfs), options)


# ── podman ────────────────────────────────────────────────────────────────────────────────────


def _podman(lab: Lab) -> Engine:
    command = (
        *(_find("podman"), "--cgroup-manager", "cgroupfs", "--events-backend", "file"),
        *("--root", str(lab.folder("podman", "root"))),
        *("--runroot", str(lab.volatile("podman", "run"))),
        *("--tmpdir", str(lab.volatile("podman", "tmp"))),
    )
    engine = Engine("podman", command, options=("--cgroup-parent", f"{lab.cgroup}/podman"))
    _import_rootfs(engine, lab)
    return engine


def _find(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise BenchError(f"no {name} in PATH")
    return path


def _import_rootfs(engine: Engine, lab: Lab) -> None:
    """Give the engine the same files as an image of one layer."""
    archive = lab.top / "rootfs.tar"
    if not archive.exists():
        run(("tar", "-C", str(lab.rootfs), "-cf", str(archive), "."))
    run(engine.argv("import", str(archive), IMAGE))


# ── docker ────────────────────────────────────────────────────────────────────────────────────


def _docker(lab: Lab, socket: Path) -> Engine:
    engine = Engine("docker", (_client(), "-H", f"unix://{socket}"))
    _import_rootfs(engine, lab)
    return engine


def docker_on(lab: Lab, stack: contextlib.ExitStack) -> Engine:
    """Start one more daemon, which keeps everything in this lab and ends with the stack.

    Raises:
        BenchError: it does not start.
    """
    socket = stack.enter_context(_dockerd(lab))
    return Engine("docker", (_client(), "-H", f"unix://{socket}"))


def _client() -> str:
    """Return the client that came with the daemon; another one in PATH has another start time."""
    packaged = Path("/usr/bin/docker")
    return str(packaged) if packaged.exists() else _find("docker")


@contextlib.contextmanager
def _dockerd(lab: Lab) -> Iterator[Path]:
    """Run a daemon of our own, with minirun-oci as a second runtime."""
    log, socket = lab.folder("docker") / "log", lab.volatile("docker") / "socket"
    for driver in ("overlay2", "vfs"):
        with log.open("wb") as told:
            daemon = subprocess.Popen(
                _dockerd_argv(lab, driver), stdin=subprocess.DEVNULL, stdout=told, stderr=told
            )
        try:
            if _answers(daemon, socket):
                yield socket
                return
        finally:
            _end(daemon)
    raise BenchError(f"dockerd did not start: {_last_line(log)}")


def _dockerd_argv(lab: Lab, driver: str) -> tuple[str, ...]:
    run, data = lab.volatile("docker"), lab.folder("docker", f"data-{driver}")
    runtime = Path(__file__).parents[1] / "scripts/minirun-oci"
    return (
        *(_find("dockerd"), "-H", f"unix://{run}/socket", "--pidfile", f"{run}/pid"),
        *("--data-root", str(data), "--exec-root", f"{run}/exec"),
        *("--storage-driver", driver, "--cgroup-parent", f"{lab.cgroup}/docker"),
        *("--exec-opt", "native.cgroupdriver=cgroupfs", "--log-level", "warn"),
        *("--add-runtime", f"minirun={runtime}"),
    )


def _answers(daemon: subprocess.Popen[bytes], socket: Path) -> bool:
    """Wait until the daemon answers; False when it ended instead."""
    deadline = time.monotonic() + _DAEMON_STARTS_IN_S
    while daemon.poll() is None and time.monotonic() < deadline:
        if socket.exists():
            with contextlib.suppress(BenchError):
                run((_client(), "-H", f"unix://{socket}", "version"))
                return True
        time.sleep(0.1)
    return False


def _end(daemon: subprocess.Popen[bytes]) -> None:
    """Ask it to end; what it leaves running ends with the lab."""
    daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
