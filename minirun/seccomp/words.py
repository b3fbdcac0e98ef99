"""The words of a seccomp profile, and the numbers that the kernel and libseccomp know them by.

``rules`` turns the ``linux.seccomp`` of config.json into numbers, and refuses what it cannot
honour: an unknown word, an errno beside an action that returns none, a NOTIFY that nobody would
answer. So a profile with a typo fails before anything was made, not as a container that is less
closed than it looks.

See: config-linux.md, Seccomp; seccomp(2); <linux/seccomp.h>; <linux/audit.h>.

Pure. Next: ``bpf.py``.
"""

from __future__ import annotations

from ..errors import SpecError
from ..flags import SeccompFlag
from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..spec import Seccomp, SeccompArg, SyscallRule

EPERM = 1

#: SECCOMP_RET_*: the filter's verdict; the low 16 bits are the errno or the tracer's message.
ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,  # the old name of KILL_THREAD
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
}
#: The actions that carry a number, with the largest one: the kernel cuts an errno at MAX_ERRNO.
_CARRIES = {"SCMP_ACT_ERRNO": 4095, "SCMP_ACT_TRACE": 0xFFFF}

#: enum scmp_compare.
OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}

#: AUDIT_ARCH_*, as the kernel shows it to a filter. X32 is libseccomp's invention: the kernel calls
#: it x86_64 and sets bit 30 of the call's number.
ARCHITECTURES = {
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_X32": 0x4000003E,
    "SCMP_ARCH_ARM": 0x40000028,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_MIPS": 0x00000008,
    "SCMP_ARCH_MIPS64": 0x80000008,
    "SCMP_ARCH_MIPS64N32": 0xA0000008,
    "SCMP_ARCH_MIPSEL": 0x40000008,
    "SCMP_ARCH_MIPSEL64": 0xC0000008,
    "SCMP_ARCH_MIPSEL64N32": 0xE0000008,
    "SCMP_ARCH_PARISC": 0x0000000F,
    "SCMP_ARCH_PARISC64": 0x8000000F,
    "SCMP_ARCH_PPC": 0x00000014,
    "SCMP_ARCH_PPC64": 0x80000015,
    "SCMP_ARCH_PPC64LE": 0xC0000015,
    "SCMP_ARCH_S390": 0x00000016,
    "SCMP_ARCH_S390X": 0x80000016,
    "SCMP_ARCH_RISCV64": 0xC00000F3,
    "SCMP_ARCH_LOONGARCH64": 0xC0000102,
}

X86_64, X32 = ARCHITECTURES["SCMP_ARCH_X86_64"], ARCHITECTURES["SCMP_ARCH_X32"]

FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": SeccompFlag.SECCOMP_FILTER_FLAG_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": SeccompFlag.SECCOMP_FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": SeccompFlag.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": (SeccompFlag.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV),
}


class Condition(Record):
    """One comparison of the call's argument number ``index`` (from 0).

    ``a`` is the value; for MASKED_EQ it is the mask and ``b`` the value.
    """

    index: int
    op: int
    a: int
    b: int = 0


class Rule(Record):
    """These calls get this verdict where every condition holds; no condition: always."""

    path: str
    names: tuple[str, ...]
    action: int
    conditions: tuple[Condition, ...] = ()


def needs_listener(seccomp: Seccomp) -> bool:
    """Return True where some call is handed to a supervisor: the load then returns an fd."""
    return any(rule.action == "SCMP_ACT_NOTIFY" for rule in seccomp.syscalls)


def load_flags(seccomp: Seccomp, path: str = "$.linux.seccomp") -> SeccompFlag:
    """Return the flags for seccomp(2).

    No ``flags`` at all means SPEC_ALLOW, as in runc: without it, x86 loses its speculative store
    bypass with every filter, and with that some speed. TSYNC is accepted and dropped: the process
    that loads the filter has one thread. See: config-linux.md, Seccomp, flags.

    Raises:
        SpecError: a flag is unknown, or cannot have its effect.
    """
    if seccomp.flags is None:
        flags = SeccompFlag.SECCOMP_FILTER_FLAG_SPEC_ALLOW
    else:
        flags = SeccompFlag(0)
        for i, name in enumerate(seccomp.flags):
            flags |= _number(FLAGS, name, f"{path}.flags[{i}]")
    if needs_listener(seccomp):
        flags |= SeccompFlag.SECCOMP_FILTER_FLAG_NEW_LISTENER
    elif flags & SeccompFlag.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV:
        problem = "WAIT_KILLABLE_RECV without a rule that notifies"
        raise SpecError(f"{path}.flags", problem, hint="the kernel refuses it with EINVAL")
    return flags & ~SeccompFlag.SECCOMP_FILTER_FLAG_TSYNC


