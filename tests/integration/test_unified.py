"""Containers on cgroup v2, from create to delete, through runc's command line.

What the kernel says is asked of the kernel: the group's own files, and the container's view of
them. These tests run where the unified hierarchy has its controllers; elsewhere ``make test-vm``
has a machine for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.unified_lab import Json, Lab, laboratory, wait_for

pytestmark = pytest.mark.requires("root", "cgroup2", "busybox")

MIB = 1 << 20
EATER = "x=abcdefghijklmnop; while true; do x=$x$x; done"
#: A device that anybody may open who is not kept from it by the group: /dev/fuse.
FUSE = {"type": "c", "major": 10, "minor": 229}
OPEN = "[ -c /tmp/fuse ] || mknod /tmp/fuse c 10 229; true 3<>/tmp/fuse && echo opened"


@pytest.fixture
def lab(state_root: Path, data_root: Path) -> Iterator[Lab]:
    with laboratory(state_root, data_root) as made:
        yield made


def test_limits_are_in_the_group_and_gone_with_it(lab: Lab) -> None:
    lab.linux["resources"] = {
        "memory": {"limit": 64 * MIB, "swap": 64 * MIB, "reservation": 32 * MIB},
        "pids": {"limit": 20},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000},
        "unified": {"memory.high": str(48 * MIB)},
    }
    lab.start("sleep 1000")
    assert lab.read("memory.max") == str(64 * MIB)
    assert lab.read("memory.swap.max") == "0"
    assert lab.read("memory.low") == str(32 * MIB)
    assert lab.read("memory.high") == str(48 * MIB)
    assert lab.read("pids.max") == "20"
    assert lab.read("cpu.max") == "50000 100000"
    assert lab.read("cpu.weight") == "59"
    lab.call("update", "--pids-limit", "30", "c")
    assert lab.read("pids.max") == "30"
    assert lab.read("memory.max") == str(64 * MIB)
    lab.call("delete", "--force", "c")
    assert not lab.group.exists()


def test_container_sees_its_own_group_as_the_top(lab: Lab) -> None:
    lab.linux["resources"] = {"memory": {"limit": 64 * MIB}}
    lab.mount_cgroup("ro")
    said = lab.run(
        "cat /proc/self/cgroup /sys/fs/cgroup/memory.max; "
        "mkdir /sys/fs/cgroup/inner 2>&1; grep -c cgroup2 /proc/self/mountinfo"
    )
    top, limit, refused, mounts = said.splitlines()
    assert (top, limit, mounts) == ("0::/", str(64 * MIB), "1")
    assert "Read-only file system" in refused


def test_without_a_cgroup_namespace_only_its_own_group_is_mounted(lab: Lab) -> None:
    """What if the tree of the host were mounted instead? The container would see every group."""
    lab.linux["namespaces"] = [n for n in lab.linux["namespaces"] if n["type"] != "cgroup"]
    lab.linux["resources"] = {"memory": {"limit": 64 * MIB}}
    lab.mount_cgroup("ro")
    said = lab.run("cat /sys/fs/cgroup/memory.max; ls /sys/fs/cgroup | grep slice; true")
    assert said.split() == [str(64 * MIB)]


def test_out_of_memory_kills_and_is_counted(lab: Lab) -> None:
    lab.linux["resources"] = {"memory": {"limit": 32 * MIB, "swap": 32 * MIB}}
    lab.script(EATER)
    lab.call("create", "c")
    lab.call("start", "c")
    wait_for(lambda: lab.status() == "stopped")
    assert "oom_kill 1" in lab.read("memory.events").splitlines()


def test_pids_limit_holds_inside(lab: Lab) -> None:
    lab.linux["resources"] = {"pids": {"limit": 3}}
    assert "can't fork" in lab.run("(sleep 9 & sleep 9 & sleep 9 & sleep 9 &) 2>&1; true")


@pytest.mark.parametrize("resources", [None, {}, {"devices": [{"allow": False, "access": "rwm"}]}])
def test_devices_of_the_host_cannot_be_opened(lab: Lab, resources: Json | None) -> None:
    """What if the spec says nothing of devices? A node can be made, and not be opened."""
    if resources is not None:
        lab.linux["resources"] = resources
    assert "opened" not in lab.run(f"{OPEN} 2>&1; echo x >/dev/null")


def test_update_leaves_the_device_rules_alone(lab: Lab) -> None:
    lab.linux["resources"] = {"devices": [{"allow": True, **FUSE, "access": "rw"}]}
    lab.start("sleep 1000")
    assert lab.call("exec", "c", "/bin/sh", "-c", OPEN).stdout == "opened\n"
    lab.call("update", "--pids-limit", "30", "c")
    assert lab.call("exec", "c", "/bin/sh", "-c", OPEN).stdout == "opened\n"


def test_pause_freezes_the_group_and_resume_thaws_it(lab: Lab) -> None:
    lab.start("sleep 1000")
    lab.call("pause", "c")
    assert lab.status() == "paused"
    assert "frozen 1" in lab.read("cgroup.events").splitlines()
    lab.call("resume", "c")
    assert lab.status() == "running"


def test_delete_kills_everybody_even_when_frozen(lab: Lab) -> None:
    """What if the container made groups inside, and is paused? cgroup.kill reaches them all."""
    lab.mount_cgroup("rw")
    lab.start(
        "cd /sys/fs/cgroup; mkdir -p a/b; (echo 0 >a/b/cgroup.procs; sleep 1000) & "
        "mkdir done; sleep 1000"
    )
    wait_for(lambda: (lab.group / "done").exists() and lab.read("a/b/cgroup.procs") != "")
    lab.call("pause", "c")
    lab.call("delete", "--force", "c")
    assert not lab.group.exists()


def test_exec_joins_init_where_it_has_moved_inside(lab: Lab) -> None:
    """What if the container is an init system? Its top group hands controllers down."""
    lab.mount_cgroup("rw")
    lab.start(
        "cd /sys/fs/cgroup; mkdir init; echo 1 >init/cgroup.procs; "
        "echo '+memory' >cgroup.subtree_control; mkdir done; sleep 1000"
    )
    wait_for((lab.group / "done").exists)
    assert lab.call("exec", "c", "cat", "/proc/self/cgroup").stdout == "0::/init\n"


def test_root_of_a_user_namespace_owns_its_group_and_no_limit(lab: Lab) -> None:
    """What if an unprivileged systemd runs inside? It needs groups; the limits are not its own."""
    lab.user_namespace()
    lab.linux["resources"] = {"pids": {"limit": 20}}
    lab.mount_cgroup("rw")
    said = lab.run(
        "cd /sys/fs/cgroup; mkdir inner && echo 0 >inner/cgroup.procs && cat /proc/self/cgroup; "
        "echo max >pids.max; cat pids.max"
    )
    assert said.splitlines()[0] == "0::/inner"
    assert said.splitlines()[-1] == "20"


def test_group_stays_the_hosts_where_the_mount_is_read_only(lab: Lab) -> None:
    lab.user_namespace()
    lab.mount_cgroup("ro")
    lab.start("sleep 1000")
    assert lab.group.stat().st_uid == 0
