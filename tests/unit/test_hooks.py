"""Hooks are real programs: judged by their exit, never by what they do with their streams."""

from __future__ import annotations

import json
import os
import select
import signal
from pathlib import Path

import pytest

from minirun.errors import MinirunError
from minirun.hooks import run_hooks
from minirun.spec import Hook

STATE = {"ociVersion": "1.3.0", "id": "web", "status": "created"}


def shell(script: str, *args: str, env: tuple[str, ...] | None = None, timeout: int = 30) -> Hook:
    return Hook("/bin/sh", ("sh", "-c", script, "sh", *args), env, timeout)


def test_run_hooks_gives_the_state_and_keeps_the_order(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    run_hooks("poststart", [shell('cat >"$1"', out), shell('echo >>"$1"; cat >>"$1"', out)], STATE)
    first, second = Path(out).read_text().splitlines()
    assert json.loads(first) == json.loads(second) == STATE


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 3", "exit status 3"),
        ("echo out; echo err >&2; exit 1", "exit status 1: out\nerr"),
        ("kill -TERM $$", "signal 15"),
    ],
)
def test_run_hooks_says_how_a_hook_ended(script: str, reason: str) -> None:
    with pytest.raises(MinirunError) as caught:
        run_hooks("prestart", [shell("exit 0"), shell(script)], STATE)
    assert str(caught.value) == f"error running prestart hook #1 /bin/sh: {reason}"
    assert "by hand" in caught.value.hint


def test_run_hooks_stops_at_the_first_failure(tmp_path: Path) -> None:
    with pytest.raises(MinirunError):
        run_hooks("prestart", [shell("exit 1"), shell('>"$1"', f"{tmp_path}/ran")], STATE)
    assert os.listdir(tmp_path) == []


def test_run_hooks_names_a_missing_program() -> None:
    with pytest.raises(MinirunError, match="#0 /nowhere: exit status 127: no such file"):
        run_hooks("poststop", [Hook("/nowhere")], STATE)


def test_run_hooks_names_a_program_that_cannot_be_executed(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with pytest.raises(MinirunError, match=r"exit status 126: Permission denied"):
        run_hooks("poststop", [Hook(f"{tmp_path}/plain")], STATE)


def test_run_hooks_kills_a_slow_one(tmp_path: Path) -> None:
    own_pid = tmp_path / "pid"
    with pytest.raises(MinirunError, match="timed out after 1 s"):
        run_hooks("prestart", [shell('echo $$ >"$1"; exec sleep 60', str(own_pid), timeout=1)], {})
    assert not Path("/proc", own_pid.read_text().strip()).exists()


def test_run_hooks_takes_no_offence_at_unread_input() -> None:
    run_hooks("prestart", [shell("exec <&-; exit 0")], {"annotations": {"big": "x" * (1 << 20)}})


def test_run_hooks_leaves_a_daemon_that_keeps_its_output(tmp_path: Path) -> None:
    """What if the end of the output never comes? The hook's own end counts."""
    file = tmp_path / "pid"
    run_hooks("poststart", [shell('sleep 60 & echo $! >"$1"', str(file))], STATE)
    daemon = os.pidfd_open(int(file.read_text()))
    signal.pidfd_send_signal(daemon, 0)  # it was let live
    signal.pidfd_send_signal(daemon, signal.SIGKILL)
    poll = select.poll()
    poll.register(daemon, select.POLLIN)
    assert poll.poll(10_000)
    os.close(daemon)


@pytest.mark.parametrize(
    ("own", "given", "seen"),
    [
        (("V=own=1",), ("V=given",), "own=1"),
        ((), ("V=given",), "unset"),
        (None, ("V=given",), "given"),
        (None, (), "unset"),
        (None, None, "inherited"),
    ],
)
def test_run_hooks_chooses_the_environment(
    own: tuple[str, ...] | None,
    given: tuple[str, ...] | None,
    seen: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("V", "inherited")
    hook = shell('echo "${V-unset}" >"$1"', f"{tmp_path}/v", env=own)
    run_hooks("prestart", [hook], STATE, given)
    assert (tmp_path / "v").read_text().strip() == seen


def test_run_hooks_passes_no_descriptor_and_leaks_none(tmp_path: Path) -> None:
    held, other = os.pipe()
    os.dup2(held, 300)  # inheritable, and higher than a loop would care to go
    before = os.listdir("/proc/self/fd")
    run_hooks("prestart", [shell('ls /proc/self/fd >"$1"', f"{tmp_path}/fds")], STATE)
    assert os.listdir("/proc/self/fd") == before
    for fd in (held, other, 300):
        os.close(fd)
    # ls itself holds a fourth: the directory it lists.
    assert (tmp_path / "fds").read_text().split() == ["0", "1", "2", "3"]
