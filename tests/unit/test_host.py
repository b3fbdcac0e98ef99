"""The facts of a host: parsed from text that other machines print, and probed on this one."""

from __future__ import annotations

import doctest
import os
import platform
from pathlib import Path

import pytest

import minirun.host
from minirun.cgroups.hierarchy import parse_mounts, parse_own
from minirun.cgroups.limits import expand_list
from minirun.host import Host, hugepage_name, parse_release, probe


def test_default_host_is_a_modern_v2_machine() -> None:
    host = Host()
    assert host.cgroup_mode == "v2"
    assert host.controllers["memory"].base == "/sys/fs/cgroup"
    assert {"openat2", "cgroup_kill", "idmapped_mounts"} <= host.features
    assert host.cpus == 8


@pytest.mark.parametrize(
    ("kernel", "has", "lacks"),
    [
        ((5, 4, 0), "mount_api", "openat2"),
        ((5, 10, 0), "close_range", "mount_setattr"),
        ((5, 13, 9), "mount_setattr", "cgroup_kill"),
        ((6, 14, 0), "cgroup_kill", "pidfd_exit_info"),
    ],
)
def test_features_follow_the_release(kernel: tuple[int, int, int], has: str, lacks: str) -> None:
    assert has in Host(kernel=kernel).features
    assert lacks not in Host(kernel=kernel).features


@pytest.mark.parametrize(
    ("release", "numbers"),
    [
        ("6.18.44-fc-v669", (6, 18, 44)),
        ("5.10.0-28-amd64", (5, 10, 0)),
        ("6.1.0+", (6, 1, 0)),
        ("5.15-custom", (5, 15, 0)),
        ("4.4.302", (4, 4, 302)),
    ],
)
def test_parse_release_ignores_the_suffix(release: str, numbers: tuple[int, int, int]) -> None:
    assert parse_release(release) == numbers


@pytest.mark.parametrize(("kilobytes", "name"), [(64, "64KB"), (2048, "2MB"), (1048576, "1GB")])
def test_hugepage_name_is_spelled_as_the_controller_does(kilobytes: int, name: str) -> None:
    assert hugepage_name(kilobytes) == name


@pytest.mark.parametrize(
    ("text", "numbers"), [("", []), ("0", [0]), ("0-2,5", [0, 1, 2, 5]), ("3,1-1\n", [1, 3])]
)
def test_expand_list(text: str, numbers: list[int]) -> None:
    assert sorted(expand_list(text)) == numbers


@pytest.mark.parametrize("text", ["a", "1-", "-1", "3-1", "1 2", "0-99999999999"])
def test_expand_list_refuses_what_is_no_list(text: str) -> None:
    with pytest.raises(ValueError, match=r"is (neither|not a range)"):
        expand_list(text)


def test_parse_own_splits_shared_and_named_hierarchies() -> None:
    text = "5:cpu,cpuacct:/a\n1:name=systemd:/user.slice/x:y\n0::/b"
    assert parse_own(text) == {
        "cpu": "/a",
        "cpuacct": "/a",
        "name=systemd": "/user.slice/x:y",
        "": "/b",
    }


def test_parse_mounts_reads_both_versions_and_escapes() -> None:
    lines = [
        "36 25 0:32 / /sys/fs/cgroup/cpu,cpuacct rw shared:1 - cgroup cgroup rw,cpu,cpuacct",
        "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755",
        r"42 24 0:27 /docker/1 /mnt/my\040groups rw master:2 - cgroup2 cgroup2 rw,nsdelegate",
    ]
    assert list(parse_mounts(lines)) == [
        (["rw", "cpu", "cpuacct"], "/", "/sys/fs/cgroup/cpu,cpuacct", 1),
        ([""], "/docker/1", "/mnt/my groups", 2),
    ]


def test_probe_agrees_with_other_witnesses() -> None:
    host = probe()
    assert ".".join(map(str, host.kernel)) == platform.release().partition("-")[0]
    assert host.uid == os.geteuid()
    assert host.cpus == os.cpu_count()
    assert host.namespaces >= {"mnt", "pid", "net", "uts", "ipc", "user"}
    assert host.bounding >> (host.last_cap + 1) == 0
    total = Path("/proc/meminfo").read_text().split()[1]
    assert host.memory_bytes == int(total) * 1024


def test_probe_finds_our_own_group_in_every_hierarchy() -> None:
    own = str(os.getpid())
    for name, where in probe().controllers.items():
        assert own in Path(where.own, "cgroup.procs").read_text().split(), name


def test_doctests_hold() -> None:
    assert doctest.testmod(minirun.host).failed == 0
