"""A command in a container that is already there, on one page.

``plan_exec`` is to ``exec`` what ``plan_create`` is to ``create``: it turns a process, and the spec
of the container that it joins, into the ordered tuple of steps. What ``plan.py`` says about order
holds here too; what is different:

* nothing is created, so nothing has to be undone, and no hook runs.
* the control group comes first: a command cannot be used to escape a limit.
* we hide before we join: inside, somebody may be waiting for us (CVE-2016-9962).
* the namespaces are joined in one call, and a second fork enters the PID namespace.

Pure. Next: ``execute.py``, which finds the container and runs the plan.
"""

from __future__ import annotations

from .flags import Clone
from .plan import Plan
from .plan_parts import (
    confined,
    flatten,
    join_service_class,
    priorities,
    search_path,
    set_identity,
    variable_names,
)
from .record import Record
from .steps import devices, filters, handoff, identity, joining, limits, namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .host import Host
    from .plan import Filter
    from .spec import Process, Spec
    from .steps.base import Step


class ExecSetting(Record):
    """What joining needs to know beside the process and the spec.

    Args:
        namespaces: those in which the container's init differs from us.
        init_pid: the container's init, as seen from here.
        groups: directories of the container's control groups; empty for none.
        inner_groups: directories below them that the process belongs to (``--cgroup``).
        join_groups: False where version 2 has the process in an inner group only.
        seccomp: the container's filter.
        keep_fds: how many descriptors from 3 on the program inherits.
        keyring: False keeps the caller's session keyring.
        container: the container's id.
    """

    namespaces: Clone
    init_pid: int
    groups: tuple[str, ...] = ()
    inner_groups: tuple[str, ...] = ()
    join_groups: bool = True
    seccomp: Filter | None = None
    keep_fds: int = 0
    keyring: bool = True
    container: str = ""


def plan_exec(process: Process, spec: Spec, host: Host, setting: ExecSetting) -> Plan:
    """Return the steps that run a process in a container.

    Args:
        process: what to run.
        spec: the container's, as it was at create.
        host: as probed.
        setting: see there.
    """
    nnp = process.no_new_privileges
    initial, final = _affinities(process)
    oom_score = _oom_score(process, spec)
    new_ids = setting.namespaces & Clone.CLONE_NEWUSER
    kept = setting.seccomp
    seccomp = kept and filters.LoadSeccomp(kept.program, kept.flags)
    return Plan(tuple(flatten((
        handoff.ForkIntermediate(),  # a child joins, we stay outside
        oom_score is not None and limits.SetOomScore(oom_score),
        spec.linux.intel_rdt and join_service_class(spec.linux.intel_rdt, host, setting.container),
        initial,  # CPUs for the way in
        setting.groups
        and setting.join_groups
        and joining.JoinGroupOfInit(setting.groups, setting.init_pid),
        setting.inner_groups and joining.JoinInnerGroups(setting.inner_groups),
        final,  # CPUs for the program
        joining.HideFromContainer(),  # before anybody inside can see us
        joining.JoinContainer(setting.namespaces),  # all of them, or none
        new_ids and namespaces.BecomeNamespaceRoot(),
        joining.ForkProcess(),  # a pid inside
        namespaces.NewSession(keyring=setting.keyring),  # no keys, no terminal of the caller
        process.terminal and devices.OpenConsole(process.console_size, show=False),
        confined(process) and filters.SetAppArmorProfile(process.apparmor_profile),  # at execve
        priorities(process, spec.linux),  # scheduler, io, memory, personality
        process.rlimits and limits.SetRlimits(process.rlimits),
        nnp and identity.NoNewPrivileges(),  # execve can add nothing
        "HOME" not in variable_names(process.env) and identity.FindHome(process.user.uid),
        identity.OwnStdio(process.user.uid),
        not nnp and seccomp,  # while we still have CAP_SYS_ADMIN
        set_identity(process, spec.linux, host),  # groups, gid, uid, capabilities
        identity.ChangeDirectory(process.cwd),  # and prove that it is inside
        handoff.FindExecutable(process.args[0], search_path(process.env)),  # as the user
        joining.ConfirmContainer(),  # it is still the one that we meant
        joining.LetGo(),  # the runtime waits for execve only
        handoff.CloseFds(setting.keep_fds),  # nothing of the host stays open
        handoff.PrepareExecve(process.args, process.env),  # nothing is left to do but go
        nnp and seccomp,  # as late as possible
        handoff.Execve(),  # the process becomes the program
    ))))  # fmt: skip


def _affinities(process: Process) -> tuple[Step | None, Step | None]:
    """Return the steps that choose CPUs, before and after the container's groups are joined."""
    asked = process.exec_cpu_affinity
    if asked is None:
        return None, None
    from .steps import priorities  # few ask

    initial = priorities.SetInitialAffinity(asked.initial) if asked.initial else None
    final = priorities.SetFinalAffinity(asked.final) if asked.final else None
    return initial, final


def _oom_score(process: Process, spec: Spec) -> int | None:
    """The container's own value counts where the caller gives none, as with runc."""
    if process.oom_score_adj is not None:
        return process.oom_score_adj
    return spec.process.oom_score_adj if spec.process else None
