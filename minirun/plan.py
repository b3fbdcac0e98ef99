"""The container start, on one page.

``plan_create`` turns a spec into the ordered tuple of steps that a start is. It is pure: it reads
no file and makes no call, so a plan can be printed on any machine and asserted on in any test.
Whatever can fail by inspection fails here, before the first effect.

Every line is one step, in the order in which it happens. The order is the kernel's, not ours:

* cgroup before the first fork: there is no instant without limits.
* user namespace first of all namespaces: the others then belong to it, and to its root.
* join the cgroup before the cgroup namespace is made: its root is where its maker stands.
* private mounts before the rootfs is mounted: otherwise the host sees our mounts.
* hooks and devices before pivot_root: afterwards the host's paths are gone.
* masks after pivot_root: they cover paths of the container's own /proc.
* rlimits before identity: raising one needs CAP_SYS_RESOURCE.
* identity after everything that needs root, and before the program is looked up as its user.
* seccomp last; without no_new_privs before identity, because loading it needs CAP_SYS_ADMIN.
* descriptors are closed last of all: the steps need them.

Pure. Next: ``runner.py``, which walks the plan; ``explain.py``, which prints it.
"""

from __future__ import annotations

from . import capabilities as caps
from .errors import SpecError
from .flags import Clone, Mount, SeccompFlag
from .mount_options import PROPAGATIONS, MountOptions, parse
from .record import Record, replace
from .spec import Hooks, Process, Spec
from .steps import (
    devices,
    filters,
    handoff,
    identity,
    limits,
    masks,
    mounts,
    namespaces,
    overlay,
    rootfs,
    trees,
)
from .steps.base import Step
from .steps.overlay import Overlay
from .validate.rules import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .host import Host
    from .spec import IdMapping, Linux, Namespace
    from .spec import Mount as SpecMount

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


class Filter(Record):
    """A compiled seccomp program."""

    program: bytes
    flags: SeccompFlag = SeccompFlag(0)


class Setting(Record):
    """What a start needs to know beside its spec.

    Args:
        container_id: the id.
        rootfs: absolute path where the root file system is, or where the overlay will be mounted.
        state_path: path of state.json.
        overlay: the layers, when the rootfs is to be assembled.
        layers: an empty directory for id-mapped layers.
        cgroup: the group's path below each hierarchy; "" for none.
        cgroup_directories: {controller: absolute directory}.
        seccomp: the compiled filter.
        network: describes what will be attached; "" for nothing.
        pivot: False moves the root instead (``--no-pivot``).
        keyring: False keeps the caller's session keyring (``--no-new-keyring``).
        keep_fds: how many descriptors from 3 on the program inherits.
    """

    container_id: str
    rootfs: str
    state_path: str = ""
    overlay: Overlay | None = None
    layers: str = ""
    cgroup: str = ""
    cgroup_directories: tuple[tuple[str, str], ...] = ()
    seccomp: Filter | None = None
    network: str = ""
    pivot: bool = True
    keyring: bool = True
    keep_fds: int = 0


class Plan(Record):
    """The steps of one start, in order."""

    steps: tuple[Step, ...]

    def find(self, step_id: str) -> Step:
        """Return the first step with this id.

        Raises:
            KeyError: the plan has none.
        """
        for step in self.steps:
            if step.id == step_id:
                return step
        raise KeyError(step_id)


