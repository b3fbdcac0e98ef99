"""``minirun-oci exec``: a command joins a container that is there."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.oci_lab import Runtime

pytestmark = pytest.mark.requires("root", "busybox", "cgroups")


def test_exec_is_in_the_container(oci: Runtime) -> None:
    pid = oci.start("web")
    kinds = ("pid", "mnt", "uts", "ipc", "net", "cgroup")
    script = "; ".join(f"readlink /proc/self/ns/{kind}" for kind in kinds)
    done = oci.run("exec", "web", "sh", "-c", f"{script}; exit 4")
    assert done.returncode == 4
    assert done.stdout.split() == [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds]


def test_exec_is_counted_with_the_container(oci: Runtime) -> None:
    pid = oci.start("web")
    inside = oci.run("exec", "web", "cat", "/proc/self/cgroup").stdout
    outside = Path(f"/proc/{pid}/cgroup").read_text()
    assert len(inside.splitlines()) == len(outside.splitlines())
    assert "/minirun/web" not in inside.replace("/../", "/")  # its own group is its root
    words = ("exec", "web", "sh", "-c", "echo $PPID; sleep 0.01; cat")
    process = subprocess.Popen(
        [*oci.argv, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert len(json.loads(oci.run("ps", "--format", "json", "web").stdout)) >= 3
    process.communicate()


def test_exec_takes_user_directory_environment_and_capabilities(oci: Runtime) -> None:
    oci.start("web")
    script = "id -u; id -g; pwd; echo $A $HOME; grep ^Cap /proc/self/status"
    options = ("--user", "1000:1001", "--cwd", "/tmp", "-e", "A=b", "--cap", "CAP_NET_RAW")
    lines = oci.run("exec", *options, "web", "sh", "-c", script).stdout.splitlines()
    assert lines[:4] == ["1000", "1001", "/tmp", "b /tmp"]
    sets = {line.split(":")[0]: int(line.split()[1], 16) for line in lines[4:]}
    assert sets["CapInh"] == 0
    assert sets["CapBnd"] >> 13 & 1


@pytest.mark.parametrize("user", ["-1", "1 ", "1:", ":1", "0x1", "4294967295", "٣", "root"])
def test_exec_refuses_a_user_that_is_no_number(oci: Runtime, user: str) -> None:
    """What if sloppy reading made uid 0 of it (CVE-2026-30892)."""
    oci.start("web")
    done = oci.run("exec", f"--user={user}", "web", "id")
    assert (done.returncode, done.stdout) == (255, "")
    assert "is not an id" in done.stderr


def test_exec_detached_writes_the_pid_file_last(oci: Runtime, tmp_path: Path) -> None:
    oci.start("web")
    file = tmp_path / "pid"
    words = ("exec", "--detach", "--pid-file", str(file), "web")
    with open(os.devnull, "r+b") as null:
        argv = [*oci.argv, *words, "sleep", "1000"]
        subprocess.run(argv, stdin=null, stdout=null, stderr=null, check=True)
    assert int(file.read_text()) in json.loads(oci.run("ps", "-f", "json", "web").stdout)
    file.unlink()
    assert oci.run(*words, "nope").returncode == 255
    assert not file.exists()


def test_exec_process_file(oci: Runtime, tmp_path: Path) -> None:
    oci.start("web")
    process = {"cwd": "/", "args": ["sh", "-c", "id -u; exit 3"], "user": {"uid": 5, "gid": 5}}
    (tmp_path / "process.json").write_text(json.dumps(process))
    done = oci.run("exec", "--process", str(tmp_path / "process.json"), "web")
    assert (done.returncode, done.stdout) == (3, "5\n")


def test_exec_waits_in_a_paused_container_when_told_to(oci: Runtime) -> None:
    oci.start("web")
    oci.quiet("pause", "web")
    process = subprocess.Popen([*oci.argv, "exec", "--ignore-paused", "web", "true"])
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    oci.quiet("resume", "web")
    assert process.wait(timeout=60) == 0
