"""``minirun-oci`` as engines call it: files, texts, exit codes, and silence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.oci_lab import (
    MINIRUN,
    SERVE,
    Runtime,
    device_rules,
    limits,
    wait_for_end,
)

pytestmark = pytest.mark.requires("root", "busybox", "cgroups")


def test_life_is_silent_and_told_by_state(oci: Runtime, tmp_path: Path) -> None:
    oci.config(args=["sh", "-c", SERVE])
    oci.create("web", "--bundle", str(oci.bundle), "--pid-file", str(tmp_path / "pid"))
    created = oci.state("web")
    assert created["status"] == "created"
    assert (tmp_path / "pid").read_text() == str(created["pid"])
    oci.quiet("start", "web")
    assert oci.state("web")["status"] == "running"
    oci.quiet("pause", "web")
    assert oci.state("web")["status"] == "paused"
    oci.quiet("resume", "web")
    pidfd = os.pidfd_open(created["pid"])
    oci.quiet("kill", "web", "KILL")
    wait_for_end(pidfd)
    assert oci.state("web")["status"] == "stopped"
    oci.quiet("delete", "web")
    assert "does not exist" in oci.run("state", "web").stderr


@pytest.mark.parametrize(
    ("command", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
)
def test_run_returns_what_the_program_returned(oci: Runtime, command: str, code: int) -> None:
    """A signal that init sends to itself is ignored by the kernel, so a child of init does it."""
    script = command if command.startswith("exit") else f"sh -c '{command}'; exit $?"
    oci.config(args=["sh", "-c", script])
    assert oci.run("run", "once").returncode == code
    assert oci.run("list", "--quiet").stdout == ""


def test_config_takes_the_place_of_the_bundles(oci: Runtime, tmp_path: Path) -> None:
    """A relative path starts where the caller is, and the root file system still in the bundle."""
    oci.config(args=["sh", "-c", "exit 7"])
    (tmp_path / "other.json").write_text((oci.bundle / "config.json").read_text())
    oci.config(args=["sh", "-c", "exit 8"])
    words = ("run", "--bundle", str(oci.bundle), "--config", "other.json", "web")
    assert oci.run(*words, cwd=tmp_path).returncode == 7
    lost = oci.run("run", "--config", "/lost/my.json", "web")
    assert lost.returncode == 1
    assert "JSON specification file my.json not found in /lost" in lost.stderr


def test_run_forwards_signals(oci: Runtime) -> None:
    oci.config(args=["sh", "-c", SERVE])
    process = subprocess.Popen(
        [*oci.argv, "run", "web"], cwd=oci.bundle, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 9
    process.stdout.close()


def test_run_detached_leaves_it_running(oci: Runtime, tmp_path: Path) -> None:
    oci.config(args=["sleep", "1000"])
    with open(os.devnull, "r+b") as null:
        argv = [*oci.argv, "run", "-d", f"--pid-file={tmp_path}/pid", "web"]
        subprocess.run(argv, cwd=oci.bundle, stdin=null, stdout=null, stderr=null, check=True)
    assert oci.state("web")["pid"] == int((tmp_path / "pid").read_text())


def test_list_is_runcs_text(oci: Runtime) -> None:
    assert oci.run("list", "--format", "json").stdout == "null\n"
    oci.start("web")
    [shown] = json.loads(oci.run("list", "--format=json").stdout)
    assert list(shown) == "ociVersion id pid status bundle rootfs created owner".split()
    assert '"status":"running"' in oci.run("list", "-f", "json").stdout
    header = oci.run("list").stdout.splitlines()[0]
    assert header.split() == "ID PID STATUS BUNDLE CREATED OWNER".split()


def test_update_from_options_and_standard_input(oci: Runtime) -> None:
    oci.start("web")
    devices = device_rules("minirun/web")
    oci.quiet("update", "--memory", "64M", "--pids-limit", "33", "web")
    assert limits("minirun/web") | {"cpu": ""} == {"memory": f"{64 << 20}", "pids": "33", "cpu": ""}
    oci.quiet("update", "--resources=-", "web", stdin='{"cpu": {"quota": 7000}}')
    assert limits("minirun/web") == {"memory": f"{64 << 20}", "pids": "33", "cpu": "7000"}
    assert device_rules("minirun/web") == devices


def test_update_of_swap_alone_keeps_the_memory_limit(oci: Runtime) -> None:
    oci.start("web")
    oci.quiet("update", "--memory", "64M", "web")
    oci.quiet("update", "--memory-swap", "96M", "web")
    assert limits("minirun/web")["memory"] == f"{64 << 20}"
    assert "less than the memory limit" in oci.run("update", "--memory-swap", "32M", "web").stderr


def test_events_stats(oci: Runtime) -> None:
    oci.start("web")
    event = json.loads(oci.run("events", "--stats", "web").stdout)
    assert (event["type"], event["id"]) == ("stats", "web")
    assert event["data"]["pids"]["current"] >= 1
    assert event["data"]["memory"]["usage"]["usage"] > 0


def _told_by_events(runtime: Runtime) -> dict[str, Any]:
    """Return what stays the same from one run to the next: keys, limits, and the cpuset."""
    data = json.loads(runtime.run("events", "--stats", "web").stdout)["data"]
    memory = {name: held for name, held in data["memory"].items() if name != "cache"}
    return {
        "cpuset": data["cpuset"],
        "cpu": sorted(data["cpu"]["usage"]),
        "pids": data["pids"]["limit"],
        "hugetlb": sorted(data["hugetlb"]),
        "rest": sorted(data),
        "limits": {name: held.get("limit") for name, held in memory.items()},
        # runc 1.1 does not know memory.peak, which version 2 has since Linux 5.19.
        "memory": {name: sorted(held.keys() - {"max"}) for name, held in memory.items()},
    }


@pytest.mark.requires("runc")
def test_events_have_runcs_shape(oci: Runtime, tmp_path: Path) -> None:
    theirs = Runtime(tmp_path / "runc", oci.bundle, "runc")
    told = []
    for runtime in (theirs, oci):
        runtime.config(args=["sh", "-c", SERVE])
        config = json.loads((oci.bundle / "config.json").read_text())
        config["linux"]["cgroupsPath"] = "/minirun/web"
        config["linux"]["resources"]["memory"] = {"limit": 64 << 20}
        config["linux"]["resources"]["pids"] = {"limit": 50}
        (oci.bundle / "config.json").write_text(json.dumps(config))
        runtime.create("web")
        runtime.quiet("start", "web")
        told.append(_told_by_events(runtime))
        runtime.delete_all()
    assert told[1] == told[0]


def test_features_and_version_need_no_globals() -> None:
    shown = json.loads(subprocess.check_output([MINIRUN, "features"]))
    assert shown["ociVersionMax"] == "1.3.0"
    assert "rro" in shown["mountOptions"]
    assert "CAP_SYS_ADMIN" in shown["linux"]["capabilities"]
    lines = subprocess.check_output([MINIRUN, "--version"], text=True).splitlines()
    assert next(line for line in lines if "version" in line).startswith("minirun-oci version ")
    assert any(line.startswith("commit:") for line in lines)