def default_action(seccomp: Seccomp, path: str = "$.linux.seccomp") -> int:
    """Return the verdict for calls that no rule names.

    Raises:
        SpecError: it is unknown, or NOTIFY: init could then not even send the listener away.
    """
    if seccomp.default_action == "SCMP_ACT_NOTIFY":
        raise SpecError(f"{path}.defaultAction", "SCMP_ACT_NOTIFY cannot be the default action")
    where = (f"{path}.defaultAction", f"{path}.defaultErrnoRet")
    return _action(seccomp.default_action, seccomp.default_errno_ret, *where)


def architectures(seccomp: Seccomp, path: str = "$.linux.seccomp") -> tuple[int, ...]:
    """Return the AUDIT_ARCH_* numbers of the profile. Raises SpecError on an unknown name."""
    given = enumerate(seccomp.architectures)
    return tuple(_number(ARCHITECTURES, name, f"{path}.architectures[{i}]") for i, name in given)


def rules(seccomp: Seccomp, path: str = "$.linux.seccomp") -> tuple[Rule, ...]:
    """Return the rules as numbers, without those that only repeat the default action.

    Raises:
        SpecError: a word is unknown, or the rule cannot be honoured.
    """
    default = default_action(seccomp, path)
    if needs_listener(seccomp) and not seccomp.listener_path:
        problem = "SCMP_ACT_NOTIFY without a socket to send the listener to"
        raise SpecError(f"{path}.listenerPath", problem)
    found: list[Rule] = []
    for i, rule in enumerate(seccomp.syscalls):
        found += _rules(rule, f"{path}.syscalls[{i}]")
    return tuple(rule for rule in found if rule.action != default)


def _rules(rule: SyscallRule, path: str) -> list[Rule]:
    """Return one rule; or one per comparison, where two compare the same argument.

    runc reads such a pair as "or", because libseccomp cannot hold both in one rule. Profiles in
    the wild rely on it (opencontainers/runc#2735).
    """
    if not rule.names:
        raise SpecError(f"{path}.names", "a rule must name a system call")
    if rule.action == "SCMP_ACT_NOTIFY" and "write" in rule.names:
        problem = "SCMP_ACT_NOTIFY cannot be used for write: init needs it to report"
        raise SpecError(f"{path}.names", problem)
    action = _action(rule.action, rule.errno_ret, f"{path}.action", f"{path}.errnoRet")
    conditions = tuple(_condition(a, f"{path}.args[{i}]") for i, a in enumerate(rule.args))
    if len({c.index for c in conditions}) < len(conditions):
        return [Rule(path, rule.names, action, (condition,)) for condition in conditions]
    return [Rule(path, rule.names, action, conditions)]


def _action(name: str, number: int | None, path: str, number_path: str) -> int:
    """Return a verdict with its errno, EPERM unless given."""
    action = _number(ACTIONS, name, path)
    if number is None:
        return action | (EPERM if name in _CARRIES else 0)
    if name not in _CARRIES:
        raise SpecError(number_path, f"{name} returns no error number")
    if number > _CARRIES[name]:
        raise SpecError(number_path, f"{number} is above {_CARRIES[name]}")
    return action | number


def _condition(arg: SeccompArg, path: str) -> Condition:
    if arg.index > 5:
        raise SpecError(f"{path}.index", f"{arg.index} is above 5: a call has six arguments")
    op = _number(OPERATORS, arg.op, f"{path}.op")
    masked = arg.op == "SCMP_CMP_MASKED_EQ"
    return Condition(arg.index, op, arg.value, arg.value_two if masked else 0)


def _number(table: Mapping[str, int], name: str, path: str) -> int:
    if name not in table:
        raise SpecError(path, f"unknown value {name!r}", hint=f"one of {', '.join(table)}")
    return table[name]
