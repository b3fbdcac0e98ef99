"""Limits as data: what each property of linux.resources becomes on each version."""

from __future__ import annotations

import doctest
from typing import Any

import pytest

import minirun.cgroups
from minirun.cgroups import limits, open_driver
from minirun.cgroups.hierarchy import Hierarchy
from minirun.cgroups.limits import shares_to_weight
from minirun.cgroups.resources import notes, writes
from minirun.decode import decode
from minirun.errors import HostError, SpecError, UsageError
from minirun.host import Host
from minirun.record import replace
from minirun.spec_resources import Resources

V2 = Host()
V1_NAMES = (
    "cpu cpuacct cpuset memory devices freezer blkio pids hugetlb rdma net_cls net_prio"
).split()
V1 = Host(
    cgroup_mode="v1",
    controllers={
        name: Hierarchy(mount=f"/cg/{name}", own=f"/cg/{name}", base=f"/cg/{name}", version=1)
        for name in V1_NAMES
    },
    cgroup2=None,
)
MIB = 1 << 20
Lines = list[tuple[str, str]]


def lines(given: dict[str, Any], host: Host) -> Lines:
    found = writes(decode(Resources, given), host)
    return [(write.file, write.text) for write in found]


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(0, 0), (1, 1), (2, 1), (1024, 100), (262144, 10000), (300000, 10000), (512, 59), (2048, 174)],
)
def test_shares_map_meets_both_defaults_and_both_ends(shares: int, weight: int) -> None:
    assert shares_to_weight(shares) == weight


def test_shares_map_never_falls() -> None:
    weights = [shares_to_weight(shares) for shares in range(2, 262145, 7)]
    assert weights == sorted(weights)


BOTH: list[tuple[dict[str, Any], Lines, Lines]] = [
    ({}, [], []),
    (
        {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}},
        [("memory.limit_in_bytes", "67108864"), ("memory.memsw.limit_in_bytes", "100663296")],
        [("memory.swap.max", "33554432"), ("memory.max", "67108864")],
    ),
    (
        {"memory": {"limit": 64 * MIB, "swap": 64 * MIB}},
        [("memory.limit_in_bytes", "67108864"), ("memory.memsw.limit_in_bytes", "67108864")],
        [("memory.swap.max", "0"), ("memory.max", "67108864")],
    ),
    (
        {"memory": {"limit": 64 * MIB, "swap": -1}},
        [("memory.limit_in_bytes", "67108864"), ("memory.memsw.limit_in_bytes", "-1")],
        [("memory.swap.max", "max"), ("memory.max", "67108864")],
    ),
    (
        {"memory": {"limit": -1}},
        [("memory.limit_in_bytes", "-1"), ("memory.memsw.limit_in_bytes", "-1")],
        [("memory.swap.max", "max"), ("memory.max", "max")],
    ),
    ({"memory": {"limit": 0, "swap": 0, "reservation": 0}}, [], []),
    (
        {"memory": {"reservation": 5 * MIB}},
        [("memory.soft_limit_in_bytes", "5242880")],
        [("memory.low", "5242880")],
    ),
    ({"memory": {"kernel": 1}}, [], []),
    ({"cpu": {"shares": 1024}}, [("cpu.shares", "1024")], [("cpu.weight", "100")]),
    ({"cpu": {"shares": 0, "quota": 0, "period": 0}}, [], []),
    (
        {"cpu": {"quota": 50000, "period": 100000}},
        [("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "50000")],
        [("cpu.max", "50000 100000")],
    ),
    ({"cpu": {"quota": -1}}, [("cpu.cfs_quota_us", "-1")], [("cpu.max", "max")]),
    ({"cpu": {"quota": 20000}}, [("cpu.cfs_quota_us", "20000")], [("cpu.max", "20000")]),
    ({"cpu": {"period": 50000}}, [("cpu.cfs_period_us", "50000")], [("cpu.max", "max 50000")]),
    (
        {"cpu": {"quota": 20000, "burst": 10000}},
        [("cpu.cfs_quota_us", "20000"), ("cpu.cfs_burst_us", "10000")],
        [("cpu.max", "20000"), ("cpu.max.burst", "10000")],
    ),
    (
        {"cpu": {"shares": 512, "idle": 1}},
        [("cpu.shares", "512"), ("cpu.idle", "1")],
        [("cpu.idle", "1")],
    ),
    (
        {"cpu": {"cpus": "0-3", "mems": "0"}},
        [("cpuset.cpus", "0-3"), ("cpuset.mems", "0")],
        [("cpuset.cpus", "0-3"), ("cpuset.mems", "0")],
    ),
    ({"pids": {}}, [], []),
    ({"pids": {"limit": 0}}, [("pids.max", "0")], [("pids.max", "0")]),
    ({"pids": {"limit": -1}}, [("pids.max", "max")], [("pids.max", "max")]),
    (
        {"blockIO": {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}},
        [("blkio.weight", "500"), ("blkio.weight_device", "8:0 10")],
        [("io.bfq.weight", "default 500"), ("io.bfq.weight", "8:0 10")],
    ),
    (
        {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 0}]}},
        [("blkio.throttle.read_bps_device", "8:0 0")],
        [("io.max", "8:0 rbps=max")],
    ),
    (
        {"blockIO": {"throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 7}]}},
        [("blkio.throttle.write_iops_device", "8:0 7")],
        [("io.max", "8:0 wiops=7")],
    ),
    (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]},
        [("hugetlb.2MB.limit_in_bytes", "4194304"), ("hugetlb.2MB.rsvd.limit_in_bytes", "4194304")],
        [("hugetlb.2MB.max", "4194304"), ("hugetlb.2MB.rsvd.max", "4194304")],
    ),
    (
        {"rdma": {"mlx5_0": {"hcaHandles": 3, "hcaObjects": 9}}},
        [("rdma.max", "mlx5_0 hca_handle=3 hca_object=9")],
        [("rdma.max", "mlx5_0 hca_handle=3 hca_object=9")],
    ),
]


