"""A docker-like command line as an OCI Spec: the defaults are docker's, each written down once.

    options (the user) + image config (its author) + Facts (this host) ─▶ Spec

``Facts`` holds what had to be looked up: who the user is in this image, where volumes live, which
namespaces are joined, the seccomp profile. With it in hand, ``to_spec`` is a pure function, so
``explain``, ``create`` and a test all see the same container.

Pure. Next: ``specify_mounts.py``; then ``../plan.py``, which turns a Spec into steps.
"""

from __future__ import annotations

from .. import capabilities
from ..record import EMPTY, Record, replace
from ..spec import (
    Capabilities,
    Device,
    IdMapping,
    Linux,
    Namespace,
    Process,
    Root,
    Spec,
    User,
)
from . import command, limits
from .names import short_id
from .specify_mounts import INIT_PATH, mounts
from .users import Identity
from .words import absolute_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..image.model import ContainerConfig
    from ..spec import Seccomp
    from .options import RunOptions

OCI_VERSION = "1.3.0"

# What would tell about, or reach, the host. See: moby, oci/defaults.go.
MASKED_PATHS = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys"),
    *("/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list"),
    *("/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware"),
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

#: One of docker's defaults each: an unprivileged user may ping and bind port 80 of its own network.
_NETWORK_SYSCTLS = {
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
}
#: flag, namespace of the specification
_NAMESPACES = (("pid", "pid"), ("ipc", "ipc"), ("uts", "uts"), ("cgroupns", "cgroup"))


class Facts(Record):
    """What the host contributes to one container.

    Args:
        id: 64 hexadecimal digits.
        hostname: what the container's UTS namespace says.
        rootfs: the mounted or to-be-mounted root directory.
        identity: from ``users.resolve``.
        joins: {namespace of the specification: path} to join instead of making one.
        volumes: {target: host directory} for every volume, its subpath included.
        etc_files: {"/etc/hosts": host file, …} to be mounted over the image's.
        devices: device nodes for --device, or all of the host's with --privileged.
        device_numbers: {path: (major, minor)} for the block I/O limits.
        seccomp: the profile, resolved for this machine; None is unconfined.
        init: the host path of a static init for --init.
        uid_mappings: for a user namespace; none where the host's is shared.
        gid_mappings: likewise.
        rootless: whether we are root of a user's namespace only.
    """

    id: str
    hostname: str
    rootfs: str
    identity: Identity = Identity(user=User())
    joins: Mapping[str, str] = EMPTY
    volumes: Mapping[str, str] = EMPTY
    etc_files: Mapping[str, str] = EMPTY
    devices: tuple[Device, ...] = ()
    device_numbers: Mapping[str, tuple[int, int]] = EMPTY
    seccomp: Seccomp | None = None
    init: str = ""
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    rootless: bool = False


def to_spec(options: RunOptions, image: ContainerConfig, facts: Facts) -> Spec:
    """Return the container that the user asked for.

    Raises:
        UsageError: no command, an unknown capability, a malformed image configuration.
    """
    return Spec(
        oci_version=OCI_VERSION,
        root=Root(facts.rootfs, readonly=options.read_only),
        process=process(options, image, facts),
        hostname=facts.hostname if options.uts == "private" else "",
        domainname=options.domainname,
        mounts=mounts(options, facts),
        annotations=_annotations(options, facts),
        linux=_linux(options, facts),
    )


def hostname_for(options: RunOptions, container_id: str, host: str) -> str:
    """Return the name a container sees: its own, the host's, or the short form of its id."""
    if options.hostname:
        return options.hostname
    shares = options.uts == "host" or options.network.mode == "host"
    return host if shares else short_id(container_id)


def process(options: RunOptions, image: ContainerConfig, facts: Facts) -> Process:
    """Return what runs, as whom."""
    args = command.arguments(options, image)
    if facts.init:
        args = (INIT_PATH, "--", *args)
    return Process(
        cwd=command.working_directory(options, image),
        args=args,
        terminal=options.tty,
        user=facts.identity.user,
        env=command.environment(options, image, facts.hostname, facts.identity.home),
        capabilities=_capabilities(options, facts),
        rlimits=limits.rlimits(options.resources),
        no_new_privileges=options.security.no_new_privileges,
        apparmor_profile=_apparmor(options),
        oom_score_adj=options.resources.oom_score_adj,
    )


