"""Containers as systemd scopes; systemctl is the witness."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from minirun.cgroups.systemd import SystemdDriver
from minirun.decode import decode
from minirun.errors import StepError
from minirun.host import probe
from minirun.lifecycle import Container, Request
from minirun.spec import Spec
from tests.integration.unified_lab import Lab, laboratory, wait_for

pytestmark = pytest.mark.requires("root", "cgroup2", "busybox", "systemd")

MIB = 1 << 20
NAME = f"minirun-test{os.getpid()}.scope"


@pytest.fixture
def lab(state_root: Path, data_root: Path) -> Iterator[Lab]:
    with laboratory(state_root, data_root, "systemd") as made:
        made.linux["cgroupsPath"] = f"system.slice:minirun:test{os.getpid()}"
        yield made
    wait_for(lambda: shown("LoadState") == "not-found")


def shown(name: str) -> str:
    """Return a property of the scope as systemd knows it."""
    argv = ["systemctl", "show", "--value", "--property", name, NAME]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def group(file: str) -> str:
    return Path("/sys/fs/cgroup/system.slice", NAME, file).read_text().strip()


def test_container_is_a_scope_with_its_limits(lab: Lab) -> None:
    lab.linux["resources"] = {
        "memory": {"limit": 64 * MIB},
        "pids": {"limit": 20},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000},
    }
    lab.start("sleep 1000")
    assert (shown("ActiveState"), shown("Slice"), shown("Delegate")) == (
        *("active", "system.slice", "yes"),
    )
    assert (shown("MemoryMax"), shown("TasksMax")) == (str(64 * MIB), "20")
    assert (shown("CPUWeight"), shown("CPUQuotaPerSecUSec")) == ("59", "500ms")
    assert (group("memory.max"), group("pids.max")) == (str(64 * MIB), "20")
    assert (group("cpu.max"), group("cpu.weight")) == ("50000 100000", "59")


def test_update_survives_a_reload_of_systemd(lab: Lab) -> None:
    """What if systemd wrote its own idea of the limits again? It must be the same."""
    lab.linux["resources"] = {"memory": {"limit": 64 * MIB}, "pids": {"limit": 20}}
    lab.start("sleep 1000")
    lab.call("update", "--pids-limit", "30", "c")
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    assert (group("pids.max"), group("memory.max")) == ("30", str(64 * MIB))
    assert shown("TasksMax") == "30"


def test_exec_pause_and_delete_work_as_without_systemd(lab: Lab) -> None:
    lab.start("sleep 1000")
    said = lab.call("exec", "c", "cat", "/proc/self/cgroup").stdout
    assert said == "0::/\n"
    lab.call("pause", "c")
    assert lab.status() == "paused"
    lab.call("delete", "--force", "c")
    wait_for(lambda: shown("LoadState") == "not-found")


def test_init_that_ran_out_of_memory_leaves_no_failed_unit(lab: Lab) -> None:
    lab.linux["resources"] = {"memory": {"limit": 32 * MIB, "swap": 32 * MIB}}
    lab.start("x=abcdefghijklmnop; while true; do x=$x$x; done")
    wait_for(lambda: lab.status() == "stopped")
    lab.call("delete", "c")
    wait_for(lambda: shown("LoadState") == "not-found")


def test_device_rules_hold_under_systemd(lab: Lab) -> None:
    open_it = "mknod /tmp/fuse c 10 229; true 3<>/tmp/fuse && echo opened"
    assert "opened" not in lab.run(f"({open_it}) 2>&1; true")


def test_second_container_of_a_name_is_refused(lab: Lab) -> None:
    lab.start("sleep 1000")
    refused = lab.call("run", "d", check=False)
    assert refused.code == 1
    assert f"unit {NAME} exists" in refused.stderr


def test_create_that_loses_the_race_for_a_name_leaves_the_winner_alone(
    lab: Lab, state_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What if both looked before either had started its scope? Here the second never looks."""
    lab.start("sleep 1000")
    monkeypatch.setattr(SystemdDriver, "exists", lambda _: False)
    late = Container(str(state_root), "late", probe())
    request = Request("late", str(lab.bundle), cgroup_manager="systemd")
    with pytest.raises(StepError, match="systemd refuses StartTransientUnit"):
        late.create(decode(Spec, lab.config), request)
    assert shown("ActiveState") == "active"
    assert lab.status() == "running"


def test_path_without_a_slice_is_refused_before_anything_happens(lab: Lab) -> None:
    lab.linux["cgroupsPath"] = "minirun/web"
    refused = lab.call("run", "c", check=False)
    assert "the systemd manager expects slice:prefix:name" in refused.stderr
    assert lab.call("list", "-q").stdout == ""


def test_default_path_is_a_scope_of_the_system_slice(lab: Lab) -> None:
    del lab.linux["cgroupsPath"]
    lab.linux["namespaces"] = [n for n in lab.linux["namespaces"] if n["type"] != "cgroup"]
    assert lab.run("cat /proc/self/cgroup") == "0::/system.slice/minirun-c.scope\n"
