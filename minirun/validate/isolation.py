"""Namespaces, and what only makes sense inside one: mappings, names, sysctls, clocks, interfaces.

A setting for a namespace that the container does not have would change the host. That is the rule
behind most refusals here.

See: config-linux.md; namespaces(7). Pure. Next: ``filesystem.py``.
"""

from __future__ import annotations

from .rules import absolute, in_range, items, one_of, refuse, unique

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..host import Host
    from ..spec import IdMapping, Linux, Spec

#: The specification's name: the name in /proc/self/ns.
NAMESPACES = {
    **{"pid": "pid", "network": "net", "mount": "mnt", "ipc": "ipc", "uts": "uts"},
    **{"user": "user", "cgroup": "cgroup", "time": "time"},
}
MAX_ID = 2**32 - 1
MAX_MAPPINGS = 340
"""Lines that the kernel takes in uid_map since 4.15. See: user_namespaces(7)."""

_IPC_SYSCTLS = (
    *("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall"),
    *("kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced", "kernel.msg_next_id"),
    *("kernel.sem_next_id", "kernel.shm_next_id"),
)
_CLOCKS = ("monotonic", "boottime")
_INTERFACE_BYTES = 15  # IFNAMSIZ, less the NUL


def check(spec: Spec, host: Host) -> None:
    """Refuse a container whose settings would reach beyond its namespaces."""
    linux = spec.linux
    kinds = check_namespaces(linux, host)
    if spec.hostname and "uts" not in kinds:
        _needs("$.hostname", "uts", "the host would be renamed")
    if spec.domainname and "uts" not in kinds:
        _needs("$.domainname", "uts", "the host would be renamed")
    check_mappings(linux, kinds)
    for name in linux.sysctl:
        check_sysctl(name, kinds)
    _time_offsets(linux)
    _interfaces(linux, kinds)


def _needs(path: str, kind: str, otherwise: str) -> None:
    refuse(path, f"there is no {kind} namespace: {otherwise}", f"add {kind} to $.linux.namespaces")


def check_namespaces(linux: Linux, host: Host) -> frozenset[str]:
    """Return the kinds that the container does not share with the host."""
    path = "$.linux.namespaces"
    for where, entry in items(path, linux.namespaces):
        one_of(f"{where}.type", entry.type, NAMESPACES)
        if entry.path:
            absolute(f"{where}.path", entry.path)
        if NAMESPACES[entry.type] not in host.namespaces:
            refuse(f"{where}.type", f"this kernel has no {entry.type} namespaces")
    unique(path, (entry.type for entry in linux.namespaces), "each kind once")
    kinds = frozenset(entry.type for entry in linux.namespaces)
    if "mount" not in kinds:
        _needs(path, "mount", "the container's mounts would be the host's")
    return kinds


def check_mappings(linux: Linux, kinds: frozenset[str]) -> None:
    """Refuse mappings without a user namespace, and a new one without mappings.

    With a namespace to join, mappings are allowed: engines repeat those that it has.
    """
    pairs = (("uidMappings", linux.uid_mappings), ("gidMappings", linux.gid_mappings))
    joined = any(entry.type == "user" and entry.path for entry in linux.namespaces)
    for name, mappings in pairs:
        path = f"$.linux.{name}"
        if mappings and "user" not in kinds:
            _needs(path, "user", "there is nothing to map")
        if "user" in kinds and not joined and not mappings:
            hint = "for example containerID 0, hostID 100000, size 65536"
            refuse(path, "a new user namespace needs a mapping", hint)
        check_ranges(path, mappings)


