"""The phrases of ``plan.py``: each reads a part of the spec and returns a step, or a few.

Nothing here knows the order; that is the page's business. Pure. Next: ``plan_mounts.py``.
"""

from __future__ import annotations

from . import capabilities as caps
from .flags import Clone
from .spec import Hooks, Process, Spec
from .steps import filters, identity, limits, namespaces
from .steps.base import Step
from .validate.process import has_priorities
from .validate.rootless import may_set_groups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .host import Host
    from .plan import Setting
    from .spec import Hook, IdMapping, IntelRdt, Linux, Namespace

NAMESPACES = {
    "pid": Clone.CLONE_NEWPID,
    "network": Clone.CLONE_NEWNET,
    "mount": Clone.CLONE_NEWNS,
    "ipc": Clone.CLONE_NEWIPC,
    "uts": Clone.CLONE_NEWUTS,
    "user": Clone.CLONE_NEWUSER,
    "cgroup": Clone.CLONE_NEWCGROUP,
    "time": Clone.CLONE_NEWTIME,
}
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

PID = Clone.CLONE_NEWPID
REST = (
    Clone.CLONE_NEWNS
    | Clone.CLONE_NEWUTS
    | Clone.CLONE_NEWIPC
    | Clone.CLONE_NEWNET
    | Clone.CLONE_NEWCGROUP
)


def flatten(parts: tuple[object, ...]) -> Iterator[Step]:
    """Yield the steps; what a condition made false is left out."""
    for part in parts:
        if isinstance(part, (tuple, list)):
            yield from flatten(tuple(part))
        elif isinstance(part, Step):
            yield part


def hooks_of(spec: Spec) -> Hooks:
    """Return the hooks, none where the spec has none."""
    return spec.hooks or Hooks()


def run_hooks(kind: str, hooks: tuple[Hook, ...], env: tuple[str, ...] | None = None) -> Step:
    """Return the step that runs hooks of one kind; many containers have none, so import it."""
    from .steps.hooks import RunHooks, RunRuntimeHooks

    status = "created" if kind == "startContainer" else "creating"
    runs = RunRuntimeHooks if kind in ("prestart", "createRuntime") else RunHooks
    return runs(kind, hooks, status, env)


def separate(linux: Linux) -> Clone:
    """Return every namespace that is not shared with the host."""
    return _flags_of(linux.namespaces)


def new_namespaces(linux: Linux) -> Clone:
    """Return the namespaces to create."""
    return _flags_of(entry for entry in linux.namespaces if not entry.path)


def _flags_of(entries: Iterable[Namespace]) -> Clone:
    flags = Clone(0)
    for entry in entries:
        flags |= NAMESPACES[entry.type]
    return flags


def create_user_namespace(linux: Linux) -> Step:
    """Return the step that makes the namespace with the spec's maps."""
    return namespaces.CreateUserNamespace(linux.uid_mappings, linux.gid_mappings)


def shares(linux: Linux) -> bool:
    """Whether a namespace is joined, in which somebody may already live."""
    return any(entry.path for entry in linux.namespaces)


def needs_intermediate(linux: Linux, host: Host, setting: Setting) -> bool:
    """Whether a child of ours forks init, because it goes where we could not come back from.

    The host's root makes a PID namespace for its next child, and takes its own back. Out of a user
    namespace there is no way, and whoever joins another container's is seen there. systemd must be
    told the pid of who joins the group, and init knows itself as 1.
    """
    away = Clone.CLONE_NEWUSER | Clone.CLONE_NEWTIME
    entered = bool(new_namespaces(linux) & away) or shares(linux)
    return entered or host.rootless or setting.cgroup_manager == "systemd"


def hide_from_container() -> Step:
    """Return the step for whoever joins; ``exec`` has more of its kind, and few others need it."""
    from .steps.joining import HideFromContainer

    return HideFromContainer()


def joins(linux: Linux, new: Clone) -> list[Step]:
    """The user namespace gives the right to join the others; mounts last, for the paths' sake."""
    joins: list[Step] = []
    if Clone.CLONE_NEWUSER in new:
        joins.append(namespaces.JoinNamespace(Clone.CLONE_NEWUSER))
    order = ("user", "cgroup", "ipc", "uts", "network", "time", "pid", "mount")
    given = {entry.type: entry.path for entry in linux.namespaces if entry.path}
    kinds = (kind for kind in order if kind in given)
    return joins + [namespaces.JoinNamespace(NAMESPACES[kind], given[kind]) for kind in kinds]


def unshare_pid(linux: Linux, new: Clone) -> Step | None:
    """Return the step for the namespaces that apply to children only."""
    flags = new & (Clone.CLONE_NEWPID | Clone.CLONE_NEWTIME)
    return namespaces.UnsharePid(flags, tuple(linux.time_offsets.items())) if flags else None


