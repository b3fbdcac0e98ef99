"""What a new user met: each of these once went wrong, or said too little."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.cli_lab import Cli, fresh, wait_until

pytestmark = pytest.mark.requires("root", "overlay", "seccomp", "busybox")


@pytest.fixture
def cli() -> Iterator[Cli]:
    with fresh() as made:
        yield made


def run(cli: Cli, *words: str) -> str:
    return cli("run", "--rm", "--network", "none", *words).out


# ── what must work ────────────────────────────────────────────────────────────────────────────


def test_a_single_file_can_be_bound_with_v(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_text("from the host")
    for target in ("/settings", "/etc/deep/down/settings"):
        flag = f"{file}:{target}:ro"
        assert run(cli, "-v", flag, str(cli.rootfs), "cat", target) == "from the host"


def test_the_ipc_namespace_of_the_host_needs_no_mounted_queues(cli: Cli) -> None:
    seen = run(cli, "--ipc", "host", str(cli.rootfs), "readlink", "/proc/self/ns/ipc")
    assert seen.strip() == os.readlink("/proc/self/ns/ipc")


def test_rmi_says_the_name_that_was_given(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nLABEL a=b\n")
    cli("build", "-t", "nothing", str(tmp_path))
    assert cli("rmi", "nothing").out.startswith("Untagged: nothing:latest\nDeleted: sha256:")


# ── what must say what to do ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("flags", "command", "code"),
    [
        ((), "/tmp", 126),
        (("--cpus", "abc"), "true", 125),
        (("--cpus", "-1"), "true", 125),
        (("--device", "/dev/nosuch"), "true", 125),
        (("--device", "/etc/passwd"), "true", 125),
        (("--env-file", "/nosuch"), "true", 125),
        (("--security-opt", "seccomp=/nosuch"), "true", 125),
        (("--security-opt", "seccomp=/etc/passwd"), "true", 125),
    ],
)
def test_a_bad_word_is_refused_with_a_hint(
    cli: Cli, flags: tuple[str, ...], command: str, code: int
) -> None:
    words = ("run", "--rm", "--network", "none", *flags, str(cli.rootfs), command)
    said = cli.fails(*words, code=code)
    assert "\nhint: " in said
    assert cli.left() == []


def test_killing_what_has_ended_is_refused_with_a_hint(cli: Cli) -> None:
    cli("run", "--network", "none", "--name", "over", str(cli.rootfs), "true")
    assert "is not running\nhint: " in cli.fails("kill", "over")
    assert "\nhint: " in cli.fails("rename", "over", "over")


def test_half_an_archive_is_called_so(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY big /\n")
    (tmp_path / "big").write_bytes(os.urandom(100_000))
    cli("build", "-t", "big", str(tmp_path))
    archive = tmp_path / "big.tar"
    cli("save", "-o", str(archive), "big")
    os.truncate(archive, 50_000)
    assert "truncated inside a file\nhint: " in cli.fails("load", "-i", str(archive))


def test_a_dockerfile_from_standard_input_is_called_so(cli: Cli, tmp_path: Path) -> None:
    done = cli("build", "-f", "-", str(tmp_path), stdin="FROM scratch\nBOGUS\n", check=False)
    assert done.err.startswith("minirun: -:2: unknown instruction BOGUS")


def test_save_names_the_directory_that_is_missing(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nLABEL a=b\n")
    cli("build", "-t", "nothing", str(tmp_path))
    target = tmp_path / "nosuch" / "archive"
    said = cli.fails("save", "-o", str(target), "nothing")
    assert said == f"minirun: {target}: no such file or directory\nhint: its directory must exist\n"


# ── Ctrl-C ────────────────────────────────────────────────────────────────────────────────────


def test_ctrl_c_around_the_end_of_a_build_step_leaves_nothing(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY rootfs /\nRUN echo over\n")
    shutil.copytree(cli.rootfs, tmp_path / "rootfs", symlinks=True)
    for delay_s in (0.002, 0.01, 0.018):
        build = cli.spawn("build", "--no-cache", str(tmp_path))
        assert build.stderr is not None
        while b"over" not in (line := build.stderr.readline()) or b"RUN" in line:
            assert line
        time.sleep(delay_s)
        build.send_signal(signal.SIGINT)
        assert b"Traceback" not in build.communicate()[1]
        assert cli.left() == []


# ── a full disk ───────────────────────────────────────────────────────────────────────────────


@contextmanager
def small_disk(cli: Cli, place: Path) -> Iterator[tuple[Cli, Path]]:
    """Yield the command line with its data on a file system of 2 MiB, and where that is."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "minirun-test", place], check=True)
    try:
        small = replace(cli, data=place / "data")
        yield small, place
        small.clear()
    finally:
        subprocess.run(["umount", place], check=True)


def fill(place: Path) -> Path:
    """Take all the space that is left."""
    path = place / "ballast"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return path


def test_a_full_disk_loses_no_exit_code(cli: Cli, tmp_path: Path) -> None:
    with small_disk(cli, tmp_path / "disk") as (small, place):
        small.busy("--name", "late")
        fill(place)
        small("kill", "late")
        wait_until(lambda: small.field("late", ".State.Status") != "running", "the end")
        assert small.field("late", ".State.Status") == "exited"
        assert small.field("late", ".State.ExitCode") == "137"
        assert small.field("late", ".State.Error") == ""


@pytest.mark.parametrize("verb", [("stop", "-t", "0"), ("kill",), ("rm", "-f")])
def test_a_full_disk_keeps_no_container_running(
    cli: Cli, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    with small_disk(cli, tmp_path / "disk") as (small, place):
        small.busy("--rm", "--name", "brief")
        fill(place)
        small(*verb, "brief")
        wait_until(lambda: not small("ps", "-aq").out, "its removal")


def test_a_full_disk_leaves_no_half_of_a_volume(cli: Cli, tmp_path: Path) -> None:
    with small_disk(cli, tmp_path / "disk") as (small, place):
        small("volume", "create", "first")
        ballast = fill(place)
        assert "\nhint: free" in small.fails("volume", "create", "second")
        assert sorted(os.listdir(small.data / "volumes")) == ["first", "lock"]
        ballast.unlink()


def test_a_full_state_directory_starts_nothing(cli: Cli, tmp_path: Path) -> None:
    with small_disk(cli, tmp_path / "disk") as (_, place):
        full = replace(cli, root=place / "run")
        fill(place)
        said = full.fails("run", "--network", "none", str(cli.rootfs), "true")
        assert said.startswith("minirun: no space left on device\nhint: free some disk space")
        assert sorted(os.listdir(place / "run")) == [".attach", ".seccomp"]
        assert not os.listdir(place / "run/.attach") + os.listdir(place / "run/.seccomp")
        assert not full("ps", "-aq").out


def test_a_full_disk_is_no_matter_of_pausing(cli: Cli, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY big /\n")
    (context / "big").write_bytes(os.urandom(3_000_000))
    with small_disk(cli, tmp_path / "disk") as (small, _):
        done = small("build", str(context), check=False)
        assert done.code == 125
        assert "no space left on device\nhint: free some" in done.err


@pytest.mark.parametrize(
    ("flag", "value", "told"),
    [("--cpus", "4096", "more than this host has"), ("--platform", "linux/s390x", "foreign")],
)
def test_run_refuses_what_this_host_is_not(cli: Cli, flag: str, value: str, told: str) -> None:
    said = cli.fails("run", "--rm", flag, value, str(cli.rootfs), "true")
    assert told in said
    assert "hint:" in said
