"""RunOptions: everything that ``run`` and ``create`` take, as values, and what contradicts what.

A command line has strings; a container has bytes, numbers and paths. ``readflags.py`` reads the
strings with the parsers of this package, ``check`` refuses what docker refuses, and the result is
stored with the container, so that ``restart``, ``inspect`` and ``update`` start from values.

Pure. Next: ``flagtable.py`` and ``readflags.py``, which make one from a command line.
"""

from __future__ import annotations

from ..errors import UsageError
from ..record import EMPTY, Record
from ..spec_resources import DeviceRule
from .devices import DeviceAmount, DeviceRequest
from .mounts import MountRequest
from .security import LogOptions, RestartPolicy, SecurityOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_SHM_BYTES = 64 * 1024 * 1024
MILLISECOND_NS = 10**6


class HealthFlags(Record):
    """The --health-* flags; 0 and "" take the image's value."""

    cmd: str = ""
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


class Ulimit(Record):
    """One --ulimit, named as in setrlimit(2) without RLIMIT_."""

    name: str
    soft: int
    hard: int


class ResourceOptions(Record):
    """What the control group and the kernel may give; 0, -1 or None where docker means "unset"."""

    memory_bytes: int = 0
    memory_swap_bytes: int = 0
    memory_reservation_bytes: int = 0
    memory_swappiness: int = -1
    oom_kill_disable: bool = False
    cpus_nano: int = 0
    cpu_shares: int = 0
    cpu_period_us: int = 0
    cpu_quota_us: int = 0
    cpu_rt_period_us: int = 0
    cpu_rt_runtime_us: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int = 0
    blkio_weight: int = 0
    blkio_weight_device: tuple[DeviceAmount, ...] = ()
    device_read_bps: tuple[DeviceAmount, ...] = ()
    device_write_bps: tuple[DeviceAmount, ...] = ()
    device_read_iops: tuple[DeviceAmount, ...] = ()
    device_write_iops: tuple[DeviceAmount, ...] = ()
    shm_size_bytes: int = DEFAULT_SHM_BYTES
    ulimits: tuple[Ulimit, ...] = ()
    oom_score_adj: int = 0


class NetworkOptions(Record):
    """The network flags as text that ``minirun.network`` has accepted."""

    mode: str = "bridge"
    publish: tuple[str, ...] = ()
    publish_all: bool = False
    expose: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_option: tuple[str, ...] = ()
    add_host: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    mac_address: str = ""
    ip: str = ""


class RunOptions(Record):
    """One ``minirun run`` or ``create``, validated."""

    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    name: str = ""
    hostname: str = ""
    domainname: str = ""
    labels: Mapping[str, str] = EMPTY
    annotations: Mapping[str, str] = EMPTY
    platform: str = ""
    cidfile: str = ""
    # How it lives.
    detach: bool = False
    interactive: bool = False
    tty: bool = False
    attach: tuple[str, ...] = ()
    sig_proxy: bool = True
    remove: bool = False
    init: bool = False
    restart: RestartPolicy = RestartPolicy()
    stop_signal: int = 0
    stop_timeout_s: int | None = None
    no_healthcheck: bool = False
    health: HealthFlags = HealthFlags()
    log: LogOptions = LogOptions()
    # What it sees.
    env: tuple[str, ...] = ()
    workdir: str = ""
    read_only: bool = False
    mounts: tuple[MountRequest, ...] = ()
    devices: tuple[DeviceRequest, ...] = ()
    device_rules: tuple[DeviceRule, ...] = ()
    pid: str = "private"
    ipc: str = "private"
    uts: str = "private"
    userns: str = "private"
    cgroupns: str = "private"
    cgroup_parent: str = ""
    # What it may do.
    user: str = ""
    group_add: tuple[str, ...] = ()
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security: SecurityOptions = SecurityOptions()
    sysctls: Mapping[str, str] = EMPTY
    resources: ResourceOptions = ResourceOptions()
    network: NetworkOptions = NetworkOptions()


