"""What a host may give away, read from trees like the kernel's."""

from __future__ import annotations

import os
from pathlib import Path

from scheduler.engines.capacity import Capacity, Cpuset, devices_of
from scheduler.observed import Grant

MIB = 1 << 20


def nodes(folder: Path, *cpus: str, memory_kb: int = 1_000_000) -> Path:
    """Write a host with so many NUMA nodes; return where the kernel would list them."""
    for number, listed in enumerate(cpus):
        node = folder / f"node{number}"
        node.mkdir(parents=True)
        (node / "cpulist").write_text(f"{listed}\n")
        (node / "meminfo").write_text(f"Node {number} MemTotal:  {memory_kb} kB\n")
    (folder / "meminfo").write_text("MemTotal: 4000000 kB\nMemAvailable: 123 kB\n")
    return folder


def test_a_node_is_its_cpus_and_its_memory(tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    host = Capacity([], nodes(tmp_path, str(cpu)), tmp_path).host(cordoned=False)
    (node,) = host.nodes
    assert (node.id, node.cpu_millis) == ("node0", 900)
    assert node.memory_bytes == int(1_000_000 * 1024 * 0.95)
    assert host.memory_free_bytes == 123 * 1024


def test_a_host_without_nodes_is_one(tmp_path: Path) -> None:
    capacity = Capacity([], nodes(tmp_path), tmp_path)
    (node,) = capacity.nodes
    assert node.cpu_millis == max(500, 1000) * len(os.sched_getaffinity(0)) - 100
    assert node.memory_bytes == int(4_000_000 * 1024 * 0.95)
    assert capacity.cpuset((Grant("node0"),)) == Cpuset()


def test_cpus_that_we_may_not_use_are_nobody_s(tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    capacity = Capacity([], nodes(tmp_path, f"{cpu}", "4090-4095"), tmp_path)
    assert [node.id for node in capacity.nodes] == ["node0"]


def test_a_replica_is_pinned_where_there_is_a_choice(tmp_path: Path) -> None:
    first, second, *_ = [*sorted(os.sched_getaffinity(0)), 0]
    capacity = Capacity(["/dev/null"], nodes(tmp_path, f"{first}", f"{second}"), tmp_path)
    if first == second:
        return
    assert capacity.cpuset((Grant("node1"),)) == Cpuset(f"{second}", "1")
    both = capacity.cpuset((Grant("node1"), Grant("node0")))
    assert both == Cpuset(f"{first},{second}", "0,1")
    assert capacity.cpuset(()) == capacity.cpuset((Grant("gone"),)) == Cpuset()
    assert [node.gpus for node in capacity.nodes] == [("/dev/null",), ()]


def test_a_device_brings_only_the_companions_that_exist() -> None:
    assert devices_of((Grant("node0", gpus=("/dev/null", "/dev/zero")),)) == (
        "/dev/null",
        "/dev/zero",
    )
    given = devices_of((Grant("node0", gpus=("/dev/nvidia0",)),))
    assert given[0] == "/dev/nvidia0"
    assert all(os.path.exists(path) for path in given[1:])
