"""validate: each property of config.json is accepted, or refused with its JSON path and a hint."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minirun.decode import decode
from minirun.errors import HostError, SpecError
from minirun.host import Host
from minirun.spec import Spec
from minirun.validate import validate
from minirun.validate.isolation import normalized

Json = dict[str, Any]

BASE: Json = {
    "ociVersion": "1.2.0",
    "root": {"path": "rootfs"},
    "process": {"cwd": "/", "args": ["true"], "env": ["A=1"]},
    "linux": {"namespaces": [{"type": t} for t in ("mount", "pid", "uts", "ipc", "network")]},
}
RANGE = {"containerID": 0, "hostID": 100000, "size": 65536}


def config(path: str, value: object) -> Json:
    """Return BASE with the property at ``$.a.b`` set."""
    made = copy.deepcopy(BASE)
    *parents, last = path.removeprefix("$.").split(".")
    at = made
    for name in parents:
        at = at.setdefault(name, {})
    at[last] = value
    return made


def check(document: Json, host: Host | None = None) -> None:
    validate(decode(Spec, document), host or Host())


def with_namespace(path: str, value: object, *kinds: str | Json) -> Json:
    made = config(path, value)
    made["linux"]["namespaces"] += [k if isinstance(k, dict) else {"type": k} for k in kinds]
    return made


def test_base_is_valid() -> None:
    check(BASE)


ACCEPTED: list[tuple[str, object]] = [
    *(("$.ociVersion", version) for version in ("1.0.0", "1.3.0", "1.0.2-dev", "1.9.9")),
    ("$.process.user", {"uid": 1000, "gid": 1000, "umask": 0o777, "additionalGids": [5]}),
    ("$.process.oomScoreAdj", -1000),
    ("$.process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}]),
    ("$.process.scheduler", {"policy": "SCHED_FIFO", "priority": 99}),
    ("$.process.scheduler", {"policy": "SCHED_BATCH", "nice": 19}),
    (
        "$.process.scheduler",
        {"policy": "SCHED_DEADLINE", "runtime": 2000, "deadline": 3000, "period": 3000},
    ),
    ("$.process.ioPriority", {"class": "IOPRIO_CLASS_BE", "priority": 7}),
    ("$.process.execCPUAffinity", {"initial": "0-3,7", "final": ""}),
    ("$.process.apparmorProfile", "unconfined"),
    ("$.hostname", "web"),
    ("$.domainname", "example.org"),
    ("$.hooks", {"prestart": [{"path": "/bin/true", "timeout": 1, "env": ["A=1"]}]}),
    ("$.mounts", [{"destination": "/proc", "type": "proc"}]),
    ("$.mounts", [{"destination": "/data", "source": "/x", "options": ["rbind", "idmap"]}]),
    ("$.linux.sysctl", {"net.core.somaxconn": "1", "net/ipv4/ip_forward": "1", "kernel.sem": "1"}),
    ("$.linux.sysctl", {"fs.mqueue.msg_max": "1", "kernel.domainname": "x"}),
    ("$.linux.devices", [{"type": "p", "path": "/dev/fifo"}]),
    ("$.linux.devices", [{"type": "c", "path": "/dev/x", "major": 1, "minor": 3}]),
    ("$.linux.rootfsPropagation", "rslave"),
    ("$.linux.personality", {"domain": "LINUX32"}),
    ("$.linux.memoryPolicy", {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
    ("$.linux.netDevices", {"eth1": {"name": "data0"}}),
    ("$.linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"]}),
    ("$.linux.resources", {"memory": {"limit": 1 << 26}, "devices": [{"allow": False}]}),
]


@pytest.mark.parametrize(("path", "value"), ACCEPTED)
def test_accepts(path: str, value: object) -> None:
    check(config(path, value))


# property, value, path of the error when it is not the property itself
REFUSED: list[tuple[str, object, str]] = [
    *(("$.ociVersion", v, "") for v in ("2.0.0", "0.9.0", "1", "1.x.0", "", "1.²")),
    ("$.root.path", "", ""),
    ("$.process.cwd", "tmp", ""),
    ("$.process.args", [], ""),
    ("$.process.args", [""], "$.process.args"),
    ("$.process.env", ["=x"], "$.process.env[0]"),
    ("$.process.env", ["A=1", "B"], "$.process.env[1]"),
    ("$.process.consoleSize", {"height": 1, "width": 1}, ""),
    ("$.process.user.umask", 0o1000, ""),
    ("$.process.user.uid", 2**32 - 1, ""),
    ("$.process.user.additionalGids", [2**32 - 1], "$.process.user.additionalGids[0]"),
    ("$.process.capabilities.bounding", ["CAP_NOPE"], "$.process.capabilities.bounding[0]"),
    ("$.process.capabilities.effective", ["CAP_CHOWN"], "$.process.capabilities.effective[0]"),
    (
        "$.process.rlimits",
        [{"type": "RLIMIT_X", "soft": 1, "hard": 1}],
        "$.process.rlimits[0].type",
    ),
    (
        "$.process.rlimits",
        [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}],
        "$.process.rlimits[0].soft",
    ),
    (
        "$.process.rlimits",
        [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2,
        "$.process.rlimits[1]",
    ),
    ("$.process.apparmorProfile", "docker-default", ""),
    ("$.process.selinuxLabel", "system_u:x", ""),
    ("$.process.oomScoreAdj", 1001, ""),
    ("$.process.scheduler", {"policy": "SCHED_X"}, "$.process.scheduler.policy"),
    ("$.process.scheduler", {"policy": "SCHED_OTHER", "nice": 20}, "$.process.scheduler.nice"),
    ("$.process.scheduler", {"policy": "SCHED_FIFO", "nice": 1}, "$.process.scheduler.nice"),
    ("$.process.scheduler", {"policy": "SCHED_RR"}, "$.process.scheduler.priority"),
    (
        "$.process.scheduler",
        {"policy": "SCHED_OTHER", "priority": 1},
        "$.process.scheduler.priority",
    ),
    ("$.process.scheduler", {"policy": "SCHED_OTHER", "runtime": 9}, "$.process.scheduler.runtime"),
    (
        "$.process.scheduler",
        {"policy": "SCHED_DEADLINE", "runtime": 9000, "deadline": 8000},
        "$.process.scheduler.runtime",
    ),
    (
        "$.process.scheduler",
        {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_X"]},
        "$.process.scheduler.flags[0]",
    ),
    ("$.process.ioPriority", {"class": "RT"}, "$.process.ioPriority.class"),
    (
        "$.process.ioPriority",
        {"class": "IOPRIO_CLASS_RT", "priority": 8},
        "$.process.ioPriority.priority",
    ),
    ("$.process.execCPUAffinity", {"initial": "3-1"}, "$.process.execCPUAffinity.initial"),
    ("$.process.execCPUAffinity", {"final": "a"}, "$.process.execCPUAffinity.final"),
    ("$.hooks", {"poststop": [{"path": "true"}]}, "$.hooks.poststop[0].path"),
    (
        "$.hooks",
        {"createRuntime": [{"path": "/x", "timeout": 0}]},
        "$.hooks.createRuntime[0].timeout",
    ),
    ("$.mounts", [{"destination": "data", "type": "tmpfs"}], "$.mounts[0].destination"),
    ("$.mounts", [{"destination": "/a/../..", "type": "tmpfs"}], "$.mounts[0].destination"),
    ("$.mounts", [{"destination": "/", "type": "tmpfs"}], "$.mounts[0].destination"),
    ("$.mounts", [{"destination": "/a", "type": "bind"}], "$.mounts[0].source"),
    (
        "$.mounts",
        [{"destination": "/a", "source": "/", "options": ["bind", "size=1"]}],
        "$.mounts[0].options",
    ),
    (
        "$.mounts",
        [{"destination": "/a", "type": "bind", "source": "/", "options": ["sync"]}],
        "$.mounts[0].options",
    ),
    (
        "$.mounts",
        [{"destination": "/a", "type": "cgroup", "options": ["nsdelegate"]}],
        "$.mounts[0].options",
    ),
    (
        "$.mounts",
        [{"destination": "/a", "type": "tmpfs", "options": ["remount"]}],
        "$.mounts[0].options",
    ),
    (
        "$.mounts",
        [{"destination": "/a", "type": "proc", "options": ["tmpcopyup"]}],
        "$.mounts[0].options",
    ),
    ("$.mounts", [{"destination": "/proc/", "type": "tmpfs"}], "$.mounts[0].type"),
    ("$.mounts", [{"destination": "/sys", "type": "tmpfs"}], "$.mounts[0].type"),
    (
        "$.mounts",
        [{"destination": "/a", "source": "/a", "options": ["bind"], "uidMappings": [RANGE]}],
        "$.mounts[0].uidMappings",
    ),
    (
        "$.mounts",
        [{"destination": "/a", "type": "tmpfs", "options": ["idmap"]}],
        "$.mounts[0].uidMappings",
    ),
    ("$.linux.namespaces", [{"type": "pid"}], "$.linux.namespaces"),
    ("$.linux.namespaces", [{"type": "net"}], "$.linux.namespaces[0].type"),
    ("$.linux.namespaces", [{"type": "mount"}] * 2, "$.linux.namespaces[1]"),
    ("$.linux.namespaces", [{"type": "mount", "path": "x"}], "$.linux.namespaces[0].path"),
    ("$.linux.namespaces", [{"type": "mount"}, {"type": "user"}], "$.linux.uidMappings"),
    ("$.linux.uidMappings", [RANGE], ""),
    ("$.linux.sysctl", {"kernel.hostname": "x"}, "$.linux.sysctl.kernel.hostname"),
    ("$.linux.sysctl", {"vm.swappiness": "1"}, "$.linux.sysctl.vm.swappiness"),
    ("$.linux.sysctl", {"kernel/../vm": "1"}, "$.linux.sysctl.kernel/../vm"),
    ("$.linux.sysctl", {"kernel.shmXYZ": "1"}, "$.linux.sysctl.kernel.shmXYZ"),
    ("$.linux.timeOffsets", {"monotonic": {"secs": 1}}, ""),
    ("$.linux.cgroupsPath", "/a/../../b", ""),
    ("$.linux.mountLabel", "x", ""),
    ("$.linux.rootfsPropagation", "loose", ""),
    ("$.linux.maskedPaths", ["proc"], "$.linux.maskedPaths[0]"),
    ("$.linux.readonlyPaths", ["/a", "b"], "$.linux.readonlyPaths[1]"),
    ("$.linux.personality", {"domain": "BSD"}, "$.linux.personality.domain"),
    ("$.linux.personality", {"domain": "LINUX", "flags": ["X"]}, "$.linux.personality.flags"),
    ("$.linux.memoryPolicy", {"mode": "X"}, "$.linux.memoryPolicy.mode"),
    (
        "$.linux.memoryPolicy",
        {"mode": "MPOL_BIND", "flags": ["X"]},
        "$.linux.memoryPolicy.flags[0]",
    ),
    ("$.linux.memoryPolicy", {"mode": "MPOL_BIND", "nodes": "x"}, "$.linux.memoryPolicy.nodes"),
    ("$.linux.intelRdt", {"closID": "gold"}, "$.linux.intelRdt"),
    ("$.linux.netDevices", {"eth/0": {}}, "$.linux.netDevices.eth/0"),
    ("$.linux.netDevices", {"eth0": {"name": "x" * 16}}, "$.linux.netDevices.eth0.name"),
    ("$.linux.netDevices", {"a": {"name": "c"}, "b": {"name": "c"}}, "$.linux.netDevices[1]"),
    ("$.linux.devices", [{"type": "x", "path": "/dev/x"}], "$.linux.devices[0].type"),
    ("$.linux.devices", [{"type": "c", "path": "dev/x"}], "$.linux.devices[0].path"),
    (
        "$.linux.devices",
        [{"type": "c", "path": "/dev/x", "major": -1}],
        "$.linux.devices[0].major",
    ),
    ("$.linux.seccomp", {"defaultAction": "ALLOW"}, "$.linux.seccomp.defaultAction"),
    (
        "$.linux.seccomp",
        {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"]},
        "$.linux.seccomp.flags[0]",
    ),
    (
        "$.linux.seccomp",
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["open"], "action": "SCMP_ACT_NOTIFY"}],
        },
        "$.linux.seccomp.listenerPath",
    ),
    (
        "$.linux.seccomp",
        {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "x"},
        "$.linux.seccomp.listenerPath",
    ),
    (
        "$.linux.resources",
        {"devices": [{"allow": True, "type": "z"}]},
        "$.linux.resources.devices[0].type",
    ),
    ("$.linux.resources", {"pids": {"limit": -2}}, "$.linux.resources.pids.limit"),
]


@pytest.mark.parametrize(("path", "value", "where"), REFUSED)
def test_refuses_with_the_json_path(path: str, value: object, where: str) -> None:
    with pytest.raises(SpecError) as caught:
        check(config(path, value))
    assert caught.value.path == (where or path)


@pytest.mark.parametrize("path", ["$.hostname", "$.domainname"])
def test_names_need_a_namespace(path: str) -> None:
    document = config(path, "x")
    document["linux"]["namespaces"] = [{"type": "mount"}]
    with pytest.raises(SpecError, match="host would be renamed") as caught:
        check(document)
    assert "uts" in caught.value.hint


@pytest.mark.parametrize("name", ["net.core.somaxconn", "kernel.sem", "kernel.domainname"])
def test_sysctl_needs_its_namespace(name: str) -> None:
    document = config("$.linux.sysctl", {name: "1"})
    document["linux"]["namespaces"] = [{"type": "mount"}]
    with pytest.raises(SpecError, match="namespace"):
        check(document)


def test_sysctl_names_may_be_written_with_slashes() -> None:
    assert normalized("net.ipv4.conf.eth0/1.x") == "net.ipv4.conf.eth0/1.x"
    assert normalized("kernel/sem") == "kernel.sem"
    assert normalized("kernel") == "kernel"


def test_time_offsets_in_a_new_namespace() -> None:
    check(with_namespace("$.linux.timeOffsets", {"boottime": {"secs": 1, "nanosecs": 5}}, "time"))
    for bad in ({"realtime": {"secs": 1}}, {"monotonic": {"nanosecs": 10**9}}):
        with pytest.raises(SpecError, match="timeOffsets"):
            check(with_namespace("$.linux.timeOffsets", bad, "time"))


@pytest.mark.parametrize(
    ("ranges", "problem"),
    [
        ([RANGE], ""),
        ([RANGE, {"containerID": 65536, "hostID": 0, "size": 1}], ""),
        ([{"containerID": 0, "hostID": 0, "size": 2**32 - 1}], ""),
        ([RANGE, RANGE], "mapped twice"),
        ([RANGE, {"containerID": 70000, "hostID": 100001, "size": 1}], "mapped twice"),
        ([{**RANGE, "size": 0}], "maps nothing"),
        ([{**RANGE, "hostID": 2**32 - 1}], "not between"),
        ([{"containerID": n, "hostID": n, "size": 1} for n in range(341)], "340"),
    ],
)
def test_mappings_of_a_user_namespace(ranges: list[Json], problem: str) -> None:
    document = with_namespace("$.linux.uidMappings", ranges, "user")
    document["linux"]["gidMappings"] = [RANGE]
    if problem:
        with pytest.raises(SpecError, match=problem):
            check(document)
    else:
        check(document)


def test_joined_user_namespace_brings_its_own_mappings() -> None:
    joined = {"type": "user", "path": "/proc/1/ns/user"}
    check(with_namespace("$.hostname", "x", joined))


def test_net_devices_need_a_network_namespace() -> None:
    document = config("$.linux.netDevices", {"eth1": {}})
    document["linux"]["namespaces"] = [{"type": "mount"}]
    with pytest.raises(SpecError, match="network namespace"):
        check(document)


def test_apparmor_is_accepted_where_the_host_has_it() -> None:
    check(config("$.process.apparmorProfile", "docker-default"), Host(apparmor=True))


def test_namespace_that_the_kernel_lacks() -> None:
    host = Host(namespaces=frozenset({"mnt", "pid"}))
    with pytest.raises(SpecError, match="no uts namespaces"):
        check(BASE, host)


def test_missing_controller_is_the_hosts_fault() -> None:
    document = config("$.linux.resources", {"memory": {"limit": 1 << 26}})
    with pytest.raises(HostError):
        check(document, Host(controllers={}))


WORDS = st.text(max_size=8) | st.sampled_from(
    ["/", "..", "/a", "bind", "CAP_CHOWN", "net.x", "1.0.0"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
PATHS = sorted({path for path, *_ in REFUSED} | {path for path, _ in ACCEPTED})


@settings(max_examples=400)
@given(st.sampled_from(PATHS), VALUES)
def test_any_json_is_accepted_or_refused(path: str, value: object) -> None:
    """What if a property holds anything at all: never another exception than ours."""
    try:
        check(config(path, value))
    except (SpecError, HostError) as error:
        assert str(error)  # noqa: PT017 - either outcome is right
