"""What ``minirun-oci`` refuses: with one line, one object in the log, and nothing left behind."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from minirun import oci_cli
from tests.integration.oci_lab import Runtime, wait_for_end

pytestmark = pytest.mark.requires("root", "busybox", "cgroups")


ERRORS = {
    "unknown verb": (["bogus"], 1, "no such command"),
    "unknown option": (["create", "--bogus", "x"], 1, "flag provided but not defined: -bogus"),
    "no value": (["restore", "--image-path"], 1, "flag needs an argument"),
    "unknown container": (["state", "nope"], 1, "container does not exist"),
    "kill unknown": (["kill", "nope", "9"], 1, "container does not exist"),
    "kill bad signal": (["kill", "nope", "NOPE"], 1, "unknown signal"),
    "climbing id": (["create", "../x"], 1, "invalid container ID format"),
    "long id": (["create", "x" * 2000], 1, "invalid container ID format"),
    "dots": (["state", ".."], 1, "invalid container ID format"),
    "no bundle": (["create", "--bundle", "/nope", "x"], 1, "config.json not found"),
    "exec unknown": (["exec", "nope", "true"], 255, "container does not exist"),
    "terminal": (["run", "--detach", "--console-socket", "/nope", "x"], 1, "cannot use console"),
    "preserved": (["create", "--preserve-fds", "9", "x"], 1, "preserved-fd"),
    "our own log preserved": (["create", "--preserve-fds", "1", "x"], 1, "preserved-fd 3 (of 1)"),
    "our own pipe preserved": (["run", "--preserve-fds", "2", "x"], 1, "preserved-fd 3 (of 2)"),
    "preserved less than none": (["create", "--preserve-fds", "-1", "x"], 1, "'-1' is not a num"),
    "signal of 5,000 digits": (["kill", "x", "9" * 5000], 1, "unknown signal"),
    "no criu": (["--criu", "/nope", "checkpoint", "x"], 1, "need criu, and there is no /nope"),
    "page server": (
        ["checkpoint", "--page-server", "a:1", "x"],
        1,
        "--page-server is not supported",
    ),
    "no images": (["restore", "--image-path", "/nope", "x"], 1, "no checkpoint is there"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_one_object_in_the_log(oci: Runtime, tmp_path: Path, case: str) -> None:
    words, code, text = ERRORS[case]
    log = tmp_path / "log.json"
    done = oci.run("--log", str(log), "--log-format", "json", *words)
    assert done.returncode == code
    assert done.stdout == ""
    entry = json.loads(log.read_text())
    assert entry["level"] == "error"
    assert text in entry["msg"]
    assert text in done.stderr
    assert oci.run("list", "--quiet").stdout == ""


@pytest.mark.parametrize(
    "config",
    [b"{", b"[]", b'{"ociVersion": 1}', b"[" * 100_000, b"null", b"\0", b'{"a": "\xff"}', b"\xff"],
)
def test_bad_config_leaves_nothing(oci: Runtime, config: bytes) -> None:
    (oci.bundle / "config.json").write_bytes(config)
    done = oci.run("create", "bad")
    assert done.returncode == 1
    assert "config.json: $" in done.stderr
    assert "Traceback" not in done.stderr
    assert oci.run("list", "--quiet").stdout == ""


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["nope"], 'exec: "nope": executable file not found in $PATH'),
        (["/nope"], 'exec: "/nope": stat /nope: no such file or directory'),
        (["/etc"], 'exec: "/etc": is a directory'),
        (["/etc/passwd"], 'exec: "/etc/passwd": permission denied'),
    ],
)
def test_create_fails_for_a_program_that_cannot_run(
    oci: Runtime, args: list[str], text: str
) -> None:
    oci.config(args=args)
    done = oci.run("create", "bad")
    assert done.returncode == 1
    assert f"unable to start container process: {text}" in done.stderr
    assert oci.run("list", "--quiet").stdout == ""


def test_illegal_transitions_use_runcs_words(oci: Runtime) -> None:
    pidfd = os.pidfd_open(oci.start("web"))
    assert "already exists" in oci.run("create", "web").stderr
    assert "not stopped" in oci.run("delete", "web").stderr
    assert "container not paused" in oci.run("resume", "web").stderr
    oci.quiet("pause", "web")
    assert "paused container" in oci.run("exec", "web", "true").stderr
    oci.quiet("kill", "web", "9")
    wait_for_end(pidfd)
    assert "container not running" in oci.run("kill", "web", "TERM").stderr
    assert "cannot exec in a stopped container" in oci.run("exec", "web", "true").stderr
    oci.quiet("kill", "--all", "web", "KILL")
    oci.quiet("delete", "--force", "web")
    oci.quiet("delete", "--force", "web")


@pytest.mark.parametrize("debug", [False, True])
def test_mistake_of_ours_is_one_line_as_well(
    debug: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What if something goes wrong that nobody has thought of? With --debug it shows where."""

    def mistake(*_: object) -> int:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(oci_cli, "_dispatch", mistake)
    if debug:
        with pytest.raises(ZeroDivisionError):
            oci_cli.main(["--debug", "state", "web"])
    else:
        assert oci_cli.main(["state", "web"]) == 1
        line, hint = capfd.readouterr().err.splitlines()
        assert line.endswith("a mistake of minirun-oci: ZeroDivisionError: by nothing")
        assert "--debug" in hint


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b'{"id": 5}'])
def test_damaged_state_is_told_and_hides_no_other(oci: Runtime, text: bytes) -> None:
    oci.config(args=["sleep", "1000"])
    oci.create("ill")
    oci.create("well")
    state = oci.root / "ill/state.json"
    healthy = state.read_bytes()
    state.write_bytes(text)
    try:
        for verb in ("state", "start", "ps", "kill", "delete"):
            done = oci.run(verb, "ill")
            assert done.returncode == 1
            assert f"{state} is damaged" in done.stderr
        assert oci.run("list", "--quiet").stdout == "well\n"
    finally:
        state.write_bytes(healthy)


def test_interval_that_is_none(oci: Runtime) -> None:
    oci.config(args=["sleep", "1000"])
    oci.create("web")
    for interval in ("0s", "-1s", "nans", "infs", "1e9h", "5", "s", ""):
        done = oci.run("events", "--interval", interval, "web")
        assert done.returncode == 1
        assert "interval" in done.stderr


def test_ps_tells_the_reason_without_the_usage(oci: Runtime) -> None:
    oci.config(args=["sleep", "1000"])
    oci.create("web")
    assert len(oci.run("ps", "web", "--no-such").stderr.splitlines()) == 1