@pytest.mark.parametrize(("given", "v1", "v2"), BOTH, ids=[str(row[0]) for row in BOTH])
def test_writes_speak_both_versions(given: dict[str, Any], v1: Lines, v2: Lines) -> None:
    assert lines(given, V1) == v1
    assert lines(given, V2) == v2


@pytest.mark.parametrize(
    ("given", "v1"),
    [
        ({"memory": {"swappiness": 0}}, [("memory.swappiness", "0")]),
        ({"memory": {"disableOOMKiller": True}}, [("memory.oom_control", "1")]),
        ({"memory": {"kernelTCP": 9}}, [("memory.kmem.tcp.limit_in_bytes", "9")]),
        ({"network": {"classID": 1048577}}, [("net_cls.classid", "1048577")]),
        (
            {"network": {"priorities": [{"name": "eth0", "priority": 5}]}},
            [("net_prio.ifpriomap", "eth0 5")],
        ),
        ({"blockIO": {"leafWeight": 10}}, [("blkio.leaf_weight", "10")]),
        (
            {"cpu": {"realtimeRuntime": 95, "realtimePeriod": 100}},
            [("cpu.rt_period_us", "100"), ("cpu.rt_runtime_us", "95")],
        ),
    ],
)
def test_what_only_v1_has_is_refused_by_name_on_v2(given: dict[str, Any], v1: Lines) -> None:
    assert lines(given, V1) == v1
    with pytest.raises(HostError, match=r"does not exist on cgroup v2") as caught:
        lines(given, V2)
    assert caught.value.hint


def test_harmless_v1_defaults_pass_on_v2() -> None:
    assert lines({"memory": {"disableOOMKiller": False, "kernelTCP": -1}}, V2) == []


def test_unified_is_written_last_and_line_by_line() -> None:
    given = {"unified": {"io.max": "8:0 rbps=1\n8:16 rbps=2", "cgroup.max.depth": "3"}}
    expected = [("io.max", "8:0 rbps=1"), ("io.max", "8:16 rbps=2"), ("cgroup.max.depth", "3")]
    assert lines(given | {"pids": {"limit": 5}}, V2) == [("pids.max", "5"), *expected]


@pytest.mark.parametrize(
    "name", ["../memory.max", "memory/../../x.y", "a/memory.max", "memory", ".max", "cgroup.procs"]
)
def test_unified_refuses_names_that_are_no_limits(name: str) -> None:
    with pytest.raises(SpecError, match=r"\$\.linux\.resources\.unified"):
        lines({"unified": {name: "1"}}, V2)


def test_unified_is_refused_on_v1() -> None:
    with pytest.raises(HostError, match=r"memory\.high needs cgroup v2"):
        lines({"unified": {"memory.high": "1"}}, V1)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"memory": {"limit": -2}}, "memory.limit"),
        ({"memory": {"limit": 64, "swap": 63}}, "memory.swap"),
        ({"memory": {"swap": 64}}, "memory.swap"),
        ({"pids": {"limit": -2}}, "pids.limit"),
        ({"cpu": {"quota": -2}}, "cpu.quota"),
        ({"cpu": {"quota": 999}}, "cpu.quota"),
        ({"cpu": {"period": 999}}, "cpu.period"),
        ({"cpu": {"period": 1000001}}, "cpu.period"),
        ({"cpu": {"quota": 5000, "burst": 5001}}, "cpu.burst"),
        ({"cpu": {"idle": 2}}, "cpu.idle"),
        ({"cpu": {"cpus": "1-x"}}, "cpu.cpus"),
        ({"blockIO": {"weight": 9}}, "blockIO.weight"),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 1 << 63}]}, "hugepageLimits[0].limit"),
    ],
)
@pytest.mark.parametrize("host", [V1, V2], ids=["v1", "v2"])
def test_values_out_of_range_name_their_path(given: dict[str, Any], path: str, host: Host) -> None:
    with pytest.raises(SpecError) as caught:
        lines(given, host)
    assert caught.value.path == f"$.linux.resources.{path}"


