"""podman and conmon with minirun-oci below them, command by command against runc."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.engines.lab import MINIRUN, SERVE, Engine

pytestmark = pytest.mark.requires("root", "podman", "runc", "busybox")

GROUP = "--cgroup-parent=/minirun/podman"


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


def test_pod(told: Callable[..., str], podman: Engine) -> None:
    try:
        told("pod", "create", "--infra=false", "--cgroup-parent=/minirun/podman", "--name=pod")
        assert told("run", "--rm", "--pod=pod", "bb", "echo", "in") == "0 in\n"
    finally:
        podman.run("pod", "rm", "--force", "--time=0", "pod")


def test_health_check(told: Callable[..., str], podman: Engine) -> None:
    probe = ("--health-cmd=true", "--health-interval=disable")
    try:
        told("run", "--detach", "--name=health", GROUP, *probe, "bb", "sh", "-c", SERVE)
        assert told("healthcheck", "run", "health")[0] == "0"
    finally:
        podman.run("rm", "--force", "--time=0", "health")
