"""containerd with minirun-oci below its shim, by way of ctr, against runc."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.engines.lab import MINIRUN, SERVE, Engine, wait_until

pytestmark = pytest.mark.requires("root", "containerd", "docker", "runc", "busybox")

IMAGE = "docker.io/library/bb:latest"


@pytest.fixture
def options(runtime: str) -> tuple[str, ...]:
    binary = str(MINIRUN) if runtime == "minirun" else "/usr/sbin/runc"
    return ("--snapshotter=native", f"--runc-binary={binary}")


@pytest.fixture
def task(containerd: Engine, options: tuple[str, ...]) -> Iterator[str]:
    """A task that serves; gone afterwards, whatever happened to it."""
    limit = f"--memory-limit={64 << 20}"
    containerd.out("run", "--detach", *options, limit, IMAGE, "web", "sh", "-c", SERVE)
    yield "web"
    containerd.run("tasks", "kill", "--signal=KILL", "web")
    wait_until(lambda: _status(containerd) in ("", "STOPPED"), "the task does not die")
    containerd.run("tasks", "delete", "web")
    containerd.out("containers", "delete", "web")


def _status(containerd: Engine) -> str:
    lines = [line.split() for line in containerd.out("tasks", "list").splitlines()]
    return next((line[2] for line in lines if line[0] == "web"), "")


def test_run(containerd: Engine, options: tuple[str, ...]) -> None:
    def tell(*command: str) -> str:
        return containerd.tell("run", "--rm", *options, IMAGE, "once", *command)

    assert tell("sh", "-c", "echo hi; exit 5") == "5 hi\n"
    failed = containerd.run("run", "--rm", *options, IMAGE, "once", "nope")
    assert 'exec: "nope": executable file not found in $PATH' in failed.stderr


def test_exec(containerd: Engine, task: str) -> None:
    words = ("tasks", "exec", "--exec-id=one", task, "sh", "-c", "echo in; exit 4")
    assert containerd.tell(*words) == "4 in\n"
    on_terminal = ("tasks", "exec", "--tty", "--exec-id=two", task, "sh", "-c")
    assert "tty\n" in containerd.on_terminal(*on_terminal, "test -t 0 && echo tty")


def test_network_namespace_is_joined(containerd: Engine, options: tuple[str, ...]) -> None:
    """With limits and a terminal, as a CNI plugin leaves it to ctr."""
    prepare = "ip link set lo up && ip address add 10.9.8.7/32 dev lo && echo && exec sleep 1000"
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", prepare], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        joined = f"--with-ns=network:/proc/{holder.pid}/ns/net"
        words = ("run", "--rm", "--tty", joined, "--memory-limit=67108864", *options, IMAGE, "net")
        shown = containerd.on_terminal(*words, "ip", "address")
        holder.kill()
    assert shown.startswith("0 ")
    assert "10.9.8.7/32" in shown


def test_pause_metrics_and_kill(containerd: Engine, task: str) -> None:
    tell: Callable[..., str] = containerd.out
    tell("tasks", "pause", task)
    assert _status(containerd) == "PAUSED"
    tell("tasks", "resume", task)
    metrics = dict(
        line.split(maxsplit=1)
        for line in tell("tasks", "metrics", task).splitlines()
        if len(line.split(maxsplit=1)) == 2
    )
    limits = [value.strip() for name, value in metrics.items() if "limit" in name]
    assert str(64 << 20) in limits
    assert len(tell("tasks", "ps", task).splitlines()) >= 2
    tell("tasks", "kill", task)
    wait_until(lambda: _status(containerd) == "STOPPED", "SIGTERM does not arrive")
