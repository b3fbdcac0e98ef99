"""A config.json with something wrong in it: any answer is fine but a trace, a hang or a leftover.

Starts from a config that works and changes up to three places: another type, another size, a name
that climbs, a property too many or too few. What comes out is a container, which is then deleted,
or one MinirunError. The witness of every test looks for what was left behind.

Two places are never changed to anything at random, because they are obeyed: where the root is
(``/`` would be this machine's), and where the control group goes.
"""

from __future__ import annotations

import copy
import json
import os
from time import monotonic
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.security.lab import SHIFTED_MAP, Bundle, attempt, default_config

pytestmark = pytest.mark.requires("root", "busybox", "userns", "seccomp")

SECONDS = 12.0
Path = tuple[str | int, ...]

#: Properties that the plain config lacks, so that there is more to break.
EXTRA: dict[str, Any] = {
    "domainname": "domain",
    "annotations": {"a": "b"},
    "hooks": {"prestart": [{"path": "/bin/true", "args": ["true"], "timeout": 1}]},
}
LINUX: dict[str, Any] = {
    "maskedPaths": ["/proc/kcore", "/sys/firmware"],
    "readonlyPaths": ["/proc/sys"],
    "rootfsPropagation": "private",
    "sysctl": {"net.ipv4.ip_forward": "1", "kernel.shmmax": "65536"},
    "devices": [{"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 438}],
    "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["swapon"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]},
    "resources": {"pids": {"limit": 64}, "memory": {"limit": 1 << 26}, "cpu": {"shares": 512},
                  "devices": [{"allow": False, "access": "rwm"}]},
    "personality": {"domain": "LINUX"},
    "timeOffsets": {"monotonic": {"secs": 1}},
    "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
}  # fmt: skip
PROCESS: dict[str, Any] = {
    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}],
    "oomScoreAdj": 500,
    "scheduler": {"policy": "SCHED_OTHER", "nice": 1},
    "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
    "execCPUAffinity": {"initial": "0", "final": "0"},
    "consoleSize": {"height": 24, "width": 80},
    "terminal": True,
}
NEVER = {("root",), ("root", "path"), ("linux",), ("linux", "cgroupsPath")}

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64, -(2**70), 1.5]),
    st.sampled_from(["", " ", "x", "..", "../x", "a\0b", "\n", "ü", "\ud800", "x" * 5000, "-1"]),
    st.sampled_from(["/proc", "//dev", "/dev/../x", "/proc/self/fd/7", "tmpfs", "bind", "user"]),
    st.sampled_from([[], {}, [[]], {"": ""}, ["x"] * 200, [None], {"type": "mount"}]),
)


def rich_config() -> dict[str, Any]:
    config = default_config()
    config["linux"]["namespaces"] += [{"type": "user"}, {"type": "time"}, {"type": "cgroup"}]
    config["linux"] |= {"uidMappings": SHIFTED_MAP, "gidMappings": SHIFTED_MAP}
    return {
        **config,
        **copy.deepcopy(EXTRA),
        "process": {**config["process"], **copy.deepcopy(PROCESS)},
        "linux": {**config["linux"], **copy.deepcopy(LINUX)},
    }


def places(value: Any, path: Path = ()) -> list[Path]:  # noqa: ANN401 - JSON
    """Return the path of every value inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found: list[Path] = []
    for key, held in items:
        found.append((*path, key))
        if isinstance(held, (dict, list)):
            found += places(held, (*path, key))
    return found


PLACES = [path for path in places(rich_config()) if path not in NEVER]
CHANGE = st.tuples(st.sampled_from(PLACES), st.sampled_from(["set", "drop", "twice"]), VALUES)
OPTIONAL = sorted((*EXTRA, *LINUX, *PROCESS, "uidMappings"))


def change(config: dict[str, Any], path: Path, how: str, value: Any) -> None:  # noqa: ANN401
    """Change one place, if an earlier change has left it there."""
    at: Any = config
    for key in path[:-1]:
        try:
            at = at[key]
        except (KeyError, IndexError, TypeError):
            return
    key = path[-1]
    if isinstance(at, dict) and how == "drop":
        at.pop(key, None)
    elif isinstance(at, list) and how == "twice":
        at.append(copy.deepcopy(at[-1]) if at else value)
    elif isinstance(at, dict):
        at[key] = value
    elif isinstance(at, list) and int(key) < len(at):
        at[int(key)] = value


def leave_out(config: dict[str, Any], names: set[str]) -> None:
    """Take optional properties away, and what depends on them."""
    linux, process = config["linux"], config["process"]
    for part in (config, linux, process):
        for name in names:
            part.pop(name, None)
    if "terminal" in names:
        process.pop("consoleSize", None)
    if "uidMappings" in names:
        linux.pop("gidMappings", None)
        linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != "user"]


class Watch:
    """Until when there is time for another one, and what came of those so far."""

    def __init__(self) -> None:
        self.deadline = monotonic() + SECONDS
        self.started = self.refused = 0


def test_any_config_is_run_or_refused(bundle: Bundle) -> None:
    watch = Watch()

    @settings(
        max_examples=500,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(CHANGE, min_size=0, max_size=3), st.sets(st.sampled_from(OPTIONAL)))
    def try_one(changes: list[tuple[Path, str, Any]], kept: set[str]) -> None:
        if monotonic() > watch.deadline:
            return
        config = rich_config()
        leave_out(config, set(OPTIONAL) - kept)
        for path, how, value in changes:
            change(config, path, how, value)
        bundle.config = config
        outcome = attempt(bundle, timeout_s=15)
        shown = json.dumps(changes)
        assert not outcome.crash, (shown, outcome.crash)
        assert "Traceback" not in outcome.output, shown
        assert "\n" not in outcome.error.strip(), (shown, outcome)
        left = [name for name in os.listdir(bundle.state_root) if name[0] != "."]
        assert not left, (shown, outcome, left)
        watch.started += outcome.ran
        watch.refused += bool(outcome.error)

    try_one()

    assert watch.started > 5, vars(watch)
    assert watch.refused > 20, vars(watch)
