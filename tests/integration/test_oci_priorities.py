"""Properties that runc 1.1 does not know, so that the kernel has to be the witness.

Scheduling, disk priority, NUMA policy, personality, clocks and CPUs: each is read back where the
kernel tells it, for the container's own process and, where it matters, for one that joins it.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.oci_lab import Runtime

pytestmark = pytest.mark.requires("root", "busybox", "cgroups")

DAY_S = 86_400
CPUS = sorted(os.sched_getaffinity(0))


def configure(oci: Runtime, linux: dict[str, Any], **process: Any) -> None:  # noqa: ANN401
    """Write a config.json of a container that sleeps, with some properties changed."""
    oci.config(**{"args": ["sleep", "1000"], **process})
    path = oci.bundle / "config.json"
    config = json.loads(path.read_text())
    config["linux"]["namespaces"] += linux.pop("namespaces", [])
    config["linux"] |= linux
    path.write_text(json.dumps(config))


def served(oci: Runtime, linux: dict[str, Any], **process: Any) -> int:  # noqa: ANN401
    """Create and start it; return its pid."""
    configure(oci, linux, **process)
    oci.create("set")
    oci.quiet("start", "set")
    return oci.pid("set")


def inside(oci: Runtime, *words: str) -> str:
    """Return what a command prints that joins the container."""
    done = oci.run("exec", "set", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_scheduler_and_disk_priority_are_set(oci: Runtime) -> None:
    scheduler = {"policy": "SCHED_BATCH", "nice": 7}
    priority = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    pid = served(oci, {}, scheduler=scheduler, ioPriority=priority)
    assert os.sched_getscheduler(pid) == os.SCHED_BATCH
    assert os.getpriority(os.PRIO_PROCESS, pid) == 7
    told = subprocess.check_output(["ionice", "-p", str(pid)], text=True)
    assert told == "best-effort: prio 6\n"


def test_realtime_is_given_or_its_want_is_told(oci: Runtime) -> None:
    """What if the kernel hands out real time by group, and ours has none? Then hear why."""
    look = "read line < /proc/self/stat; set -- $line; echo ${40} ${41}"
    first = {"policy": "SCHED_FIFO", "priority": 3}
    configure(oci, {}, args=["sh", "-c", look], scheduler=first)
    done = oci.run("run", "set")
    if done.returncode == 0:
        assert done.stdout == "3 1\n"
    else:
        assert "scheduler failed: sched_setattr(0): EPERM" in done.stderr
        assert "hint: real time needs" in done.stderr


def test_memory_policy_binds_to_its_nodes(oci: Runtime) -> None:
    policy = {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}
    pid = served(oci, {"memoryPolicy": policy})
    lines = Path(f"/proc/{pid}/numa_maps").read_text().splitlines()
    assert lines
    assert all(line.split()[1] == "bind=static:0" for line in lines if "vdso" not in line)
    assert "bind=static:0" in inside(oci, "cat", "/proc/self/numa_maps")


def test_personality_is_a_32_bit_machine(oci: Runtime) -> None:
    pid = served(oci, {"personality": {"domain": "LINUX32"}})
    assert int(Path(f"/proc/{pid}/personality").read_text(), 16) == 0x8
    assert int(inside(oci, "cat", "/proc/self/personality"), 16) == 0x8


def test_clocks_are_moved_in_a_time_namespace(oci: Runtime) -> None:
    offsets = {"boottime": {"secs": 30 * DAY_S}, "monotonic": {"secs": DAY_S, "nanosecs": 5}}
    pid = served(oci, {"namespaces": [{"type": "time"}], "timeOffsets": offsets})
    ours = float(Path("/proc/uptime").read_text().split()[0])
    theirs = float(inside(oci, "cat", "/proc/uptime").split()[0])
    assert theirs - ours == pytest.approx(30 * DAY_S, abs=600)
    assert os.stat(f"/proc/{pid}/ns/time").st_ino != os.stat("/proc/self/ns/time").st_ino
    told = Path(f"/proc/{pid}/timens_offsets").read_text().split()
    assert told == ["monotonic", str(DAY_S), "5", "boottime", str(30 * DAY_S), "0"]


def test_time_namespace_is_joined_by_path(oci: Runtime) -> None:
    offsets = {"boottime": {"secs": 30 * DAY_S}}
    pid = served(oci, {"namespaces": [{"type": "time"}], "timeOffsets": offsets})
    joined = {"namespaces": [{"type": "time", "path": f"/proc/{pid}/ns/time"}]}
    configure(oci, joined, args=["readlink", "/proc/self/ns/time"])
    done = oci.run("run", "joins")
    assert done.stdout.strip() == os.readlink(f"/proc/{pid}/ns/time"), done.stderr


@pytest.mark.skipif(len(CPUS) < 2, reason="missing feature: a second CPU")
def test_exec_runs_on_its_cpus(oci: Runtime) -> None:
    """The list is for a command that joins; the container's own process keeps all CPUs."""
    affinity = {"initial": str(CPUS[0]), "final": str(CPUS[-1])}
    pid = served(oci, {}, execCPUAffinity=affinity)
    assert sorted(os.sched_getaffinity(pid)) == CPUS
    status = inside(oci, "grep", "Cpus_allowed_list", "/proc/self/status")
    assert status.split() == ["Cpus_allowed_list:", str(CPUS[-1])]


def test_domain_name_is_set(oci: Runtime) -> None:
    configure(oci, {}, args=["cat", "/proc/sys/kernel/domainname"])
    path = oci.bundle / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"domainname": "lab.test"}))
    assert oci.run("run", "set").stdout == "lab.test\n"
