"""``process``: the words, numbers and limits of what runs.

See: config.md, Process. Pure. Next: ``isolation.py``.
"""

from __future__ import annotations

from .. import capabilities
from .rules import absolute, in_range, is_digits, items, one_of, refuse, unique

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..host import Host
    from ..spec import Capabilities, IoPriority, Process, Rlimit, Scheduler, User

MAX_ID = 2**32 - 2
"""4294967295 is -1, which tells setuid(2) to leave the id as it is."""

RLIMITS = tuple(
    f"RLIMIT_{name}"
    for name in (
        *("AS", "CORE", "CPU", "DATA", "FSIZE", "LOCKS", "MEMLOCK", "MSGQUEUE", "NICE"),
        *("NOFILE", "NPROC", "RSS", "RTPRIO", "RTTIME", "SIGPENDING", "STACK"),
    )
)
_FAIR, _REALTIME = ("SCHED_OTHER", "SCHED_BATCH"), ("SCHED_FIFO", "SCHED_RR")
POLICIES = (*_FAIR, *_REALTIME, "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE")
SCHEDULER_FLAGS = tuple(
    f"SCHED_FLAG_{name}"
    for name in (
        *("RESET_ON_FORK", "RECLAIM", "DL_OVERRUN", "KEEP_POLICY", "KEEP_PARAMS"),
        *("UTIL_CLAMP_MIN", "UTIL_CLAMP_MAX"),
    )
)
IO_CLASSES = ("IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")
_SHORTEST_DEADLINE_NS = 1024
_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")


def check(process: Process, host: Host) -> None:
    """Refuse a process that cannot run as described."""
    absolute("$.process.cwd", process.cwd)
    if not process.args or not process.args[0]:
        refuse("$.process.args", "there is nothing to run", "name at least a program")
    for path, entry in items("$.process.env", process.env):
        check_variable(path, entry)
    if process.console_size and not process.terminal:
        refuse("$.process.consoleSize", "there is no terminal", "set $.process.terminal too")
    _user(process.user)
    if process.capabilities:
        check_capabilities(process.capabilities)
    check_rlimits(process.rlimits)
    _labels(process, host)
    if process.oom_score_adj is not None:
        in_range("$.process.oomScoreAdj", process.oom_score_adj, -1000, 1000)
    if process.scheduler:
        check_scheduler(process.scheduler)
    if process.io_priority:
        check_io_priority(process.io_priority)
    if process.exec_cpu_affinity:
        check_list("$.process.execCPUAffinity.initial", process.exec_cpu_affinity.initial)
        check_list("$.process.execCPUAffinity.final", process.exec_cpu_affinity.final)


def check_variable(path: str, entry: str) -> None:
    """Refuse an environment entry that is not ``NAME=value``."""
    if entry.find("=") < 1:
        refuse(path, f"{entry!r} is not NAME=value")


def _user(user: User) -> None:
    in_range("$.process.user.uid", user.uid, 0, MAX_ID)
    in_range("$.process.user.gid", user.gid, 0, MAX_ID)
    for path, gid in items("$.process.user.additionalGids", user.additional_gids):
        in_range(path, gid, 0, MAX_ID)
    if user.umask is not None and user.umask > 0o777:
        refuse("$.process.user.umask", f"{user.umask:#o} has bits above 0777")


def check_capabilities(sets: Capabilities) -> None:
    """Refuse unknown names, and effective ones that are not permitted (capset(2): EPERM)."""
    path = "$.process.capabilities"
    for name in _SETS:
        capabilities.mask(getattr(sets, name), f"{path}.{name}")
    for where, name in items(f"{path}.effective", sets.effective):
        if name not in sets.permitted:
            refuse(where, f"{name} is not permitted", f"add it to {path}.permitted")


def check_rlimits(rlimits: tuple[Rlimit, ...]) -> None:
    """Refuse unknown or repeated limits, and soft ones above their hard ones."""
    for path, limit in items("$.process.rlimits", rlimits):
        one_of(f"{path}.type", limit.type, RLIMITS)
        if limit.soft > limit.hard:
            problem = f"{limit.soft} is above the hard limit {limit.hard}"
            refuse(f"{path}.soft", problem, "lower it, or raise the hard limit")
    unique("$.process.rlimits", (limit.type for limit in rlimits), "keep one of them")


def _labels(process: Process, host: Host) -> None:
    """Refuse what no security module of this host could enforce."""
    wanted = process.apparmor_profile
    if wanted not in ("", "unconfined") and not host.apparmor:
        hint = "leave it out, or enable AppArmor on the kernel's command line"
        refuse("$.process.apparmorProfile", f"{wanted!r}: this host has no AppArmor", hint)
    if process.selinux_label:
        hint = "leave it out: minirun sets no SELinux labels"
        refuse("$.process.selinuxLabel", "SELinux labels are not supported", hint)


def check_scheduler(scheduler: Scheduler) -> None:
    """Refuse parameters that do not belong to the policy. See: sched_setattr(2)."""
    path, policy = "$.process.scheduler", scheduler.policy
    one_of(f"{path}.policy", policy, POLICIES)
    for where, flag in items(f"{path}.flags", scheduler.flags):
        one_of(where, flag, SCHEDULER_FLAGS)
    in_range(f"{path}.nice", scheduler.nice, -20, 19)
    if scheduler.nice and policy not in _FAIR:
        refuse(f"{path}.nice", f"{policy} has no nice value", "it goes with SCHED_OTHER or BATCH")
    if policy in _REALTIME:
        in_range(f"{path}.priority", scheduler.priority, 1, 99)
    elif scheduler.priority:
        hint = "it goes with SCHED_FIFO and SCHED_RR"
        refuse(f"{path}.priority", f"{policy} has no priority", hint)
    _deadline(scheduler)


def _deadline(scheduler: Scheduler) -> None:
    path = "$.process.scheduler"
    if scheduler.policy != "SCHED_DEADLINE":
        if scheduler.runtime or scheduler.deadline or scheduler.period:
            hint = "it goes with SCHED_DEADLINE"
            refuse(f"{path}.runtime", f"{scheduler.policy} has no deadline", hint)
        return
    period = scheduler.period or scheduler.deadline
    if not _SHORTEST_DEADLINE_NS <= scheduler.runtime <= scheduler.deadline <= period:
        problem = "runtime, deadline and period must not decrease, and start at 1024 ns"
        refuse(f"{path}.runtime", problem, "see sched(7), SCHED_DEADLINE")


def check_io_priority(priority: IoPriority) -> None:
    """Refuse unknown classes and levels. See: ioprio_set(2)."""
    one_of("$.process.ioPriority.class", priority.klass, IO_CLASSES)
    in_range("$.process.ioPriority.priority", priority.priority, 0, 7)


def check_list(path: str, text: str) -> None:
    """Refuse what is not a list of numbers and ranges like ``0-3,7``; "" is none at all."""
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        numbers = (first, last) if dash else (first,)
        if not all(is_digits(number) and len(number) < 6 for number in numbers):
            refuse(path, f"{text!r} is not a list of numbers", "written like 0-3,7")
        if dash and int(first) > int(last):
            refuse(path, f"the range {part} runs backwards", f"write {last}-{first}")
