"""config.json as frozen facts: runtime-spec 1.3, Linux.

One class per object of the specification, one field per property, in its order. Names are the
specification's in snake_case; camelCase stops here. ``decode.py`` turns JSON into these by reading
the annotations. What a value *means* is checked in ``validate/``, what it *does* is in ``plan.py``.

See: https://github.com/opencontainers/runtime-spec, config.md and config-linux.md.

Pure. Next: ``spec_resources.py``, the limits; then ``plan.py``.
"""

from __future__ import annotations

from .record import EMPTY, Record
from .spec_resources import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import ClassVar

    from .decode import I64, U16, U32, U64


# ── config.md ─────────────────────────────────────────────────────────────────────────────────


class Root(Record):
    path: str
    readonly: bool = False


class IdMapping(Record):
    """``size`` ids from ``container_id`` inside are ``host_id``… outside."""

    __json__: ClassVar = {"container_id": "containerID", "host_id": "hostID"}

    container_id: U32
    host_id: U32
    size: U32


class Mount(Record):
    """One entry of ``mounts``; ``options`` are those of fstab(5) and of config.md."""

    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


class ConsoleSize(Record):
    height: U16
    width: U16


class User(Record):
    uid: U32 = 0
    gid: U32 = 0
    umask: U32 | None = None
    additional_gids: tuple[U32, ...] = ()
    username: str = ""


class Capabilities(Record):
    """The five sets, as names like ``CAP_NET_RAW``. See capabilities(7)."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class Rlimit(Record):
    type: str
    hard: U64
    soft: U64


class Scheduler(Record):
    """See sched_setattr(2); times in nanoseconds."""

    policy: str
    nice: int = 0
    priority: int = 0
    flags: tuple[str, ...] = ()
    runtime: U64 = 0
    deadline: U64 = 0
    period: U64 = 0


class IoPriority(Record):
    __json__: ClassVar = {"klass": "class"}

    klass: str
    priority: int = 0


class ExecCpuAffinity(Record):
    initial: str = ""
    final: str = ""


class Process(Record):
    """What runs, as whom, with which limits. See config.md, Process."""

    __json__: ClassVar = {"exec_cpu_affinity": "execCPUAffinity"}

    cwd: str
    args: tuple[str, ...] = ()
    terminal: bool = False
    console_size: ConsoleSize | None = None
    user: User = User()
    env: tuple[str, ...] = ()
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    apparmor_profile: str = ""
    oom_score_adj: int | None = None
    scheduler: Scheduler | None = None
    selinux_label: str = ""
    io_priority: IoPriority | None = None
    exec_cpu_affinity: ExecCpuAffinity | None = None


class Hook(Record):
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] | None = None
    timeout: int | None = None


class Hooks(Record):
    """Programs to run around a container's life. See config.md, POSIX-platform Hooks."""

    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


# ── config-linux.md ───────────────────────────────────────────────────────────────────────────


class Namespace(Record):
    """A namespace to create, or to join when ``path`` is given."""

    type: str
    path: str = ""


class TimeOffset(Record):
    secs: I64 = 0
    nanosecs: U32 = 0


class Device(Record):
    type: str
    path: str
    major: I64 = 0
    minor: I64 = 0
    file_mode: U32 | None = None
    uid: U32 | None = None
    gid: U32 | None = None


class NetDevice(Record):
    name: str = ""


class IntelRdt(Record):
    """A class of service; what ``enableCMT`` and ``enableMBM`` asked for became one in 1.3."""

    __json__: ClassVar = {
        "clos_id": "closID",
        "enable_cmt": "enableCMT",
        "enable_mbm": "enableMBM",
    }

    clos_id: str = ""
    schemata: tuple[str, ...] = ()
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    enable_monitoring: bool = False
    enable_cmt: bool = False
    enable_mbm: bool = False


class MemoryPolicy(Record):
    mode: str
    nodes: str = ""
    flags: tuple[str, ...] = ()


class Personality(Record):
    domain: str
    flags: tuple[str, ...] = ()


class SeccompArg(Record):
    index: U32
    value: U64
    op: str
    value_two: U64 = 0


class SyscallRule(Record):
    names: tuple[str, ...]
    action: str
    errno_ret: U32 | None = None
    args: tuple[SeccompArg, ...] = ()


class Seccomp(Record):
    """A system call filter. See seccomp(2) and config-linux.md, Seccomp."""

    default_action: str
    default_errno_ret: U32 | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] | None = None
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: tuple[SyscallRule, ...] = ()


class Linux(Record):
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    sysctl: Mapping[str, str] = EMPTY
    resources: Resources | None = None
    cgroups_path: str = ""
    namespaces: tuple[Namespace, ...] = ()
    time_offsets: Mapping[str, TimeOffset] = EMPTY
    devices: tuple[Device, ...] = ()
    net_devices: Mapping[str, NetDevice] = EMPTY
    seccomp: Seccomp | None = None
    rootfs_propagation: str = ""
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str = ""
    intel_rdt: IntelRdt | None = None
    memory_policy: MemoryPolicy | None = None
    personality: Personality | None = None


class Spec(Record):
    """A whole config.json."""

    oci_version: str
    root: Root
    process: Process | None = None
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[Mount, ...] = ()
    hooks: Hooks | None = None
    annotations: Mapping[str, str] = EMPTY
    linux: Linux = Linux()

    def namespace(self, kind: str) -> Namespace | None:
        """Return the entry for ``mount``, ``pid`` …, or None when the host's is shared."""
        return next((n for n in self.linux.namespaces if n.type == kind), None)