def make_service_class(rdt: IntelRdt, host: Host, setting: Setting) -> Step:
    """Return the step that makes a class of the processor's caches; few hosts can, so import it."""
    from .cgroups.resctrl import service_class
    from .steps.resctrl import MakeClass

    return MakeClass(service_class(rdt, setting.container_id, host.resctrl))


def join_service_class(rdt: IntelRdt, host: Host, container_id: str) -> Step:
    """Return the step that puts the first child into it."""
    from .cgroups.resctrl import service_class
    from .steps.resctrl import JoinClass

    return JoinClass(service_class(rdt, container_id, host.resctrl).directories)


# ── control groups ────────────────────────────────────────────────────────────────────────────


def groups_made(setting: Setting, host: Host, linux: Linux) -> tuple[str, ...]:
    """Return the directories that are made: on a hybrid host the v2 tree holds huge pages only."""
    huge = linux.resources is not None and linux.resources.hugepage_limits
    unused = host.cgroup_mode != "v2" and not huge
    return tuple(
        directory
        for controller, directory in setting.cgroup_directories
        if not (unused and host.controllers[controller].version == 2)
    )


def create_cgroup(setting: Setting, linux: Linux, groups: tuple[str, ...]) -> Step | None:
    """Make the group: first where it is claimed, which is v1's devices. See: cgroups/claims.py."""
    first = dict(setting.cgroup_directories).get("devices", "")
    ordered = tuple(sorted(groups, key=lambda directory: directory != first))
    cgroup = setting.cgroup
    return limits.CreateCgroup(cgroup, linux.resources, (), ordered) if cgroup else None


def delegation(spec: Spec, host: Host, new: Clone, groups: tuple[str, ...]) -> Step | None:
    """Give the group to the container's root where it could use it. See: config-linux.md."""
    private = Clone.CLONE_NEWUSER in new and Clone.CLONE_NEWCGROUP in new
    writable = any(
        entry.type in ("cgroup", "cgroup2") and "ro" not in entry.options for entry in spec.mounts
    )
    if host.cgroup_mode != "v2" or not private or not writable:
        return None
    linux = spec.linux
    owner = root_of(linux.uid_mappings), root_of(linux.gid_mappings)
    return limits.DelegateCgroup(groups[0], *owner)


def root_of(mappings: tuple[IdMapping, ...]) -> int:
    """Return what the container's id 0 is outside."""
    return next((m.host_id for m in mappings if m.container_id == 0), 0)


# ── the process ───────────────────────────────────────────────────────────────────────────────


def priorities(process: Process, linux: Linux) -> list[Step | None]:
    """Return what decides who waits; execCPUAffinity is for ``exec`` alone (config.md, Process)."""
    if not has_priorities(process, linux):
        return []
    from .steps import priorities as steps  # few containers ask

    return [
        steps.SetScheduler(process.scheduler) if process.scheduler else None,
        steps.SetIoPriority(process.io_priority) if process.io_priority else None,
        steps.SetMemoryPolicy(linux.memory_policy) if linux.memory_policy else None,
        steps.SetPersonality(linux.personality) if linux.personality else None,
    ]


def set_identity(process: Process, linux: Linux, host: Host) -> Step:
    """Return the step that makes us the process's user, with its capabilities."""
    held = process.capabilities
    masks = None
    if held is not None:
        sets = (held.bounding, held.effective, held.inheritable, held.permitted, held.ambient)
        masks = identity.CapabilityMasks(*map(caps.mask, sets))
    return identity.SetIdentity(process.user, masks, host.last_cap, may_set_groups(linux, host))


def confined(process: Process) -> bool:
    """Whether a profile of AppArmor is asked for."""
    return process.apparmor_profile not in ("", "unconfined")


def send_listener(linux: Linux) -> Step | None:
    """Return the step that hands the filter's listener to its agent."""
    asked = linux.seccomp
    if asked is None:
        return None
    return filters.SendListener(asked.listener_path, asked.listener_metadata)


def net_devices(linux: Linux) -> tuple[tuple[str, str], ...]:
    """Return (name on the host, name inside) of each interface to give away."""
    return tuple((name, device.name) for name, device in linux.net_devices.items())


def variable_names(env: tuple[str, ...]) -> set[str]:
    """Return what is set."""
    return {word.partition("=")[0] for word in env}


def search_path(env: tuple[str, ...]) -> str:
    """Return the container's own PATH: the last one given, as execve's caller would see it."""
    for word in reversed(env):
        if word.startswith("PATH="):
            return word[5:]
    return DEFAULT_PATH
