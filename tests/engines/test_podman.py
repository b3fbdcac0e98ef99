"""podman and conmon with minirun-oci below them, command by command against runc."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engines.lab import MINIRUN, SERVE, Engine, parent

pytestmark = pytest.mark.requires("root", "podman", "runc", "busybox")

GROUP = f"--cgroup-parent={parent('podman')}"


def _binary(runtime: str) -> str:
    return f"--runtime={MINIRUN}" if runtime == "minirun" else "--runtime=/usr/sbin/runc"


@pytest.fixture
def told(podman: Engine, runtime: str) -> Callable[..., str]:
    """Run one command with the runtime in question; return exit code and output."""
    return lambda *words, stdin="": podman.tell(_binary(runtime), *words, stdin=stdin)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["bb", "sh", "-c", "echo hi; exit 5"], "5 hi\n"),
        (["bb", "nope"], "127 "),
        (["bb", "/etc"], "126 "),
        (["--read-only", "bb", "sh", "-c", "echo x > /x"], "1 "),
        (["--memory=16m", "--memory-swap=16m", "bb", "sh", "-c", "a=xx; while :; do a=$a$a; done"],
         "137 "),
    ],
)  # fmt: skip
def test_run(told: Callable[..., str], words: list[str], expected: str) -> None:
    assert told("run", "--rm", GROUP, *words) == expected


def test_life_and_exec(told: Callable[..., str], podman: Engine, runtime: str) -> None:
    status = ("inspect", "--format={{.State.Status}} {{.State.ExitCode}}", "life")
    try:
        told("run", "--detach", "--name=life", GROUP, "bb", "sh", "-c", SERVE)
        assert told(*status) == "0 running 0\n"
        assert told("exec", "life", "sh", "-c", "echo in; exit 4") == "4 in\n"
        assert told("exec", "life", "nope") == "127 "
        assert told("exec", "--interactive", "life", "cat", stdin="typed\n") == "0 typed\n"
        shown = podman.on_terminal(
            _binary(runtime), "exec", "-it", "life", "sh", "-c", "test -t 0 && echo tty"
        )
        assert shown == "0 tty\n"
        told("pause", "life")
        assert told(*status) == "0 paused 0\n"
        told("unpause", "life")
        assert "sh -c trap" in told("top", "life", "pid", "args")
        told("stop", "--time=10", "life")
        assert told(*status) == "0 exited 9\n"
        assert told("logs", "life") == "0 up\nbye\n"
    finally:
        podman.run("rm", "--force", "--time=0", "life")


def _remove_pod(podman: Engine) -> None:
    """Remove the pod, and the empty groups of conmon that podman leaves where it was too quick."""
    podman.run("pod", "rm", "--force", "--time=0", "pod")
    for group in Path("/sys/fs/cgroup").glob(f"*{parent('podman')}/[0-9a-f]*[0-9a-f]/"):
        with contextlib.suppress(OSError):
            group.rmdir()


def test_pod(told: Callable[..., str], podman: Engine) -> None:
    try:
        told("pod", "create", "--infra=false", GROUP, "--name=pod")
        assert told("run", "--rm", "--pod=pod", "bb", "echo", "in") == "0 in\n"
    finally:
        _remove_pod(podman)


def test_pod_shares_its_network(told: Callable[..., str], podman: Engine) -> None:
    """The first container holds the namespaces, the others join them by path."""
    infra = ("--infra-image=bb", "--infra-command=sleep 1000", "--share=net,ipc,uts")
    try:
        assert told("pod", "create", *infra, GROUP, "--hostname=together", "--name=pod")[0] == "0"
        serve = ("nc", "-ll", "-p", "8080", "-e", "hostname")
        assert told("run", "--detach", "--pod=pod", "bb", *serve)[0] == "0"
        ask = "until nc 127.0.0.1 8080; do :; done"
        assert told("run", "--rm", "--pod=pod", "bb", "sh", "-c", ask) == "0 together\n"
    finally:
        _remove_pod(podman)


CRUN = pytest.param("crun", marks=pytest.mark.requires("crun", "cgroup2"), id="crun")


@pytest.mark.parametrize("binary", [CRUN, pytest.param(str(MINIRUN), id="minirun")])
def test_without_groups_it_stays_in_the_callers(podman: Engine, binary: str) -> None:
    """What if podman itself runs in a service that has the limits? runc knows no such thing."""
    words = ("run", "--rm", "--cgroups=disabled", "--cgroupns=host", "bb", "cat")
    shown = podman.out(f"--runtime={binary}", *words, "/proc/self/cgroup")
    assert shown == Path("/proc/self/cgroup").read_text()


def test_health_check(told: Callable[..., str], podman: Engine) -> None:
    probe = ("--health-cmd=true", "--health-interval=disable")
    try:
        told("run", "--detach", "--name=health", GROUP, *probe, "bb", "sh", "-c", SERVE)
        assert told("healthcheck", "run", "health")[0] == "0"
    finally:
        podman.run("rm", "--force", "--time=0", "health")
