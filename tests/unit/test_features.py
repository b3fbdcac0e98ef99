"""The features structure: what it lists is accepted, and it tells of the runtime alone."""

from __future__ import annotations

import re
from typing import Any

import pytest

from minirun.decode import decode
from minirun.features import features
from minirun.host import Host
from minirun.mount_options import parse
from minirun.spec import Spec
from minirun.validate import validate

FOUND = features(Host())
LINUX = FOUND["linux"]
#: features.md and features-linux.md of runtime-spec 1.3.
LINUX_NAMES = {
    *("namespaces", "capabilities", "cgroup", "seccomp", "apparmor", "selinux", "intelRdt"),
    *("memoryPolicy", "mountExtensions", "netDevices"),
}
NAMES = {
    *("ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux", "annotations"),
    "potentiallyUnsafeConfigAnnotations",
}


def accept(version: str = "1.3.0", process: dict[str, Any] | None = None, **linux: object) -> None:
    config = {
        "ociVersion": version,
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["true"], **(process or {})},
        "linux": {"namespaces": [{"type": "mount"}], **linux},
    }
    validate(decode(Spec, config), Host())


def test_features_have_the_names_of_the_specification_and_no_others() -> None:
    assert FOUND.keys() == NAMES
    assert LINUX.keys() == LINUX_NAMES


def test_features_do_not_depend_on_the_host() -> None:
    """features.md: they are those of the runtime, whatever the operating system offers."""
    bare = Host(controllers={}, cgroup2=None, namespaces=frozenset({"mnt"}), last_cap=0)
    assert features(bare) == FOUND


def test_supported_flags_depend_on_the_kernel() -> None:
    flag = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
    old = features(Host(kernel=(5, 18, 0)))["linux"]["seccomp"]
    assert flag in old["knownFlags"]
    assert flag not in old["supportedFlags"]
    assert flag in LINUX["seccomp"]["supportedFlags"]


@pytest.mark.parametrize("key", ["ociVersionMin", "ociVersionMax"])
def test_both_ends_of_the_versions_are_accepted(key: str) -> None:
    accept(version=FOUND[key])


def test_everything_listed_is_accepted() -> None:
    mappings = [{"containerID": 0, "hostID": 0, "size": 10}]
    kinds = [{"type": kind} for kind in LINUX["namespaces"]]
    accept(namespaces=kinds, uidMappings=mappings, gidMappings=mappings)
    accept(process={"capabilities": {"bounding": LINUX["capabilities"]}})
    for mode in LINUX["memoryPolicy"]["modes"]:
        accept(memoryPolicy={"mode": mode, "flags": LINUX["memoryPolicy"]["flags"]})
    seccomp = LINUX["seccomp"]
    flags = [name for name in seccomp["supportedFlags"] if "WAIT" not in name]
    accept(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "flags": flags, "syscalls": []})
    for architecture in seccomp["archs"]:
        accept(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "architectures": [architecture]})
    for action in seccomp["actions"]:
        rule = {"names": ["getcwd"], "action": action}
        for op in seccomp["operators"]:
            args = [{"index": 0, "value": 1, "op": op}]
            more = {"listenerPath": "/run/agent"} if action == "SCMP_ACT_NOTIFY" else {}
            rules = [rule | {"args": args}]
            accept(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules, **more})


def test_listed_mount_options_are_no_data_but_those_of_the_superblock() -> None:
    """config.md names them; what is data is for the file system itself to know."""
    data = {word for word in FOUND["mountOptions"] if parse((word,)).data}
    assert data == {"sync", "dirsync", "lazytime", "mand", "iversion"}
    named = (
        "loud silent noiversion nomand async nolazytime defaults tmpcopyup ridmap rro rnosymfollow"
    )
    assert set(named.split()) <= {*FOUND["mountOptions"]}
    assert all(re.fullmatch("[a-z]+", word) for word in FOUND["mountOptions"])