def _capabilities(options: RunOptions, facts: Facts) -> Capabilities:
    """Return the sets: root holds them, another user only may regain them through set-id files.

    Inheritable and ambient stay empty, or files' own capabilities would grow (CVE-2022-24769).
    """
    kept = capabilities.select(options.cap_add, options.cap_drop, privileged=options.privileged)
    held = kept if facts.identity.user.uid == 0 else ()
    return Capabilities(bounding=kept, effective=held, permitted=held)


def _apparmor(options: RunOptions) -> str:
    """Return a profile that was asked for by name; unconfined is the absence of one."""
    wanted = options.security.apparmor
    return "" if wanted == "unconfined" else wanted


# ── linux ─────────────────────────────────────────────────────────────────────────────────────


def _linux(options: RunOptions, facts: Facts) -> Linux:
    unmasked = options.privileged or options.security.unmask_system_paths
    return Linux(
        uid_mappings=facts.uid_mappings,
        gid_mappings=facts.gid_mappings,
        sysctl=sysctls(options, facts),
        resources=limits.resources(options, facts.devices, facts.device_numbers),
        cgroups_path=cgroups_path(options, facts.id),
        namespaces=namespaces(options, facts),
        devices=facts.devices,
        seccomp=None if options.privileged else facts.seccomp,
        rootfs_propagation=_rootfs_propagation(options),
        masked_paths=() if unmasked else MASKED_PATHS,
        readonly_paths=() if unmasked else READONLY_PATHS,
    )


def _rootfs_propagation(options: RunOptions) -> str:
    """Return the weakest propagation under which every bind can do what it asks for.

    A private root would cut the host's later mounts off a ``slave`` or ``shared`` bind as well.
    """
    asked = {request.propagation.removeprefix("r") for request in options.mounts}
    return "shared" if "shared" in asked else "slave" if "slave" in asked else ""


def cgroups_path(options: RunOptions, container_id: str) -> str:
    """Return the control group: below ``minirun`` where we may make one, or --cgroup-parent."""
    parent = options.cgroup_parent.strip("/")
    return f"/{parent}/{container_id}" if parent else f"minirun/{container_id}"


def namespaces(options: RunOptions, facts: Facts) -> tuple[Namespace, ...]:
    """Return the namespaces to make or join; a mode of ``host`` is the absence of an entry."""
    found = [Namespace("mount")]
    for flag, kind in _NAMESPACES:
        if getattr(options, flag) != "host":
            found.append(Namespace(kind, facts.joins.get(kind, "")))
    if options.network.mode != "host":
        found.append(Namespace("network", facts.joins.get("network", "")))
    if facts.uid_mappings:
        found.append(Namespace("user", facts.joins.get("user", "")))
    return tuple(found)


def sysctls(options: RunOptions, facts: Facts) -> Mapping[str, str]:
    """Return the user's sysctls, over docker's defaults for a network namespace of one's own."""
    shared = options.network.mode == "host" or options.network.mode.startswith("container:")
    defaults = {} if shared else dict(_NETWORK_SYSCTLS)
    if facts.uid_mappings or facts.rootless:
        # Group ids that have no mapping cannot be named in the range.
        defaults.pop("net.ipv4.ping_group_range", None)
    return {**defaults, **options.sysctls}


def _annotations(options: RunOptions, facts: Facts) -> Mapping[str, str]:
    """Return the user's annotations and ours, which tell a bundle's origin to any tool."""
    own = {"io.minirun.id": facts.id, "io.minirun.name": options.name}
    return {**options.annotations, **{key: value for key, value in own.items() if value}}


def anonymous_volumes(options: RunOptions, image: ContainerConfig) -> tuple[str, ...]:
    """Return the targets of VOLUME instructions that nothing else is mounted on."""
    taken = {request.target for request in options.mounts}
    declared = (absolute_path(path, "VOLUME of the image") for path in image.volumes)
    return tuple(path for path in sorted(set(declared)) if path not in taken and path != "/")


def with_name(options: RunOptions, name: str) -> RunOptions:
    """Return the options of a container whose name was generated or changed."""
    return replace(options, name=name)
