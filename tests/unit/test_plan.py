"""The order of a start: each constraint that plan.py names, as a test on data."""

from __future__ import annotations

from typing import Any

import pytest

from minirun.decode import decode
from minirun.errors import SpecError
from minirun.flags import Clone
from minirun.host import Host, probe
from minirun.plan import Filter, Plan, Setting, plan_create
from minirun.record import replace
from minirun.spec import Spec
from minirun.steps.overlay import Overlay

GROUPS = (("memory", "/sys/fs/cgroup/memory/minirun/x"),)
CONFIG = {"ociVersion": "1.2.0", "root": {"path": "r"}, "linux": {"namespaces": [{"type": "pid"}]}}
KINDS = ("mount", "pid", "uts", "ipc", "network", "cgroup")


def plan(*, remapped: bool = False, nnp: bool = True, cgroup: bool = True, **linux: Any) -> Plan:  # noqa: ANN401
    """Return the plan of a container that has something of everything."""
    namespaces = [{"type": kind} for kind in (*KINDS, *(["user"] if remapped else []))]
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}] if remapped else []
    hook = [{"path": "/bin/true"}]
    config = {
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "x",
        "process": {
            "cwd": "/",
            "args": ["true"],
            "terminal": True,
            "noNewPrivileges": nnp,
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1, "soft": 1}],
        },
        "mounts": [
            {"destination": "/proc", "type": "proc"},
            {"destination": "/v", "type": "bind", "source": "/srv", "options": ["rbind"]},
        ],
        "hooks": {k: hook for k in ("createRuntime", "createContainer", "startContainer")},  # noqa: C420
        "linux": {
            "namespaces": namespaces,
            "uidMappings": maps,
            "gidMappings": maps,
            "maskedPaths": ["/proc/keys"],
            "readonlyPaths": ["/proc/sys"],
            **linux,
        },
    }
    setting = Setting(
        "x",
        "/run/x/rootfs",
        overlay=Overlay(("/l",), "/u", "/w"),
        cgroup="minirun/x" if cgroup else "",
        cgroup_directories=GROUPS if cgroup else (),
        seccomp=Filter(b"\0" * 8),
        network="veth",
    )
    return plan_create(decode(Spec, config), probe(), setting)


def order(made: Plan, *ids: str) -> list[int]:
    """Return the place of the first step of each title or id."""
    found = []
    for wanted in ids:
        found.append(next(i for i, s in enumerate(made.steps) if wanted in (s.id, s.title)))
    return found


CONSTRAINTS = [
    ("create-cgroup", "fork-init"),
    ("fork-init", "join-cgroup"),
    ("join-cgroup", "unshare-rest"),
    ("unshare-rest", "make-mounts-private"),
    ("make-mounts-private", "mount-rootfs"),
    ("mount-rootfs", "bind-rootfs"),
    ("bind-rootfs", "open-rootfs"),
    ("open-rootfs", "mount /proc"),
    ("mount /proc", "make-devices"),
    ("make-devices", "pivot-root"),
    ("attach-network", "hooks createRuntime"),
    ("hooks createRuntime", "hooks createContainer"),
    ("hooks createContainer", "pivot-root"),
    ("pivot-root", "readonly-root"),
    ("pivot-root", "mask-paths"),
    ("readonly-paths", "mask-paths"),
    ("rlimits", "identity"),
    ("mask-paths", "identity"),
    ("identity", "find-executable"),
    ("find-executable", "save-state"),
    ("save-state", "wait-for-start"),
    ("wait-for-start", "hooks startContainer"),
    ("hooks startContainer", "close-fds"),
    ("close-fds", "execve"),
]


@pytest.mark.parametrize(("first", "second"), CONSTRAINTS)
def test_plan_keeps_the_kernel_s_order(first: str, second: str) -> None:
    before, after = order(plan(), first, second)
    assert before < after


def test_plan_filters_system_calls_as_late_as_it_can() -> None:
    closed, loaded, gone = order(plan(nnp=True), "close-fds", "seccomp", "execve")
    assert closed < loaded < gone
    loaded, identity = order(plan(nnp=False), "seccomp", "identity")
    assert loaded < identity
    assert sum(step.id == "seccomp" for step in plan(nnp=False).steps) == 1


def test_plan_with_a_user_namespace_maps_before_it_joins() -> None:
    ids = ("create-user-namespace", "open-trees", "idmap-layers", "mount-rootfs")
    places = order(plan(remapped=True), *ids, "join-namespace user", "become-root", "unshare-pid")
    assert places == sorted(places)
    assert plan(remapped=True).find("make-devices").bind  # type: ignore[attr-defined]


def test_plan_without_a_cgroup_has_no_cgroup_steps() -> None:
    ids = {step.id for step in plan(cgroup=False).steps}
    assert not ids & {"create-cgroup", "join-cgroup"}


def test_plan_joins_the_user_namespace_first_and_mounts_last() -> None:
    paths = [{"type": k, "path": f"/proc/1/ns/{k}"} for k in ("mount", "pid", "network", "user")]
    joins = [s.kind for s in plan(namespaces=paths).steps if s.id == "join-namespace"]  # type: ignore[attr-defined]
    assert (joins[0], joins[-1]) == (Clone.CLONE_NEWUSER, Clone.CLONE_NEWNS)
    assert len(joins) == 4


def test_plan_refuses_an_idmap_without_mappings() -> None:
    config = {
        "ociVersion": "1.2.0",
        "root": {"path": "r"},
        "mounts": [{"destination": "/v", "source": "/v", "options": ["bind", "idmap"]}],
    }
    with pytest.raises(SpecError, match="no mappings") as caught:
        plan_create(decode(Spec, config), probe(), Setting("x", "/r"))
    assert caught.value.path == "$.mounts[0]"


def test_plan_without_anything_to_join_has_nobody_in_between() -> None:
    lanes = "".join(step.lane for step in plan().steps)
    assert lanes.startswith("RRI")
    assert "M" not in lanes


@pytest.mark.parametrize("kind", ["user", "time", "network"])
def test_plan_that_enters_what_cannot_be_left_has_somebody_in_between(kind: str) -> None:
    others = [{"type": other} for other in KINDS if other != kind]
    entry = {"type": kind, **({"path": "/proc/1/ns/net"} if kind == "network" else {})}
    made = plan(remapped=kind == "user", namespaces=[*others, entry])
    fork, group, init = order(made, "fork-intermediate", "join-cgroup", "fork-init")
    assert fork < group < init
    assert {made.steps[group].lane, made.steps[init].lane} == {"M"}


def test_plan_of_a_user_or_for_systemd_has_somebody_in_between() -> None:
    """Neither may take the host's PID namespace back, nor name a pid from inside its own."""
    spec, setting = decode(Spec, CONFIG), Setting("x", "/r")
    assert plan_create(spec, Host(), setting).find("fork-init").lane == "R"
    for host, manager in ((Host(uid=1000), "cgroupfs"), (Host(), "systemd")):
        made = plan_create(spec, host, replace(setting, cgroup_manager=manager))
        assert made.find("fork-init").lane == "M"


def test_plan_has_its_lanes_in_one_piece() -> None:
    """Once init lives, the intermediate has ended: no step of lane M may follow fork-init."""
    lanes = [step.lane for step in plan(remapped=True).steps]
    last = max(i for i, lane in enumerate(lanes) if lane == "M")
    assert plan(remapped=True).steps[last].id == "fork-init"