def test_shares_that_the_kernel_would_clamp_are_refused_on_v1() -> None:
    with pytest.raises(SpecError, match=r"1 is not between 2 and 262144"):
        lines({"cpu": {"shares": 1}}, V1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cpu": {"cpus": "0-8"}}, "this host has no CPU 8, asked for in .0-8."),
        ({"cpu": {"mems": "1"}}, "this host has no memory node 1"),
        ({"hugepageLimits": [{"pageSize": "16GB", "limit": 0}]}, "no pages of 16GB"),
    ],
)
def test_what_the_machine_does_not_have_is_a_host_error(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(HostError, match=message) as caught:
        lines(given, V2)
    assert "it has" in caught.value.hint


@pytest.mark.parametrize("host", [V1, V2], ids=["v1", "v2"])
def test_swap_without_accounting_is_refused_only_where_it_would_limit(host: Host) -> None:
    without = replace(host, swap_accounting=False)
    with pytest.raises(HostError, match="does not account swap"):
        lines({"memory": {"limit": 64, "swap": 96}}, without)
    assert lines({"memory": {"limit": -1}}, without)


@pytest.mark.parametrize(
    ("given", "controller"),
    [
        ({"memory": {"limit": 64}}, "memory"),
        ({"memory": {"limit": 64, "swap": 96}}, "memory"),
        ({"pids": {"limit": 64}}, "pids"),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}, "hugetlb"),
        ({"rdma": {"x": {"hcaHandles": 1}}}, "rdma"),
    ],
)
@pytest.mark.parametrize("host", [V1, V2], ids=["v1", "v2"])
def test_missing_controller_is_named(given: dict[str, Any], controller: str, host: Host) -> None:
    rest = {name: at for name, at in host.controllers.items() if name != controller}
    with pytest.raises(HostError, match=f"needs the {controller} controller") as caught:
        lines(given, replace(host, controllers=rest, swap_accounting="memory" in rest))
    assert caught.value.hint


def test_hybrid_host_may_keep_hugetlb_in_the_v2_tree() -> None:
    hybrid = replace(V1, controllers={**V1.controllers, "hugetlb": V2.controllers["hugetlb"]})
    given = {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}
    assert ("hugetlb.2MB.max", "0") in lines(given, hybrid)


def test_kernel_memory_is_noted_where_given() -> None:
    assert notes(decode(Resources, {"memory": {"kernel": 64}}))[0].startswith("memory.kernel")
    assert notes(decode(Resources, {"memory": {"kernel": -1, "limit": 64}})) == ()


@pytest.mark.parametrize("path", ["", "/", "..", "/a/../b", "a/..", "./a", "a\nb"])
def test_open_driver_refuses_paths_out_of_the_tree(path: str) -> None:
    with pytest.raises(SpecError, match="cgroupsPath"):
        open_driver(V1, path)


def test_open_driver_places_relative_paths_below_the_base() -> None:
    user = Hierarchy(mount="/cg", own="/cg/user/shell", base="/cg/user")
    host = Host(controllers={"memory": user}, cgroup2=user)
    assert dict(open_driver(host, "minirun/x").dirs) == {"": "/cg/user/minirun/x"}
    assert dict(open_driver(host, "/minirun//x/").dirs) == {"": "/cg/minirun/x"}


def test_open_driver_knows_its_managers() -> None:
    with pytest.raises(UsageError, match="'docker'"):
        open_driver(V1, "a", "docker")
    with pytest.raises(HostError, match="systemd"):
        open_driver(V1, "a", "systemd")


def test_open_driver_needs_a_hierarchy() -> None:
    with pytest.raises(HostError, match="no cgroup hierarchy") as caught:
        open_driver(Host(cgroup_mode="v1", controllers={}, cgroup2=None), "a")
    assert "mount -t cgroup2" in caught.value.hint


def test_disabled_refuses_limits_and_nothing_else() -> None:
    driver = open_driver(V2, "a", "disabled")
    driver.create()
    driver.apply(None)
    driver.apply(Resources())
    with pytest.raises(HostError, match=r"pids\.max cannot be set"):
        driver.apply(decode(Resources, {"pids": {"limit": 5}}))
    with pytest.raises(HostError, match="pausing"):
        driver.freeze()
    assert driver.pids() == []


def test_doctests_hold() -> None:
    assert doctest.testmod(limits).failed == 0
    assert doctest.testmod(minirun.cgroups).failed == 0
