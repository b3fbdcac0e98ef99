"""Checkpoints as engines ask for them: criu below minirun-oci below podman, containerd, dockerd."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engines.lab import MINIRUN, Engine, parent, wait_until

pytestmark = pytest.mark.requires("root", "criu", "runc", "busybox")

#: Its only memory of where it is, is a variable: one that began anew would begin with 1 again.
COUNT = "i=0; while :; do i=$((i+1)); echo $i >>/data/log; sleep 0.2; done"
IMAGE = "docker.io/library/bb:latest"


class Log:
    """What a container counts into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def numbers(self) -> list[int]:
        path = self.folder / "log"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def wait_for_more(self) -> None:
        """Wait until it counts on, from where it was."""
        before = len(self.numbers())
        wait_until(lambda: len(self.numbers()) > before + 2, "it does not count")
        assert self.numbers() == list(range(1, len(self.numbers()) + 1))


@pytest.fixture
def log(tmp_path: Path) -> Log:
    folder = tmp_path / "data"
    folder.mkdir()
    return Log(folder)


@pytest.fixture
def counting(podman: Engine, log: Log) -> Iterator[Callable[..., str]]:
    """Start a container of podman's that counts; give what runs podman with minirun-oci."""

    def tell(*words: str) -> str:
        return podman.out(f"--runtime={MINIRUN}", *words)

    group, volume = f"--cgroup-parent={parent('podman')}", f"--volume={log.folder}:/data"
    tell("run", "--detach", "--name=count", group, volume, "bb", "sh", "-c", COUNT)
    log.wait_for_more()
    yield tell
    podman.run("rm", "--force", "--time=0", "count")


def status(tell: Callable[..., str]) -> str:
    return tell("inspect", "--format={{.State.Status}}", "count").strip()


@pytest.mark.requires("podman")
def test_podman_stops_it_and_goes_on(counting: Callable[..., str], log: Log) -> None:
    counting("container", "checkpoint", "count")
    assert status(counting) == "exited"
    counting("container", "restore", "count")
    assert status(counting) == "running"
    log.wait_for_more()
    assert counting("exec", "count", "cat", "/data/log").startswith("1\n2\n")


@pytest.mark.requires("podman")
def test_podman_leaves_it_running_and_takes_it_elsewhere(
    counting: Callable[..., str], log: Log, tmp_path: Path
) -> None:
    archive = str(tmp_path / "count.tar.gz")
    counting("container", "checkpoint", "--leave-running", f"--export={archive}", "count")
    assert status(counting) == "running"
    log.wait_for_more()
    counting("rm", "--force", "--time=0", "count")
    (log.folder / "log").unlink()
    counting("container", "restore", f"--import={archive}")
    wait_until(lambda: bool(log.numbers()), "it does not count")
    assert log.numbers()[0] > 3


@pytest.mark.requires("containerd", "docker")
def test_containerd_leaves_it_running_or_not(containerd: Engine, log: Log, tmp_path: Path) -> None:
    mount = f"--mount=type=bind,src={log.folder},dst=/data,options=rbind:rw"
    options = ("--snapshotter=native", f"--runc-binary={MINIRUN}", mount)
    containerd.out("run", "--detach", *options, IMAGE, "count", "sh", "-c", COUNT)
    try:
        log.wait_for_more()
        for name, more in (("first", ()), ("second", ("--exit",))):
            images = tmp_path / name
            words = (f"--image-path={images}", f"--work-path={tmp_path}", *more)
            containerd.out("tasks", "checkpoint", *words, "count")
            assert (images / "inventory.img").exists()
            if not more:
                log.wait_for_more()
        wait_until(lambda: "STOPPED" in containerd.out("tasks", "list"), "it goes on")
    finally:
        containerd.run("tasks", "kill", "--signal=KILL", "count")
        with contextlib.suppress(AssertionError):
            wait_until(lambda: "RUNNING" not in containerd.out("tasks", "list"), "it lives")
        containerd.run("tasks", "delete", "count")
        containerd.out("containers", "delete", "count")


@pytest.mark.requires("docker")
def test_docker_stops_it_and_goes_on(docker: Engine, log: Log) -> None:
    volume = f"--volume={log.folder}:/data"
    words = ("--detach", "--name=count", "--network=none", volume, "bb", "sh", "-c", COUNT)
    docker.out("run", *words)
    try:
        log.wait_for_more()
        docker.out("checkpoint", "create", "count", "one")
        wait_until(lambda: "exited" in docker.out("inspect", "count"), "it goes on")
        assert "one" in docker.out("checkpoint", "ls", "count")
        docker.out("start", "--checkpoint=one", "count")
        log.wait_for_more()
        docker.out("checkpoint", "create", "--leave-running", "count", "two")
        log.wait_for_more()
    finally:
        docker.run("rm", "--force", "count")
