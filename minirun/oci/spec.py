"""write a config.json to begin with.

See: runc-spec(8). Next: ``../spec.py``.
"""

from __future__ import annotations

import os

from ..errors import MinirunError
from ..quickjson import pretty
from .words import FLAG, VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .report import Report
    from .words import Call

OPTIONS = {"bundle": VALUE, "rootless": FLAG}

_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_MASKED = """
    /proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list
    /proc/timer_stats /proc/sched_debug /proc/scsi /sys/firmware
""".split()
_READONLY = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger".split()


def main(call: Call, report: Report) -> int:
    """Write it, but never over one that is there."""
    del report
    path = os.path.join(call.text("bundle", "."), "config.json")
    text = pretty(default(rootless=call.flag("rootless")), step="\t")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise MinirunError("File config.json exists. Remove it first", hint=path) from error
    return 0


def default(*, rootless: bool = False) -> dict[str, Any]:
    """Return runc's default: a shell on a read-only root, with three capabilities."""
    kinds = ["pid", "network", "ipc", "uts", "mount", "cgroup"]
    linux: dict[str, Any] = {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "namespaces": [{"type": kind} for kind in kinds],
        "maskedPaths": _MASKED,
        "readonlyPaths": _READONLY,
    }
    if rootless:
        linux = _rootless(linux)
    return {
        "ociVersion": "1.3.0",
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "minirun",
        "mounts": _mounts(rootless=rootless),
        "linux": linux,
    }


def _rootless(linux: dict[str, Any]) -> dict[str, Any]:
    """One id is mapped, the caller's own; limits need a group that was delegated to him."""
    namespaces = [{"type": k} for k in ("pid", "ipc", "uts", "mount", "cgroup", "user")]
    return {
        **{name: held for name, held in linux.items() if name != "resources"},
        "namespaces": namespaces,
        "uidMappings": [{"containerID": 0, "hostID": os.geteuid(), "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": os.getegid(), "size": 1}],
    }


def _mounts(*, rootless: bool) -> list[dict[str, Any]]:
    quiet = ["nosuid", "noexec", "nodev"]
    terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    sys_mount = _mount("/sys", "sysfs", "sysfs", [*quiet, "ro"])
    if rootless:
        # A user namespace without a network of its own may not mount a sysfs.
        sys_mount = _mount("/sys", "none", "/sys", ["rbind", *quiet, "ro"])
    return [
        _mount("/proc", "proc", "proc", []),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", terminals + ([] if rootless else ["gid=5"])),
        _mount("/dev/shm", "tmpfs", "shm", [*quiet, "mode=1777", "size=65536k"]),
        _mount("/dev/mqueue", "mqueue", "mqueue", quiet),
        sys_mount,
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*quiet, "relatime", "ro"]),
    ]


def _mount(destination: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    mount: dict[str, Any] = {"destination": destination, "type": kind, "source": source}
    return {**mount, "options": options} if options else mount