def check_ranges(path: str, mappings: tuple[IdMapping, ...]) -> None:
    """Refuse ranges that are empty, overlap or run past the last id (uid_map: EINVAL)."""
    if len(mappings) > MAX_MAPPINGS:
        refuse(path, f"{len(mappings)} mappings; the kernel takes {MAX_MAPPINGS}")
    for where, mapping in items(path, mappings):
        if mapping.size == 0:
            refuse(f"{where}.size", "0 maps nothing", "leave the entry out")
        in_range(where, max(mapping.container_id, mapping.host_id) + mapping.size, 1, MAX_ID)
    for side, label in (("container_id", "containerID"), ("host_id", "hostID")):
        ordered = sorted(items(path, mappings), key=lambda item: getattr(item[1], side))
        for index in range(1, len(ordered)):
            (_, low), (where, high) = ordered[index - 1 : index + 1]
            if getattr(low, side) + low.size > getattr(high, side):
                refuse(f"{where}.{label}", f"{getattr(high, side)} is mapped twice")


def check_sysctl(name: str, kinds: frozenset[str]) -> None:
    """Refuse a sysctl that is not a namespace's own, or whose namespace is the host's."""
    path, dotted = f"$.linux.sysctl.{name}", normalized(name)
    # A name becomes a path below /proc/sys. "/" and "//" are how "." and ".." are spelled here:
    # net/../kernel/core_pattern begins with net, and would be the host's.
    if not {"", "/", "//"}.isdisjoint(dotted.split(".")):
        refuse(path, "not the name of a sysctl", "for example net.core.somaxconn")
    if dotted == "kernel.hostname":
        refuse(path, "the name is set elsewhere", "use $.hostname")
    needed = _sysctl_namespace(dotted)
    if not needed:
        hint = "only net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm* and kernel.domainname"
        refuse(path, "not in a namespace: it would change the host", hint)
    if needed not in kinds:
        _needs(path, needed, "it would change the host")


def normalized(name: str) -> str:
    """Return a sysctl's name with dots between its parts; ``net/ipv4/conf/eth0.1/…`` is the same.

    Whichever of . and / comes first is the separator, and the other one means the first. See:
    sysctl(8).

    >>> normalized("net/ipv4/conf/eth0.1/rp_filter")
    'net.ipv4.conf.eth0/1.rp_filter'
    """
    dot, slash = name.find("."), name.find("/")
    if slash < 0 or 0 <= dot < slash:
        return name
    return name.translate({ord("."): "/", ord("/"): "."})


def _sysctl_namespace(dotted: str) -> str:
    if dotted.startswith("net."):
        return "network"
    if dotted in _IPC_SYSCTLS or dotted.startswith("fs.mqueue."):
        return "ipc"
    return "uts" if dotted == "kernel.domainname" else ""


def _time_offsets(linux: Linux) -> None:
    """Refuse clocks that cannot be moved, and offsets without a new time namespace."""
    path = "$.linux.timeOffsets"
    entry = next((e for e in linux.namespaces if e.type == "time"), None)
    if linux.time_offsets and (entry is None or entry.path):
        problem = "there is no new time namespace: the host's clocks cannot be moved"
        refuse(path, problem, "add time to $.linux.namespaces, without a path")
    for clock, offset in linux.time_offsets.items():
        one_of(f"{path}.{clock}", clock, _CLOCKS)
        in_range(f"{path}.{clock}.nanosecs", offset.nanosecs, 0, 10**9 - 1)


def _interfaces(linux: Linux, kinds: frozenset[str]) -> None:
    """Refuse names that no interface can have. See: netdevice(7)."""
    path = "$.linux.netDevices"
    if linux.net_devices and "network" not in kinds:
        _needs(path, "network", "there is nowhere to move an interface to")
    for name, device in linux.net_devices.items():
        for where, given in (
            (f"{path}.{name}", name),
            (f"{path}.{name}.name", device.name or name),
        ):
            bad = given in ("", ".", "..") or len(given.encode()) > _INTERFACE_BYTES
            if bad or set(given) & set("/: \t\n\v\f\r"):
                hint = "up to 15 bytes, without '/', ':' and white space"
                refuse(where, f"{given!r} is no name of an interface", hint)
    inside = (device.name or name for name, device in linux.net_devices.items())
    unique(path, inside, "two interfaces would have one name")
