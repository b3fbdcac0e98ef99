"""Two independent answers to one question: what does this filter do with this call?

``run`` executes a compiled program as the kernel would; ``verdict`` reads the profile's rules one
by one. Numbers of calls are written down here from the kernel's tables, so that neither of them
asks libseccomp.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from minirun.seccomp.words import ACTIONS
from minirun.spec import Seccomp, SeccompArg, SyscallRule

X86_64, I386 = 0xC000003E, 0x40000003
X32_BIT = 0x40000000
KILL_THREAD, ENOSYS = 0, 0x00050026

NUMBERS = {
    X86_64: {
        "read": 0,
        "getpid": 39,
        "socket": 41,
        "clone": 56,
        "personality": 135,
        "unshare": 272,
        "openat2": 437,
    },
    I386: {
        "read": 3,
        "getpid": 20,
        "waitpid": 7,
        "socket": 359,
        "clone": 120,
        "personality": 136,
        "unshare": 310,
        "openat2": 437,
    },
}


def run(program: bytes, number: int, arch: int, args: Sequence[int] = ()) -> int:
    """Return the verdict of a program: classic BPF over struct seccomp_data."""
    words = [*args, *[0] * (6 - len(args))]
    data = struct.pack("=IIQ6Q", number, arch, 0, *words)
    code = list(struct.iter_unpack("=HBBI", program))
    counter = accumulator = 0
    while True:
        operation, if_true, if_false, constant = code[counter]
        counter += 1
        match operation:
            case 0x20:  # ld [k]
                (accumulator,) = struct.unpack_from("=I", data, constant)
            case 0x54:  # and #k
                accumulator &= constant
            case 0x05:  # ja
                counter += constant
            case 0x15:  # jeq
                counter += if_true if accumulator == constant else if_false
            case 0x25:  # jgt
                counter += if_true if accumulator > constant else if_false
            case 0x35:  # jge
                counter += if_true if accumulator >= constant else if_false
            case 0x45:  # jset
                counter += if_true if accumulator & constant else if_false
            case 0x06:  # ret #k
                return int(constant)
            case _:
                raise AssertionError(f"instruction {counter - 1}: unknown code {operation:#x}")


def verdict(seccomp: Seccomp, number: int, arch: int, args: Sequence[int] = ()) -> int:
    """Return what the profile says, rule by rule."""
    native = (X86_64, *(I386 for name in seccomp.architectures if name == "SCMP_ARCH_X86"))
    if arch not in native or (arch == X86_64 and number & X32_BIT):
        return KILL_THREAD
    named = [name for rule in seccomp.syscalls for name in rule.names]
    largest = max((NUMBERS[arch].get(name, -1) for name in named), default=-1)
    strict = seccomp.default_action not in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
    if strict and seccomp.default_errno_ret != 38 and 0 < largest < number:
        return ENOSYS
    for rule in seccomp.syscalls:
        if number in [NUMBERS[arch].get(name) for name in rule.names] and matches(rule, args):
            return action_number(rule.action, rule.errno_ret)
    return action_number(seccomp.default_action, seccomp.default_errno_ret)


def action_number(action: str, number: int | None) -> int:
    carries = action in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
    return ACTIONS[action] | ((1 if number is None else number) if carries else 0)


def matches(rule: SyscallRule, args: Sequence[int]) -> bool:
    """Return True where the rule's comparisons hold; two of one argument mean "or"."""
    held = [compare(arg, args[arg.index]) for arg in rule.args]
    indexes = [arg.index for arg in rule.args]
    return any(held) if len(set(indexes)) < len(indexes) else all(held)


def compare(arg: SeccompArg, found: int) -> bool:
    return {
        "SCMP_CMP_NE": found != arg.value,
        "SCMP_CMP_LT": found < arg.value,
        "SCMP_CMP_LE": found <= arg.value,
        "SCMP_CMP_EQ": found == arg.value,
        "SCMP_CMP_GE": found >= arg.value,
        "SCMP_CMP_GT": found > arg.value,
        "SCMP_CMP_MASKED_EQ": found & arg.value == arg.value_two,
    }[arg.op]
