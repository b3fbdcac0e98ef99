"""A running container as the kernel sees it, read from /proc and the control groups.

Nothing here is remembered by minirun: it is what is true, to be compared with what was asked for.

See: proc(5), namespaces(7), capabilities(7), cgroups(7). Next: ``usage.py``.
"""

from __future__ import annotations

import os

from .. import capabilities
from ..container.sizes import human_size
from ..errors import StateError
from ..host import probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..container.entry import ContainerRecord
    from .home import Home

_KINDS = ("mnt", "pid", "uts", "ipc", "net", "cgroup", "user", "time")
_SECCOMP = {"0": "off", "1": "strict", "2": "filter"}
#: Files worth seeing, of both versions; those that are not there are left out.
_FILES = (
    *("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.max_usage_in_bytes"),
    *("memory.max", "memory.current", "memory.peak", "memory.swap.max"),
    *("memory.memsw.limit_in_bytes", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares"),
    *("cpu.max", "cpu.weight", "cpuset.cpus", "cpuset.mems", "pids.max", "pids.current"),
    *("devices.list", "freezer.state", "cgroup.freeze"),
)


def look(home: Home, record: ContainerRecord) -> dict[str, Any]:
    """Return what the kernel tells about a container's first process and its groups.

    Raises:
        StateError: it is not running.
    """
    pid = record.state.pid
    if record.state.status not in ("running", "paused"):
        raise StateError(
            f"container {record.name} is not running: the kernel knows nothing of it",
            hint=f"minirun start {record.name}",
        )
    try:
        status = _status(pid)
        runtime = home.place(record.id).container()
        groups = runtime.driver(runtime.state()).dirs
        return {
            "Id": record.id,
            "Name": record.name,
            "Pid": pid,
            "PidInside": int(status["NSpid"].split()[-1]),
            "Namespaces": _namespaces(pid),
            "UidMap": _lines(f"/proc/{pid}/uid_map"),
            "GidMap": _lines(f"/proc/{pid}/gid_map"),
            "Cgroups": dict(groups),
            "CgroupFiles": _files(groups),
            "Mounts": list(map(_mount, _lines(f"/proc/{pid}/mountinfo"))),
            "Capabilities": _capabilities(status["CapBnd"]),
            "CapabilitySets": {k: status[k] for k in status if k.startswith("Cap")},
            "Seals": _seals(status),
            "Network": _network(record, pid),
        }
    except FileNotFoundError as error:
        raise StateError(f"container {record.name} has just ended") from error


def _status(pid: int) -> Mapping[str, str]:
    pairs = (line.partition(":") for line in _lines(f"/proc/{pid}/status"))
    return {name: value.strip() for name, _, value in pairs}


def _lines(path: str) -> list[str]:
    with open(path, encoding="utf-8", errors="replace") as file:
        return [" ".join(line.split()) for line in file]


def _namespaces(pid: int) -> dict[str, dict[str, Any]]:
    """Return the inode of each namespace beside ours: equal numbers are one namespace."""
    known = probe().namespaces
    found = {}
    for kind in (kind for kind in _KINDS if kind in known):
        theirs, ours = (os.stat(f"/proc/{who}/ns/{kind}").st_ino for who in (pid, "self"))
        found[kind] = {"Inode": theirs, "Host": ours, "Shared": theirs == ours}
    return found


def _files(groups: Mapping[str, str]) -> dict[str, str]:
    """Return the values in the groups' files; large numbers are told as sizes too."""
    found = {}
    for folder in dict.fromkeys(groups.values()):
        for name in _FILES:
            try:
                with open(f"{folder}/{name}", encoding="ascii") as file:
                    text = "; ".join(file.read().split("\n")).removesuffix("; ")
            except OSError:
                continue
            is_size = name.startswith("memory.") and text.isdecimal()
            found[name] = f"{text} ({human_size(int(text))})" if is_size else text
    return found


def _mount(line: str) -> str:
    """Return target, type and options of a line of mountinfo. See: proc_pid_mountinfo(5)."""
    fields, _, tail = line.partition(" - ")
    words = fields.split()
    shared = [word for word in words[6:] if word.startswith(("shared", "master"))]
    return f"{words[4]} {tail.split()[0]} {words[5]}" + (f" {' '.join(shared)}" if shared else "")


def _capabilities(bounding: str) -> dict[str, str]:
    """Return what its processes can ever get, and what each permits."""
    names = capabilities.names(int(bounding, 16))
    return {name: capabilities.CAPABILITIES.get(name, "newer than this table") for name in names}


def _seals(status: Mapping[str, str]) -> dict[str, str]:
    seccomp = _SECCOMP.get(status.get("Seccomp", "0"), "unknown")
    filters = status.get("Seccomp_filters", "")
    return {
        "seccomp": f"{seccomp} ({filters} loaded)" if filters else seccomp,
        "no_new_privs": "yes" if status.get("NoNewPrivs") == "1" else "no",
        "effective uid": status["Uid"].split()[1],
    }


def _network(record: ContainerRecord, pid: int) -> dict[str, str]:
    """Return its interfaces, and the other end of its cable on the host."""
    attachment = record.state.attachment
    links = [line.partition(":")[0] for line in _lines(f"/proc/{pid}/net/dev")[2:]]
    found = {"mode": record.options.network.mode, "interfaces": ", ".join(links)}
    if attachment.ip:
        from ..network.leases import veth_name

        veth = veth_name(attachment.ip)
        found |= {"address": attachment.ip, "mac": attachment.mac, "gateway": attachment.gateway}
        found["peer"] = f"{veth} on {attachment.bridge}"
        found["ports"] = ", ".join(attachment.ports)
    return found
