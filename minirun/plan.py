"""The container start, on one page.

``plan_create`` turns a spec into the ordered tuple of steps that a start is. It is pure: it reads
no file and makes no call, so a plan can be printed on any machine and asserted on in any test.
Whatever can fail by inspection fails here, before the first effect.

Every line is one step, in the order in which it happens. The order is the kernel's, not ours:

* cgroup before the first fork: there is no instant without limits.
* a process in between only where something is joined: there is no way back out of that.
* user namespace first of all namespaces: the others then belong to it, and to its root.
* join the cgroup before the cgroup namespace is made: its root is where its maker stands.
* private mounts before the rootfs is mounted: otherwise the host sees our mounts.
* hooks and devices before pivot_root: afterwards the host's paths are gone.
* masks after pivot_root: they cover paths of the container's own /proc.
* rlimits before identity: raising one needs CAP_SYS_RESOURCE.
* identity after everything that needs root, and before the program is looked up as its user.
* seccomp last; without no_new_privs before identity, because loading it needs CAP_SYS_ADMIN.
* descriptors are closed last of all: the steps need them.

Pure. Next: ``steps/base.py``, what a step is; then ``runner.py``, which walks the plan, and
``explain.py``, which prints it.
"""

from __future__ import annotations

from . import plan_mounts
from . import plan_parts as parts
from .flags import Clone, SeccompFlag
from .mount_options import PROPAGATIONS
from .record import Record
from .spec import Process, Spec
from .steps import (
    devices,
    filters,
    handoff,
    identity,
    limits,
    masks,
    namespaces,
    overlay,
    rootfs,
)
from .steps.base import Step
from .steps.overlay import Overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .host import Host


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
        cgroup_manager: who makes it; systemd moves only processes whose pid it knows.
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
    cgroup_manager: str = "cgroupfs"
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
    linux, hooks = spec.linux, parts.hooks_of(spec)
    groups = parts.groups_made(setting, host, linux)
    binds = plan_mounts.prepared_binds(spec, host)
    new = parts.new_namespaces(linux)
    between = parts.needs_intermediate(linux, host, setting) or binds
    nnp = process.no_new_privileges
    kept = setting.seccomp
    seccomp = filters.LoadSeccomp(kept.program, kept.flags) if kept else None
    # Whoever is to be asked about calls must get the listener while the runtime is still there.
    late = nnp and not (seccomp and seccomp.is_watched)
    return Plan(tuple(parts.flatten((
        parts.create_cgroup(setting, linux, groups),
        setting.cgroup and parts.delegation(spec, host, new, groups),
        linux.intel_rdt and parts.make_service_class(linux.intel_rdt, host, setting),
        Clone.CLONE_NEWUSER in new and parts.create_user_namespace(linux),
        # A child enters, we stay outside. It forks PID 1, or it is PID 1: if nothing is joined.
        handoff.ForkIntermediate() if between else handoff.ForkInitDirectly(new & parts.PID),
        process.oom_score_adj is not None and limits.SetOomScore(process.oom_score_adj),
        linux.intel_rdt and parts.join_service_class(linux.intel_rdt, host, setting.container_id),
        groups and (limits.JoinCgroup(groups) if between else limits.JoinCgroupAsInit(groups)),
        binds and plan_mounts.open_trees(binds, linux),  # while we can reach them
        setting.overlay
        and Clone.CLONE_NEWUSER in new
        and plan_mounts.idmapped_overlay(linux, setting),  # layers owned by the container's root
        parts.shares(linux) and parts.hide_from_container(),  # before anybody inside can see us
        parts.joins(linux, new),  # the user namespace first, then the others
        Clone.CLONE_NEWUSER in parts.separate(linux) and namespaces.BecomeNamespaceRoot(),
        between and parts.unshare_pid(linux, new),  # for the next child
        between and handoff.ForkInit(),  # PID 1
        namespaces.NewSession(keyring=setting.keyring),  # no keys, no ptrace
        new & parts.REST and namespaces.UnshareRest(new & parts.REST),  # mounts, names, network
        Clone.CLONE_NEWNET in new and namespaces.LoopbackUp(),  # 127.0.0.1 answers
        namespaces.MakeMountsPrivate(),  # the host hears nothing
        setting.overlay
        and Clone.CLONE_NEWUSER not in new
        and overlay.MountOverlay(setting.overlay, setting.rootfs),  # a layer over the image
        rootfs.BindRootfs(setting.rootfs),  # pivot_root wants a mount point
        rootfs.OpenRootfs(setting.rootfs),  # paths are walked from this fd
        plan_mounts.mount_each(spec, host, setting, binds),  # proc, volumes
        plan_mounts.make_devices(spec, host),  # null, zero, random, tty
        process.terminal and devices.OpenConsole(process.console_size),  # a pty of our own
        handoff.MakeWorkdir(process.cwd),  # while the root is writable
        setting.network and handoff.AttachNetwork(setting.network),  # veth
        linux.net_devices and namespaces.MoveNetDevices(parts.net_devices(linux)),
        hooks.prestart and parts.run_hooks("prestart", hooks.prestart),
        hooks.create_runtime and parts.run_hooks("createRuntime", hooks.create_runtime),
        hooks.create_container and parts.run_hooks("createContainer", hooks.create_container),
        rootfs.PivotRoot() if setting.pivot else rootfs.MoveRoot(setting.rootfs),
        linux.rootfs_propagation
        and rootfs.RootPropagation(PROPAGATIONS[linux.rootfs_propagation]),
        spec.root.readonly and rootfs.ReadonlyRoot(),  # every mount point exists by now
        (spec.hostname or spec.domainname)
        and namespaces.SetHostname(spec.hostname, spec.domainname),
        linux.sysctl and masks.SetSysctls(tuple(linux.sysctl.items())),
        linux.readonly_paths and masks.ReadonlyPaths(linux.readonly_paths),
        linux.masked_paths and masks.MaskPaths(linux.masked_paths),
        parts.confined(process) and filters.SetAppArmorProfile(process.apparmor_profile),
        parts.priorities(process, linux),  # scheduler, io, memory, personality
        process.rlimits and limits.SetRlimits(process.rlimits),
        nnp and identity.NoNewPrivileges(),  # execve can add nothing
        "HOME" not in parts.variable_names(process.env) and identity.FindHome(process.user.uid),
        identity.OwnStdio(process.user.uid),
        not late and seccomp,  # while we still have CAP_SYS_ADMIN
        parts.set_identity(process, linux, host),  # groups, gid, uid, capabilities
        identity.ChangeDirectory(process.cwd),  # and prove that it is inside
        handoff.FindExecutable(process.args[0], parts.search_path(process.env)),  # as the user
        seccomp and seccomp.is_watched and parts.send_listener(linux),  # before start
        handoff.SaveState(setting.state_path),  # status: created
        handoff.WaitForStart(),  # until somebody says start
        hooks.start_container
        and parts.run_hooks("startContainer", hooks.start_container, process.env),
        handoff.CloseFds(setting.keep_fds),  # nothing of the host stays open
        handoff.PrepareExecve(process.args, process.env),  # nothing is left to do but go
        late and seccomp,  # as late as possible
        handoff.Execve(),  # the process becomes the program
    ))))  # fmt: skip
