"""``linux.seccomp`` of config.json → a BPF program, by libseccomp.

Runs in the host-side parent, before any fork: compiling loads libraries and takes milliseconds, and
neither may happen inside the container. The result is bytes, so it can be cached (``cache.py``),
passed over a fork, and loaded by one system call.

See: seccomp_rule_add(3), seccomp_export_bpf(3), seccomp(2).

Next: ``cache.py``, which most callers want instead.
"""

from __future__ import annotations

import os

from ..errors import HostError, SpecError
from . import library
from .arguments import block, mergeable
from .enosys import prologue
from .words import (
    ACTIONS,
    ARCHITECTURES,
    X32,
    X86_64,
    architectures,
    default_action,
    load_flags,
    rules,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from pyseccomp import SyscallFilter

    from ..spec import Seccomp
    from .words import Rule

#: BPF_MAXINSNS: the kernel refuses a longer program.
MAX_INSTRUCTIONS = 4096

_UNKNOWN = -1  # __NR_SCMP_ERROR
_BINARY_TREE = 2
_AFTER_IPC = 402  # msgctl, the last of the calls that got numbers late
# libseccomp <= 2.5.4 makes a wrong tree of a filter without rules; a short one needs none.
_WORTH_A_TREE = 32
_PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")


def compile_filter(seccomp: Seccomp, path: str = "$.linux.seccomp") -> bytes:
    """Return the program for ``kernel.seccomp_set_mode_filter``: 8 bytes per instruction.

    Calls that libseccomp does not know are skipped, as in runc: profiles name calls of newer
    kernels. The native architecture is always part of the filter.

    Raises:
        SpecError: the profile cannot be honoured; names the JSON path.
        HostError: libseccomp is missing, or too old for the profile.
    """
    default = default_action(seccomp, path)
    by_name = _by_name(rules(seccomp, path))
    load_flags(seccomp, path)  # refused here, before the first effect
    lib = library.load()
    arches = tuple(dict.fromkeys((lib.system_arch(), *architectures(seccomp, path))))
    ours = {name: held for name, held in by_name.items() if not mergeable(held)}
    theirs = {name: held for name, held in by_name.items() if name not in ours}
    program = _decisions(lib, arches, ours, default)
    program += _merged(lib, _filter(lib, default, arches, path), theirs)
    if _hides_new_calls(seccomp):
        program = prologue(_largest(lib, seccomp, arches)) + program
    if len(program) // 8 > MAX_INSTRUCTIONS:
        problem = f"the filter has {len(program) // 8} instructions, the kernel takes 4096"
        raise SpecError(path, problem, hint="name fewer architectures or compare fewer arguments")
    return program


def _by_name(all_rules: tuple[Rule, ...]) -> dict[str, list[Rule]]:
    """Return the rules of each call."""
    found: dict[str, list[Rule]] = {}
    for rule in all_rules:
        for name in rule.names:
            found.setdefault(name, []).append(rule)
    return found


def _decisions(
    lib: ModuleType, arches: tuple[int, ...], ours: dict[str, list[Rule]], default: int
) -> bytes:
    """Return our own code for the calls whose rules libseccomp would merge wrongly."""
    blocks = []
    for name, held in ours.items():
        for arch in arches:
            number = _largest_on(lib, arch, {name})
            if number >= 0:
                blocks.append(block(X86_64 if arch == X32 else arch, number, held, default))
    return b"".join(blocks)


def _merged(lib: ModuleType, made: SyscallFilter, theirs: dict[str, list[Rule]]) -> bytes:
    """Return libseccomp's program for the other calls."""
    if len(theirs) > _WORTH_A_TREE:
        _optimize(lib, made)
    for name, held in theirs.items():
        for rule in held:
            _add(lib, made, name, rule)
    return _export(made)


def _filter(lib: ModuleType, default: int, arches: tuple[int, ...], path: str) -> SyscallFilter:
    """Return an empty filter for these architectures."""
    made = lib.SyscallFilter(default)
    spelled = {number: name for name, number in ARCHITECTURES.items()}
    for arch in arches[1:]:
        try:
            made.add_arch(arch)
        except OSError as error:
            problem = f"{spelled[arch]} cannot share a filter with this machine: {error.strerror}"
            raise SpecError(f"{path}.architectures", problem) from error
    return made


def _optimize(lib: ModuleType, made: SyscallFilter) -> None:
    """Ask for a binary tree by number, so that the 350th call costs no more than the first."""
    try:
        made.set_attr(lib.Attr.CTL_OPTIMIZE, _BINARY_TREE)
    except OSError:  # libseccomp < 2.5 has only the list: slower, never wrong
        return


def _add(lib: ModuleType, made: SyscallFilter, name: str, rule: Rule) -> None:
    number = lib.resolve_syscall(lib.Arch.NATIVE, name)
    if number == _UNKNOWN:
        return
    conditions = [lib.Arg(c.index, c.op, c.a, c.b) for c in rule.conditions]
    try:
        made.add_rule(rule.action, number, *conditions)
    except OSError as error:
        message = f"libseccomp refuses the rule for {name}: {error.strerror}"
        if rule.action == ACTIONS["SCMP_ACT_NOTIFY"]:
            hint = "SCMP_ACT_NOTIFY needs libseccomp 2.5 and Linux 5.7"
            raise HostError(message, hint=hint) from error
        raise SpecError(rule.path, message) from error


def _export(made: SyscallFilter) -> bytes:
    """Return the program, in this machine's byte order."""
    with os.fdopen(os.memfd_create("seccomp", os.MFD_CLOEXEC), "rb") as file:
        made.export_bpf(file)
        file.seek(0)
        program: bytes = file.read()
    return program


def _hides_new_calls(seccomp: Seccomp) -> bool:
    """Return True where an unknown call would be refused with anything but ENOSYS."""
    return seccomp.default_action not in _PERMISSIVE and seccomp.default_errno_ret != 38


def _largest(lib: ModuleType, seccomp: Seccomp, arches: tuple[int, ...]) -> dict[int, int]:
    """Return the largest number named on each architecture; one without any is left out."""
    names = {name for rule in seccomp.syscalls for name in rule.names}
    found = {arch: _largest_on(lib, arch, names) for arch in arches}
    return {arch: number for arch, number in found.items() if number > 0}


def _largest_on(lib: ModuleType, arch: int, names: set[str]) -> int:
    """Return the largest number, or one below zero: unknown, or not on this architecture.

    From -101 to -224 libseccomp means "through socketcall or ipc". i386 has had numbers of their
    own for these since Linux 4.3, which it tells only when asked the other way round.
    """
    numbers = [lib.resolve_syscall(arch, name) for name in names]
    largest: int = max(numbers, default=_UNKNOWN)
    if any(-224 <= number <= -101 for number in numbers):
        for number in range(_AFTER_IPC, largest, -1):
            if _name(lib, arch, number) in names:
                return number
    return largest


def _name(lib: ModuleType, arch: int, number: int) -> str:
    """Return the name of a call, "" for a hole in the table."""
    try:
        name: bytes = lib.resolve_syscall(arch, number)
    except ValueError:
        return ""
    return name.decode()
