"""``process``: the words, numbers and limits of what runs.

See: config.md, Process. Pure. Next: ``priorities.py``.
"""

from __future__ import annotations

from .. import capabilities
from .rules import absolute, in_range, is_digits, items, one_of, refuse, unique

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..host import Host
    from ..spec import Capabilities, Linux, Process, Rlimit, User

MAX_ID = 2**32 - 2
"""4294967295 is -1, which tells setuid(2) to leave the id as it is."""

RLIMITS = tuple(
    f"RLIMIT_{name}"
    for name in (
        *("AS", "CORE", "CPU", "DATA", "FSIZE", "LOCKS", "MEMLOCK", "MSGQUEUE", "NICE"),
        *("NOFILE", "NPROC", "RSS", "RTPRIO", "RTTIME", "SIGPENDING", "STACK"),
    )
)
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
    if process.exec_cpu_affinity:
        check_list("$.process.execCPUAffinity.initial", process.exec_cpu_affinity.initial)
        check_list("$.process.execCPUAffinity.final", process.exec_cpu_affinity.final)


def has_priorities(process: Process | None, linux: Linux) -> bool:
    """Tell whether anything is asked of ``priorities.py``, here and in ``steps/``."""
    own = process and (process.scheduler or process.io_priority)
    return bool(own or linux.memory_policy or linux.personality)


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


def check_list(path: str, text: str) -> None:
    """Refuse what is not a list of numbers and ranges like ``0-3,7``; "" is none at all."""
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        numbers = (first, last) if dash else (first,)
        if not all(is_digits(number) and len(number) < 6 for number in numbers):
            refuse(path, f"{text!r} is not a list of numbers", "written like 0-3,7")
        if dash and int(first) > int(last):
            refuse(path, f"the range {part} runs backwards", f"write {last}-{first}")