def check(options: RunOptions) -> RunOptions:
    """Return the options when nothing contradicts anything.

    Raises:
        UsageError: two flags exclude each other, as in docker.
    """
    for contradicts, message, hint in (*_FLAGS, *_NAMESPACES, *_RESOURCES):
        if contradicts(options):
            raise UsageError(message, hint=hint)
    targets = [mount.target for mount in options.mounts]
    for target in targets:
        if targets.count(target) > 1:
            raise UsageError(f"duplicate mount point: {target}", hint="mount one thing per path")
    return options


if TYPE_CHECKING:
    Rule = tuple[Callable[[RunOptions], object], str, str]

_FLAGS: tuple[Rule, ...] = (
    (
        lambda o: o.remove and o.restart.name != "no",
        "conflicting options: --restart and --rm",
        "a container that is removed cannot be restarted: leave one out",
    ),
    (
        lambda o: o.detach and o.attach,
        "conflicting options: --attach and --detach",
        "detach now, and use minirun attach later",
    ),
    (
        lambda o: o.no_healthcheck and o.health != HealthFlags(),
        "conflicting options: --no-healthcheck and --health-*",
        "leave one out",
    ),
    (
        lambda o: 0 < min(filter(None, _times(o.health)), default=0) < MILLISECOND_NS,
        "the times of a health check must be at least 1ms",
        "for example --health-interval 10s",
    ),
)

_NAMESPACES: tuple[Rule, ...] = (
    (
        lambda o: o.uts == "host" and (o.hostname or o.domainname),
        "conflicting options: --hostname and --uts host",
        "the host's name is not the container's to change",
    ),
    (
        lambda o: o.network.mode.startswith("container:") and o.hostname,
        "conflicting options: --hostname and --network container:…",
        "the name is that of the container whose network it is",
    ),
    (
        lambda o: o.network.mode != "bridge" and (o.network.publish or o.network.publish_all),
        "conflicting options: --publish needs --network bridge",
        "with --network host a port is the host's already",
    ),
    (
        lambda o: o.network.mode != "bridge" and (o.network.ip or o.network.mac_address),
        "conflicting options: --ip and --mac-address need --network bridge",
        "leave them out",
    ),
    (
        lambda o: o.init and o.pid != "private",
        "conflicting options: --init and --pid",
        "an init reaps children in a pid namespace of its own",
    ),
    (
        lambda o: o.ipc == "none" and any(m.target == "/dev/shm" for m in o.mounts),
        "conflicting options: --ipc none and a mount at /dev/shm",
        "leave one out",
    ),
)

_RESOURCES: tuple[Rule, ...] = (
    (
        lambda o: o.resources.cpus_nano and (o.resources.cpu_quota_us or o.resources.cpu_period_us),
        "conflicting options: --cpus and --cpu-quota or --cpu-period",
        "--cpus 1.5 is a quota of 150000 per period of 100000",
    ),
    (
        lambda o: o.resources.memory_swap_bytes and not o.resources.memory_bytes,
        "--memory-swap needs --memory",
        "it counts memory plus swap: set -m as well",
    ),
    (
        lambda o: 0 < o.resources.memory_swap_bytes < o.resources.memory_bytes,
        "--memory-swap is lower than --memory",
        "it counts memory plus swap: make it at least as large",
    ),
    (
        lambda o: 0 < o.resources.memory_bytes < o.resources.memory_reservation_bytes,
        "--memory-reservation is higher than --memory",
        "the reservation is the softer, lower limit",
    ),
    (
        lambda o: o.resources.oom_kill_disable and not o.resources.memory_bytes,
        "--oom-kill-disable needs --memory",
        "without a limit the whole host would run out of memory",
    ),
)


def _times(health: HealthFlags) -> tuple[int, ...]:
    return (
        health.interval_ns,
        health.timeout_ns,
        health.start_period_ns,
        health.start_interval_ns,
    )