def plan_create(spec: Spec, host: Host, setting: Setting) -> Plan:
    """Return the steps that create and start a container.

    Raises:
        SpecError: the spec contradicts itself.
        HostError: this host lacks what the spec asks for.
    """
    process = spec.process or Process("/", ("true",))
    linux, hooks = spec.linux, _hooks(spec)
    groups = _groups_made(setting, host, linux)
    binds = _prepared_binds(spec)
    new = _new_namespaces(linux)
    nnp = process.no_new_privileges
    kept = setting.seccomp
    seccomp = filters.LoadSeccomp(kept.program, kept.flags) if kept else None
    # Whoever is to be asked about calls must get the listener while the runtime is still there.
    late = nnp and not (seccomp and seccomp.is_watched)
    return Plan(tuple(flatten((
        setting.cgroup and limits.CreateCgroup(setting.cgroup, linux.resources, (), groups),
        setting.cgroup and _delegation(spec, host, new, groups),
        Clone.CLONE_NEWUSER in new and _create_user_namespace(linux),
        handoff.ForkIntermediate(),  # a child enters, we stay outside
        groups and limits.JoinCgroup(groups),  # its children are born inside
        process.oom_score_adj is not None and limits.SetOomScore(process.oom_score_adj),
        binds and trees.OpenTrees(binds, _joined_userns(linux)),  # while we can reach them
        setting.overlay
        and Clone.CLONE_NEWUSER in new
        and _idmapped_overlay(linux, setting),  # layers owned by the container's root
        _joins(linux, new),  # the user namespace first, then the others
        Clone.CLONE_NEWUSER in _all(linux) and namespaces.BecomeNamespaceRoot(),
        _unshare_pid(linux, new),  # for the next child
        handoff.ForkInit(),  # PID 1
        namespaces.NewSession(keyring=setting.keyring),  # no keys, no ptrace
        new & _REST and namespaces.UnshareRest(new & _REST),  # mounts, names, ipc, network
        Clone.CLONE_NEWNET in new and namespaces.LoopbackUp(),  # 127.0.0.1 answers
        namespaces.MakeMountsPrivate(),  # the host hears nothing
        setting.overlay
        and Clone.CLONE_NEWUSER not in new
        and overlay.MountOverlay(setting.overlay, setting.rootfs),  # a layer over the image
        rootfs.BindRootfs(setting.rootfs),  # pivot_root wants a mount point
        rootfs.OpenRootfs(setting.rootfs),  # paths are walked from this fd
        [_mount(entry, spec, host, setting) for entry in spec.mounts],  # proc, sys, dev, volumes
        _owns_dev(spec) and _devices(spec),  # null, zero, random, tty
        process.terminal and devices.OpenConsole(process.console_size),  # a pty of our own
        handoff.MakeWorkdir(process.cwd),  # while the root is writable
        setting.network and handoff.AttachNetwork(setting.network),  # veth
        linux.net_devices and namespaces.MoveNetDevices(_net_devices(linux)),
        hooks.prestart and handoff.RunRuntimeHooks("prestart", hooks.prestart, "creating"),
        hooks.create_runtime
        and handoff.RunRuntimeHooks("createRuntime", hooks.create_runtime, "creating"),
        hooks.create_container
        and handoff.RunHooks("createContainer", hooks.create_container, "creating"),
        rootfs.PivotRoot() if setting.pivot else rootfs.MoveRoot(setting.rootfs),
        linux.rootfs_propagation
        and rootfs.RootPropagation(PROPAGATIONS[linux.rootfs_propagation]),
        spec.root.readonly and rootfs.ReadonlyRoot(),  # every mount point exists by now
        (spec.hostname or spec.domainname)
        and namespaces.SetHostname(spec.hostname, spec.domainname),
        linux.sysctl and masks.SetSysctls(tuple(linux.sysctl.items())),
        linux.readonly_paths and masks.ReadonlyPaths(linux.readonly_paths),
        linux.masked_paths and masks.MaskPaths(linux.masked_paths),
        confined(process) and filters.SetAppArmorProfile(process.apparmor_profile),  # at execve
        priorities(process, linux),  # scheduler, io, memory, personality, rlimits
        nnp and identity.NoNewPrivileges(),  # execve can add nothing
        "HOME" not in variable_names(process.env) and identity.FindHome(process.user.uid),
        identity.OwnStdio(process.user.uid),
        seccomp and not late and seccomp,  # while we still have CAP_SYS_ADMIN
        set_identity(process, host),  # groups, gid, uid, capabilities
        identity.ChangeDirectory(process.cwd),  # and prove that it is inside
        handoff.FindExecutable(process.args[0], search_path(process.env)),  # as the user
        seccomp and seccomp.is_watched and _send_listener(linux),  # before anybody can say start
        handoff.SaveState(setting.state_path),  # status: created
        handoff.WaitForStart(),  # until somebody says start
        hooks.start_container
        and handoff.RunHooks("startContainer", hooks.start_container, "created", process.env),
        handoff.CloseFds(setting.keep_fds),  # nothing of the host stays open
        handoff.PrepareExecve(process.args, process.env),  # nothing is left to do but go
        seccomp and late and seccomp,  # as late as possible
        handoff.Execve(),  # the process becomes the program
    ))))  # fmt: skip


