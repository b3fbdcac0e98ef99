"""Containers by way of the engine, as the command line makes them: image, record, shim, session.

Everything is below the test run's own folders, and ``Engine.close`` takes it away by the engine's
own means: a test that leaves something has found a bug.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minirun.container.entry import ContainerRecord, State
from minirun.container.options import NetworkOptions, RunOptions
from minirun.engine.create import create
from minirun.engine.home import Home
from minirun.engine.images import resolve
from minirun.engine.remove import remove
from minirun.engine.start import Session, attach, start
from minirun.shim import frames
from tests.offspring import Offspring

PATIENCE_S = 30.0


@dataclass
class Ended:
    """What a session heard.

    Args:
        pid: of the container's process, as ``started`` said.
        out: standard output; with a terminal everything.
        err: standard error.
        ending: the ``exited`` report; empty when the shim hung up without one.
    """

    pid: int = 0
    out: bytes = b""
    err: bytes = b""
    ending: dict[str, Any] = field(default_factory=dict)

    @property
    def code(self) -> int:
        return int(self.ending["exit_code"])

    @property
    def text(self) -> str:
        return self.out.decode(errors="replace")


class Engine:
    """A home, a root file system, and the containers a test makes there."""

    def __init__(self, home: Home, rootfs: Path) -> None:
        self.home = home
        self.rootfs = rootfs
        self._made: list[str] = []
        self._offspring = Offspring()

    def create(self, *command: str, mode: str = "none", **options: Any) -> ContainerRecord:  # noqa: ANN401
        """Make a container of busybox."""
        network = NetworkOptions(mode=mode, **options.pop("network", {}))
        asked = RunOptions(command=command, network=network, **options)
        record = create(self.home, asked, resolve(self.home, str(self.rootfs)))
        self._made.append(record.id)
        return record

    def start(self, record: ContainerRecord) -> Session:
        """Start it; the session has not heard ``started`` yet."""
        return start(self.home, record.id)

    def run(self, *command: str, **options: Any) -> Ended:  # noqa: ANN401
        """Make, start and hear a container to its end."""
        session = self.start(self.create(*command, **options))
        return hear(session, started=True)

    def sh(self, script: str, **options: Any) -> Ended:  # noqa: ANN401
        """Run a shell script to its end."""
        return self.run("sh", "-c", script, **options)

    def detached(self, *command: str, **options: Any) -> ContainerRecord:  # noqa: ANN401
        """Return the record of a container that runs with nobody listening."""
        record = self.create(*command, detach=True, **options)
        session = self.start(record)
        session.wait_until_started()
        session.close()
        return self.read(record)

    def attach(self, record: ContainerRecord) -> Session:
        return attach(self.home, record.id)

    def read(self, record: ContainerRecord) -> ContainerRecord:
        return self.home.containers.read(record.id)

    def state(self, record: ContainerRecord) -> State:
        return self.read(record).state

    def until(self, record: ContainerRecord, wanted: Callable[[State], object]) -> State:
        """Return the state once it is as wanted."""
        state: State = eventually(lambda: self.state(record), wanted)
        return state

    def end_of(self, record: ContainerRecord) -> State:
        """Return the state of a container that has ended for good."""
        return self.until(record, lambda state: state.status == "exited")

    def log(self, record: ContainerRecord) -> list[dict[str, str]]:
        path = Path(self.home.containers.log_path(record.id))
        return [json.loads(line) for line in path.read_text().splitlines()]

    def logged(self, record: ContainerRecord, stream: str = "stdout") -> str:
        return "".join(entry["log"] for entry in self.log(record) if entry["stream"] == stream)

    def close(self) -> None:
        """Remove everything; wait until the shims are gone."""
        for container_id in self._made:
            if self.home.containers.exists(container_id):
                record = self.home.containers.read(container_id)
                remove(self.home, record, force=True, volumes=True)
        eventually(self._offspring.reap, lambda left: not left)


def make_rootfs(path: Path) -> Path:
    """Return a new root file system with every applet of busybox."""
    for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr", "var"):
        (path / name).mkdir(parents=True)
    (path / "tmp").chmod(0o1777)
    shutil.copy(shutil.which("busybox") or "busybox", path / "bin/busybox")
    listed = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True)
    for applet in listed.stdout.split():
        if applet != "busybox":
            (path / "bin" / applet).symlink_to("busybox")
    (path / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/tmp:/bin/sh\n"
    )
    (path / "etc/group").write_text("root:x:0:\nann:x:1000:\nstaff:x:50:ann\n")
    return path


def hear(session: Session, *, started: bool = False) -> Ended:
    """Listen until the shim hangs up."""
    heard = Ended()
    if started:
        heard.pid = session.wait_until_started()
    for kind, payload in session.frames(PATIENCE_S):
        if kind == frames.STDOUT:
            heard.out += payload
        elif kind == frames.STDERR:
            heard.err += payload
        elif kind == frames.EXITED:
            heard.ending = json.loads(payload)
    session.close()
    return heard


def expect(session: Session, wanted: bytes) -> bytes:
    """Listen until some text has come; return everything heard so far."""
    heard = b""
    for kind, payload in session.frames(PATIENCE_S):
        if kind in (frames.STDOUT, frames.STDERR):
            heard += payload
        if wanted in heard:
            return heard
    raise AssertionError(f"the shim hung up after {heard!r}")


def eventually(look: Callable[[], Any], wanted: Callable[[Any], object]) -> Any:  # noqa: ANN401
    """Return what a look finds once it is as wanted; looks again every few milliseconds."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = look()
        if wanted(found):
            return found
        assert time.monotonic() < deadline, f"still {found!r}"
        select.select([], [], [], 0.005)


def kill_hard(pid: int) -> None:
    """Kill with -9 and wait until the process is gone."""
    pidfd = os.pidfd_open(pid)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert select.select([pidfd], [], [], PATIENCE_S)[0]
    os.close(pidfd)
    with suppress(ChildProcessError):  # it was another's child
        os.waitpid(pid, 0)
