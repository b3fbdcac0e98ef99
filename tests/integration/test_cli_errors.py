"""Bad input and bad luck: one clear error, the right exit code, nothing left behind."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli_lab import MINIRUN, Cli, fresh, kill_9, wait_until

pytestmark = pytest.mark.requires("root", "overlay", "seccomp", "busybox")


@pytest.fixture
def cli() -> Iterator[Cli]:
    with fresh() as made:
        yield made


_BAD = {
    "missing directory": (("/no/such/dir",), 125, "no such file"),
    "no such image": (("nothing-of-this-name",), 125, "no such image"),
    "not found": (("ROOTFS", "nothing"), 127, "not found"),
    "not executable": (("ROOTFS", "/etc/passwd"), 126, "ermission denied"),
    "is a directory": (("ROOTFS", "/etc"), 126, ""),
    "capability": (("--cap-add", "FLY", "ROOTFS", "true"), 125, "unknown capability"),
    "profile": (("--security-opt", "seccomp=/no/file", "ROOTFS", "true"), 125, "seccomp profile"),
    "memory floor": (("-m", "1m", "ROOTFS", "true"), 125, "too low"),
    "malformed size": (("-m", "lots", "ROOTFS", "true"), 125, "invalid size"),
    "too many cpus": (("--cpus", "x", "ROOTFS", "true"), 125, "invalid number of cpus"),
    "network": (("--network", "moon", "ROOTFS", "true"), 125, "network moon not found"),
    "port": (("-p", "80:what", "ROOTFS", "true"), 125, ""),
    "user": (("-u", "nosuchuser", "ROOTFS", "true"), 125, "nosuchuser"),
    "sysctl": (("--sysctl", "kernel.nothing=1", "ROOTFS", "true"), 125, ""),
    "refused flag": (("--gpus", "all", "ROOTFS", "true"), 125, "--gpus is not supported"),
    "unknown flag": (("--nonsense", "ROOTFS", "true"), 125, "no such option"),
    "rm and restart": (("--rm", "--restart", "always", "ROOTFS", "true"), 125, "conflicting"),
    "not found by path": (("ROOTFS", "./nothing"), 127, "hint: is it in the image?"),
    "no image": ((), 125, ""),
}


@pytest.mark.parametrize("what", _BAD)
def test_run_refuses(cli: Cli, what: str) -> None:
    words, code, message = _BAD[what]
    network = () if "--network" in words or "-p" in words else ("--network", "none")
    typed = [str(cli.rootfs) if word == "ROOTFS" else word for word in words]
    said = cli.fails("run", *network, *typed, code=code)
    assert message in said
    assert not cli.left()


def test_run_refuses_an_empty_directory(cli: Cli, tmp_path: Path) -> None:
    said = cli.fails("run", f"{tmp_path}/")
    assert "is empty" in said
    assert "hint: " in said


def test_run_of_a_name_tells_of_the_directory_that_has_it(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    said = cli.fails("run", "--pull", "never", "model")
    assert "no such image: model" in said
    assert "hint: if the directory was meant: ./model is empty" in said


def test_run_refuses_a_name_in_use(cli: Cli) -> None:
    cli.busy("--name", "web")
    said = cli.fails("run", "--name", "web", "--network", "none", str(cli.rootfs), "true")
    assert "already in use" in said
    assert "hint: " in said
    assert len(cli("ps", "-aq").out.split()) == 1


def test_run_refuses_a_read_only_state_directory(cli: Cli) -> None:
    cli.extra = {"MINIRUN_ROOT": "/proc/minirun"}
    said = cli.fails("run", "--network", "none", str(cli.rootfs), "true")
    cli.extra = {}
    assert "/proc/minirun" in said
    assert not cli.left()


def test_unknown_command_gets_a_suggestion(cli: Cli) -> None:
    assert "did you mean image" in cli.fails("imagse")


def test_command_of_docker_that_is_none_here_says_what_to_do(cli: Cli) -> None:
    assert "no such command: 'network'\nhint: there is one bridge" in cli.fails("network", "ls")


def test_pipe_that_nobody_reads_is_no_error_to_talk_about(cli: Cli) -> None:
    for _ in range(3):
        cli("create", "--network", "none", str(cli.rootfs), "true")
    listing = cli.spawn("explain")
    assert listing.stdout is not None
    assert listing.stderr is not None
    listing.stdout.close()
    assert listing.wait(20) in (0, 141)
    assert listing.stderr.read() == b""
    listing.stderr.close()
    assert listing.stdin is not None
    listing.stdin.close()


#: Where env(1) cannot block signals, Python itself answers before our first line is run.
_TRACE = b"Traceback" if "--block-signal" in MINIRUN.read_text() else b"cli/__main__.py"


def test_control_c_at_any_moment_leaves_nothing(cli: Cli) -> None:
    chance = random.Random(7)
    for _ in range(12):
        running = cli.spawn(
            "run", "--rm", "--init", "--network", "none", str(cli.rootfs), "sleep", "9"
        )
        time.sleep(chance.random() * 0.4)  # the moment is the point
        while running.poll() is None:
            running.send_signal(signal.SIGINT)
            time.sleep(0.05)
        _, said = running.communicate()
        assert _TRACE not in said
    wait_until(lambda: not cli.left(), "nothing is left")


# ── kill -9 ───────────────────────────────────────────────────────────────────────────────────


def test_cli_killed_loses_neither_output_nor_code(cli: Cli) -> None:
    words = ("run", "--name", "job", "--network", "none", str(cli.rootfs), "sh", "-c")
    script = "echo one; while [ ! -e /tmp/go ]; do usleep 9999; done; echo two; exit 7"
    running = cli.spawn(*words, script)
    assert running.stdout is not None
    assert running.stdout.readline() == b"one\n"
    running.kill()
    running.communicate()
    cli("exec", "job", "touch", "/tmp/go")
    assert cli("wait", "job").out == "7\n"
    assert cli("logs", "job").out == "one\ntwo\n"


def test_shim_killed_under_a_client_is_followed_by_its_standby(cli: Cli) -> None:
    script = "echo one; while [ ! -e /tmp/go ]; do usleep 9999; done; echo two; exit 7"
    cli.busy("--name", "job", command=script)
    client = cli.spawn("attach", "--no-stdin", "job")
    wait_until(lambda: os.listdir(f"/proc/{client.pid}/fd"), "the client")
    before = cli.field("job", ".Minirun.ShimPid")
    kill_9(int(before))
    wait_until(lambda: cli.field("job", ".Minirun.ShimPid") != before, "the standby")
    cli("exec", "job", "touch", "/tmp/go")
    client.communicate(timeout=20)
    assert cli("wait", "job").out == "7\n"
    assert cli("logs", "job").out == "one\ntwo\n"


def test_everything_killed_is_seen_cleared_and_started_again(cli: Cli) -> None:
    """What if the machine restarts? The record says running, and nobody is there."""
    cli.busy("--name", "web")
    shim = int(cli.field("web", ".Minirun.ShimPid"))
    init = int(cli.field("web", ".State.Pid"))
    below = Path(f"/proc/{shim}/task/{shim}/children").read_text().split()
    for pid in {shim, init, *map(int, below)}:
        os.kill(pid, signal.SIGSTOP)
    for pid in (shim, *(int(p) for p in below if int(p) != init), init):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: cli.field("web", ".State.Status") == "exited", "the truth")
    assert "nobody saw" in cli("ps", "-a").out
    cli("start", "web")
    assert cli.field("web", ".State.Status") == "running"


def test_port_in_use_is_refused(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        words = ("run", "--rm", "-p", f"127.0.0.1:{port}:80", str(cli.rootfs), "true")
        said = cli.fails(*words)
    assert str(port) in said
    assert not cli.left()