_REST = (
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


def _hooks(spec: Spec) -> Hooks:
    return spec.hooks or Hooks()


def _all(linux: Linux) -> Clone:
    """Return every namespace that is not shared with the host."""
    return _flags(linux.namespaces)


def _new_namespaces(linux: Linux) -> Clone:
    """Return the namespaces to create."""
    return _flags(entry for entry in linux.namespaces if not entry.path)


def _flags(entries: Iterable[Namespace]) -> Clone:
    flags = Clone(0)
    for entry in entries:
        flags |= NAMESPACES[entry.type]
    return flags


def _create_user_namespace(linux: Linux) -> Step:
    return namespaces.CreateUserNamespace(linux.uid_mappings, linux.gid_mappings)


def _joins(linux: Linux, new: Clone) -> list[Step]:
    """The user namespace gives the right to join the others; mounts last, for the paths' sake."""
    joins: list[Step] = []
    if Clone.CLONE_NEWUSER in new:
        joins.append(namespaces.JoinNamespace(Clone.CLONE_NEWUSER))
    order = ("user", "cgroup", "ipc", "uts", "network", "time", "pid", "mount")
    given = {entry.type: entry.path for entry in linux.namespaces if entry.path}
    kinds = (kind for kind in order if kind in given)
    return joins + [namespaces.JoinNamespace(NAMESPACES[kind], given[kind]) for kind in kinds]


def _unshare_pid(linux: Linux, new: Clone) -> Step | None:
    flags = new & (Clone.CLONE_NEWPID | Clone.CLONE_NEWTIME)
    return namespaces.UnsharePid(flags, tuple(linux.time_offsets.items())) if flags else None


# ── file systems ──────────────────────────────────────────────────────────────────────────────


def _idmapped_overlay(linux: Linux, setting: Setting) -> list[Step]:
    """Assemble the root outside the user namespace, where layers may still be id-mapped."""
    assert setting.overlay is not None
    mapped = tuple(f"{setting.layers}/{n}" for n in range(len(setting.overlay.lowers)))
    stack = replace(setting.overlay, lowers=mapped)
    owner = _root_of(linux.uid_mappings), _root_of(linux.gid_mappings)
    return [
        namespaces.UnshareMounts(),
        namespaces.MakeOuterMountsPrivate(),
        overlay.MapLayers(setting.overlay.lowers, setting.layers),
        overlay.MountMappedOverlay(stack, setting.rootfs, owner),
    ]


def _groups_made(setting: Setting, host: Host, linux: Linux) -> tuple[str, ...]:
    """Return the directories that are made: on a hybrid host the v2 tree holds huge pages only."""
    huge = linux.resources is not None and linux.resources.hugepage_limits
    unused = host.cgroup_mode != "v2" and not huge
    return tuple(
        directory
        for controller, directory in setting.cgroup_directories
        if not (unused and host.controllers[controller].version == 2)
    )


def _delegation(spec: Spec, host: Host, new: Clone, groups: tuple[str, ...]) -> Step | None:
    """Give the group to the container's root where it could use it. See: config-linux.md."""
    private = Clone.CLONE_NEWUSER in new and Clone.CLONE_NEWCGROUP in new
    writable = any(
        entry.type in ("cgroup", "cgroup2") and "ro" not in entry.options for entry in spec.mounts
    )
    if host.cgroup_mode != "v2" or not private or not writable:
        return None
    linux = spec.linux
    owner = _root_of(linux.uid_mappings), _root_of(linux.gid_mappings)
    return limits.DelegateCgroup(groups[0], *owner)


def _root_of(mappings: tuple[IdMapping, ...]) -> int:
    """Return what the container's id 0 is outside."""
    return next((m.host_id for m in mappings if m.container_id == 0), 0)


def _is_bind(entry: SpecMount) -> bool:
    return entry.type == "bind" or bool({"bind", "rbind"} & set(entry.options))


def _bind_options(entry: SpecMount) -> MountOptions:
    options = parse(entry.options)
    return options if options.bind else replace(options, bind="bind")


def _prepared_binds(spec: Spec) -> tuple[trees.HostTree, ...]:
    """Return the binds whose source must be opened before the namespaces are entered.

    In a user namespace the source may be out of reach; a mount that shares or receives events must
    be cloned while its peers are still visible.
    """
    in_userns = Clone.CLONE_NEWUSER in _all(spec.linux)
    found = []
    for index, entry in enumerate(spec.mounts):
        if not _is_bind(entry):
            continue
        options, own = _bind_options(entry), (entry.uid_mappings, entry.gid_mappings)
        if options.idmap and not in_userns and not own[0]:
            problem = "idmap has no mappings: neither the mount nor the container has any"
            raise SpecError(f"$.mounts[{index}]", problem, hint="add uidMappings and gidMappings")
        travels = any(p & (Mount.MS_SHARED | Mount.MS_SLAVE) for p in options.propagation)
        if in_userns or travels or options.idmap or own[0]:
            found.append(trees.HostTree(entry.destination, entry.source, options, *own))
    return tuple(found)


def _joined_userns(linux: Linux) -> str:
    return next((entry.path for entry in linux.namespaces if entry.type == "user"), "")


def _mount(entry: SpecMount, spec: Spec, host: Host, setting: Setting) -> Step:
    """Return the step for one entry of ``mounts``."""
    if _is_bind(entry):
        options = _bind_options(entry)
        prepared = any(entry.destination == t.destination for t in _prepared_binds(spec))
        return mounts.MountBind(entry.source, entry.destination, options, prepared)
    options = parse(entry.options)
    if entry.type in ("cgroup", "cgroup2"):
        return _mount_cgroup(entry.destination, options, spec, host, setting)
    return mounts.MountFilesystem(entry.type, entry.source, entry.destination, options)


def _mount_cgroup(
    destination: str, options: MountOptions, spec: Spec, host: Host, setting: Setting
) -> Step:
    """Version 2 is one file system, version 1 a directory of them."""
    # What else an engine passes here (``relatime``, names of controllers) is not for a new mount.
    options = replace(options, data=())
    if host.cgroup_mode != "v2":
        return mounts.MountCgroup1(destination, options, _groups(setting, host))
    tree = host.cgroup2.own if host.cgroup2 else "/sys/fs/cgroup"
    own = dict(setting.cgroup_directories).get("", tree)
    namespaced = spec.namespace("cgroup") is not None
    return mounts.MountCgroup2(destination, options, "" if namespaced else own)


def _groups(setting: Setting, host: Host) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """Return (directory, host path, links) of each version 1 hierarchy.

    Controllers that share a hierarchy (``cpu,cpuacct``) share a directory with a link for each.
    """
    by_path: dict[str, list[str]] = {}
    for controller, path in setting.cgroup_directories:
        if host.controllers[controller].version == 2:
            continue  # the empty half of a hybrid host
        by_path.setdefault(path, []).append(controller.removeprefix("name="))
    return tuple(
        (",".join(names), path, tuple(names) if len(names) > 1 else ())
        for path, names in by_path.items()
    )


def _owns_dev(spec: Spec) -> bool:
    """A bind of the host's /dev must not be written to."""
    return not any(_is_bind(e) and plain(e.destination) == "/dev" for e in spec.mounts)


def _devices(spec: Spec) -> Step:
    """The spec's devices come after the standard ones, and replace those of the same path."""
    wanted = {device.path: device for device in devices.DEFAULT_DEVICES}
    wanted.update({device.path: device for device in spec.linux.devices})
    in_userns = Clone.CLONE_NEWUSER in _all(spec.linux)
    return devices.MakeDevices(tuple(wanted.values()), bind=in_userns)


# ── the process ───────────────────────────────────────────────────────────────────────────────


def priorities(process: Process, linux: Linux) -> list[Step | None]:
    """Return what decides who waits; execCPUAffinity is for ``exec`` alone (config.md, Process)."""
    return [
        limits.SetScheduler(process.scheduler) if process.scheduler else None,
        limits.SetIoPriority(process.io_priority) if process.io_priority else None,
        limits.SetMemoryPolicy(linux.memory_policy) if linux.memory_policy else None,
        limits.SetPersonality(linux.personality) if linux.personality else None,
        limits.SetRlimits(process.rlimits) if process.rlimits else None,
    ]


def set_identity(process: Process, host: Host) -> Step:
    """Return the step that makes us the process's user, with its capabilities."""
    held = process.capabilities
    masks = None
    if held is not None:
        sets = (held.bounding, held.effective, held.inheritable, held.permitted, held.ambient)
        masks = identity.CapabilityMasks(*map(caps.mask, sets))
    return identity.SetIdentity(process.user, masks, host.last_cap)


def confined(process: Process) -> bool:
    """Whether a profile of AppArmor is asked for."""
    return process.apparmor_profile not in ("", "unconfined")


def _send_listener(linux: Linux) -> Step | None:
    asked = linux.seccomp
    if asked is None:
        return None
    return filters.SendListener(asked.listener_path, asked.listener_metadata)


def _net_devices(linux: Linux) -> tuple[tuple[str, str], ...]:
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
