"""Compiled filters: run instruction by instruction, and compared with the profile itself."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minirun.capabilities import DEFAULT
from minirun.errors import SpecError
from minirun.flags import SeccompFlag
from minirun.seccomp.compile import compile_filter
from minirun.seccomp.profile import default_profile, resolve
from minirun.seccomp.words import load_flags, needs_listener
from minirun.spec import Seccomp, SeccompArg, SyscallRule
from tests.unit.seccomp_oracle import (
    ENOSYS,
    I386,
    KILL_THREAD,
    NUMBERS,
    X32_BIT,
    X86_64,
    run,
    verdict,
)

pytestmark = pytest.mark.requires("seccomp")

ALLOW, EPERM = 0x7FFF0000, 0x00050001


def one(*names: str, action: str = "SCMP_ACT_ALLOW", args: tuple[SeccompArg, ...] = ()) -> Seccomp:
    return Seccomp("SCMP_ACT_ERRNO", syscalls=(SyscallRule(names, action, None, args),))


# ---- single decisions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "number", "expected"),
    [
        ("SCMP_ACT_KILL", None, 0x00000000),
        ("SCMP_ACT_KILL_THREAD", None, 0x00000000),
        ("SCMP_ACT_KILL_PROCESS", None, 0x80000000),
        ("SCMP_ACT_TRAP", None, 0x00030000),
        ("SCMP_ACT_ERRNO", None, 0x00050001),
        ("SCMP_ACT_ERRNO", 95, 0x0005005F),
        ("SCMP_ACT_ERRNO", 0, 0x00050000),
        ("SCMP_ACT_TRACE", None, 0x7FF00001),
        ("SCMP_ACT_TRACE", 0xFFFF, 0x7FF0FFFF),
        ("SCMP_ACT_LOG", None, 0x7FFC0000),
        ("SCMP_ACT_NOTIFY", None, 0x7FC00000),
    ],
)
def test_compile_knows_every_action(action: str, number: int | None, expected: int) -> None:
    rule = SyscallRule(("getpid",), action, number)
    program = compile_filter(
        Seccomp("SCMP_ACT_ALLOW", listener_path="/run/agent", syscalls=(rule,))
    )
    assert run(program, 39, X86_64) == expected
    assert run(program, 0, X86_64) == ALLOW


def test_compile_makes_an_unnamed_call_fail_with_eperm() -> None:
    program = compile_filter(one("getpid", "unshare"))
    assert run(program, 41, X86_64) == EPERM


def test_compile_makes_calls_newer_than_the_profile_unknown() -> None:
    program = compile_filter(one("getpid", "unshare"))
    assert run(program, 272, X86_64) == ALLOW
    assert run(program, 273, X86_64) == ENOSYS
    assert run(program, 9999, X86_64) == ENOSYS


def test_compile_counts_the_newest_call_on_each_architecture() -> None:
    arches = ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")
    rules = (SyscallRule(("getpid", "unshare"), "SCMP_ACT_ALLOW"),)
    program = compile_filter(Seccomp("SCMP_ACT_ERRNO", architectures=arches, syscalls=rules))
    assert run(program, 310, I386) == ALLOW  # unshare
    assert run(program, 309, I386) == EPERM
    assert run(program, 311, I386) == ENOSYS
    assert run(program, X32_BIT | 272, X86_64) == ALLOW
    assert run(program, X32_BIT | 271, X86_64) == EPERM
    assert run(program, X32_BIT | 273, X86_64) == ENOSYS
    assert run(program, 273, X86_64) == ENOSYS


def test_compile_knows_the_late_numbers_of_i386_sockets() -> None:
    """What if libseccomp says "through socketcall" for a call that also has a number?"""
    rules = (SyscallRule(("getpid", "socket"), "SCMP_ACT_ALLOW"),)
    program = compile_filter(Seccomp("SCMP_ACT_ERRNO", None, ("SCMP_ARCH_X86",), syscalls=rules))
    assert run(program, 359, I386) == ALLOW
    assert run(program, 360, I386) == ENOSYS


def test_compile_counts_names_that_only_repeat_the_default() -> None:
    """As in runc: whoever denies openat2 by name knows it, so EPERM is the answer it wants."""
    allowed = SyscallRule(("getpid",), "SCMP_ACT_ALLOW")
    denied = SyscallRule(("openat2",), "SCMP_ACT_ERRNO")
    program = compile_filter(Seccomp("SCMP_ACT_ERRNO", syscalls=(allowed, denied)))
    assert run(program, 437, X86_64) == EPERM
    assert run(program, 438, X86_64) == ENOSYS


@pytest.mark.parametrize("default", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
def test_compile_leaves_new_calls_alone_where_the_default_lets_them_pass(default: str) -> None:
    rules = (SyscallRule(("getpid",), "SCMP_ACT_ERRNO"),)
    program = compile_filter(Seccomp(default, syscalls=rules))
    assert run(program, 9999, X86_64) != ENOSYS


def test_compile_kills_what_comes_from_another_architecture() -> None:
    program = compile_filter(one("getpid"))
    assert run(program, 20, I386) == KILL_THREAD
    assert run(program, X32_BIT | 39, X86_64) == KILL_THREAD


def test_compile_skips_calls_that_libseccomp_does_not_know() -> None:
    program = compile_filter(one("getpid", "call_of_the_future"))
    assert run(program, 39, X86_64) == ALLOW


def test_compile_reads_two_comparisons_of_one_argument_as_or() -> None:
    args = (SeccompArg(0, 8, "SCMP_CMP_EQ"), SeccompArg(0, 0, "SCMP_CMP_EQ"))
    program = compile_filter(one("personality", args=args))
    verdicts = [run(program, 135, X86_64, [value]) for value in (0, 8, 9)]
    assert verdicts == [ALLOW, ALLOW, EPERM]


# ---- the default profile ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def default_program() -> bytes:
    return compile_filter(resolve(default_profile(), DEFAULT, "x86_64", "6.1"))


def test_default_program_fits_the_kernel(default_program: bytes) -> None:
    assert 1000 < len(default_program) // 8 < 2000


@pytest.mark.parametrize(
    ("number", "args", "expected"),
    [
        (0, (), ALLOW),  # read
        (59, (), ALLOW),  # execve
        (272, (0x10000000,), EPERM),  # unshare
        (165, (), EPERM),  # mount
        (250, (), EPERM),  # keyctl
        (425, (), EPERM),  # io_uring_setup
        (101, (), ALLOW),  # ptrace
        (161, (), ALLOW),  # chroot: CAP_SYS_CHROOT is kept
        (435, (), ENOSYS),  # clone3
        (9999, (), ENOSYS),
        (56, (17,), ALLOW),  # clone: a plain fork
        (56, (17 | 0x10000000,), EPERM),  # CLONE_NEWUSER
        (56, (17 | 0x20000,), EPERM),  # CLONE_NEWNS
        (41, (2,), ALLOW),  # socket AF_INET
        (41, (16,), ALLOW),  # AF_NETLINK
        (41, (38,), EPERM),  # AF_ALG
        (41, (40,), EPERM),  # AF_VSOCK
        (41, (46,), EPERM),  # a family of the future
        (135, (0x20008,), ALLOW),  # personality
        (135, (0xFFFFFFFF,), ALLOW),
        (135, (0x40000,), EPERM),  # ADDR_NO_RANDOMIZE
    ],
)
def test_default_program_decides(
    default_program: bytes, number: int, args: tuple[int, ...], expected: int
) -> None:
    assert run(default_program, number, X86_64, args) == expected


def test_default_program_filters_32_bit_programs_too(default_program: bytes) -> None:
    assert run(default_program, 20, I386) == ALLOW  # getpid
    assert run(default_program, 310, I386) == EPERM  # unshare
    assert run(default_program, 435, I386) == ENOSYS  # clone3


# ---- any profile --------------------------------------------------------------------------------

# Values around the points where 64-bit comparison is done in halves.
VALUES = [0, 1, 2, 8, 0xFFFFFFFE, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, (1 << 64) - 1]
OPERATORS = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]
ACTIONS = ["KILL_PROCESS", "TRAP", "ERRNO", "ALLOW", "LOG", "TRACE"]


@st.composite
def arguments(draw: st.DrawFn, values: list[int]) -> SeccompArg:
    op = draw(st.sampled_from(OPERATORS))
    value, two = draw(st.sampled_from(values)), 0
    if op == "MASKED_EQ":
        two = draw(st.sampled_from(values)) & value
    return SeccompArg(draw(st.integers(0, 2)), value, f"SCMP_CMP_{op}", two)


@st.composite
def profiles(draw: st.DrawFn, arch: int, values: list[int]) -> Seccomp:
    """Return a profile with one action per call: where two actions fit, nothing is promised."""
    rules = []
    default = draw(st.sampled_from(ACTIONS))
    for name in draw(st.lists(st.sampled_from(sorted(NUMBERS[arch])), unique=True, max_size=4)):
        action = draw(st.sampled_from(ACTIONS))
        errno = draw(st.sampled_from([None, 2, 38])) if action in ("ERRNO", "TRACE") else None
        for _ in range(draw(st.integers(1, 2))):
            args = tuple(draw(st.lists(arguments(values), max_size=2)))
            rules.append(SyscallRule((name,), f"SCMP_ACT_{action}", errno, args))
    arches = ("SCMP_ARCH_X86",) if arch == I386 else ()
    return Seccomp(f"SCMP_ACT_{default}", architectures=arches, syscalls=tuple(rules))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.sampled_from([X86_64, I386]))
def test_compile_agrees_with_the_profile(data: st.DataObject, arch: int) -> None:
    values = VALUES if arch == X86_64 else [v for v in VALUES if v < 1 << 32]
    seccomp = data.draw(profiles(arch, values))
    program = compile_filter(seccomp)
    for number in (*NUMBERS[arch].values(), 438, 4000):
        args = data.draw(st.lists(st.sampled_from(values), min_size=3, max_size=3))
        assert run(program, number, arch, args) == verdict(seccomp, number, arch, args), number


# ---- what cannot be honoured --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seccomp", "problem"),
    [
        (
            Seccomp("SCMP_ACT_DENY"),
            r"\$.linux.seccomp.defaultAction: unknown value 'SCMP_ACT_DENY'",
        ),
        (Seccomp("SCMP_ACT_NOTIFY"), "NOTIFY cannot be the default"),
        (Seccomp("SCMP_ACT_ALLOW", 1), r"defaultErrnoRet: SCMP_ACT_ALLOW returns no error number"),
        (Seccomp("SCMP_ACT_ERRNO", 4096), "4096 is above 4095"),
        (
            Seccomp("SCMP_ACT_ALLOW", architectures=("SCMP_ARCH_VAX",)),
            r"architectures\[0\]: unknown value 'SCMP_ARCH_VAX'",
        ),
        (
            Seccomp("SCMP_ACT_ALLOW", architectures=("SCMP_ARCH_S390X",)),
            r"architectures: SCMP_ARCH_S390X cannot share a filter",
        ),
        (Seccomp("SCMP_ACT_ALLOW", flags=("LOG",)), r"flags\[0\]: unknown value 'LOG'"),
        (one(), r"syscalls\[0\].names: a rule must name"),
        (one("getpid", action="ALLOW"), r"syscalls\[0\].action: unknown value 'ALLOW'"),
        (one("write", action="SCMP_ACT_NOTIFY"), "listenerPath: SCMP_ACT_NOTIFY without a socket"),
        (
            one("socket", args=(SeccompArg(6, 0, "SCMP_CMP_EQ"),)),
            r"syscalls\[0\].args\[0\].index: 6 is above 5",
        ),
        (one("socket", args=(SeccompArg(0, 0, "=="),)), r"args\[0\].op: unknown value '=='"),
    ],
)
def test_compile_refuses_by_path(seccomp: Seccomp, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        compile_filter(seccomp)


def test_compile_refuses_to_notify_for_write() -> None:
    rules = (SyscallRule(("write",), "SCMP_ACT_NOTIFY"),)
    with pytest.raises(SpecError, match="init needs it to report"):
        compile_filter(Seccomp("SCMP_ACT_ALLOW", listener_path="/run/agent", syscalls=rules))


def test_compile_refuses_what_the_kernel_would_not_take() -> None:
    """A rule costs a few instructions; 2000 different values exceed 4096 of them."""
    args = [(SeccompArg(0, value << 32 | value, "SCMP_CMP_EQ"),) for value in range(2000)]
    rules = tuple(SyscallRule(("socket",), "SCMP_ACT_ALLOW", None, arg) for arg in args)
    with pytest.raises(SpecError, match="instructions, the kernel takes 4096"):
        compile_filter(Seccomp("SCMP_ACT_ERRNO", syscalls=rules))


_WITHOUT_LIBRARY = """
from minirun.errors import HostError
from minirun.seccomp import library
library.SONAME = "libseccomp-of-nowhere.so.2"
try:
    library.load()
except HostError as error:
    print(error, error.hint, sep="|")
"""


def test_load_says_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_LIBRARY], capture_output=True, text=True, check=True
    )
    message, _, hint = done.stdout.strip().partition("|")
    assert "libseccomp-of-nowhere.so.2 cannot be loaded" in message
    assert hint == "apt install libseccomp2"


# ---- flags --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (None, SeccompFlag.SECCOMP_FILTER_FLAG_SPEC_ALLOW),
        ((), SeccompFlag(0)),
        (("SECCOMP_FILTER_FLAG_LOG",), SeccompFlag.SECCOMP_FILTER_FLAG_LOG),
        (("SECCOMP_FILTER_FLAG_TSYNC",), SeccompFlag(0)),
    ],
)
def test_load_flags(flags: tuple[str, ...] | None, expected: SeccompFlag) -> None:
    assert load_flags(Seccomp("SCMP_ACT_ALLOW", flags=flags)) == expected


def test_load_flags_ask_for_a_listener_where_one_is_needed() -> None:
    rules = (SyscallRule(("mkdir",), "SCMP_ACT_NOTIFY"),)
    seccomp = Seccomp("SCMP_ACT_ALLOW", flags=(), syscalls=rules)
    assert needs_listener(seccomp)
    assert load_flags(seccomp) == SeccompFlag.SECCOMP_FILTER_FLAG_NEW_LISTENER


def test_load_flags_refuse_what_needs_a_listener() -> None:
    seccomp = Seccomp("SCMP_ACT_ALLOW", flags=("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",))
    with pytest.raises(SpecError, match="WAIT_KILLABLE_RECV without a rule that notifies"):
        load_flags(seccomp)


# ---- where libseccomp merges wrongly ------------------------------------------------------------


@pytest.mark.parametrize(
    "rules",
    [
        [[(0, "LT", 8, 0)], [(0, "LT", 1 << 32, 0)]],
        [[(0, "LE", 2, 0)], [(0, "GE", 0xFFFFFFFF, 0)]],
        [[(1, "NE", 0, 0), (2, "NE", 0, 0)], [(1, "MASKED_EQ", 1, 0)]],
        [[(0, "GT", 1, 0), (1, "LE", 8, 0)], [(0, "EQ", 1 << 32, 0), (2, "GE", 2, 0)]],
    ],
)
@pytest.mark.parametrize("arch", [X86_64, I386])
def test_compile_decides_what_libseccomp_gets_wrong(
    rules: list[list[tuple[int, str, int, int]]], arch: int
) -> None:
    """Every combination of every interesting value, for each argument that is compared."""
    made = tuple(
        SyscallRule(
            ("getpid",),
            "SCMP_ACT_ALLOW",
            None,
            tuple(SeccompArg(i, value, f"SCMP_CMP_{op}", two) for i, op, value, two in rule),
        )
        for rule in rules
    )
    newest = SyscallRule(("openat2",), "SCMP_ACT_ALLOW")
    seccomp = Seccomp("SCMP_ACT_ERRNO", None, ("SCMP_ARCH_X86",), syscalls=(*made, newest))
    program, number = compile_filter(seccomp), NUMBERS[arch]["getpid"]
    for args in itertools.product(VALUES, repeat=3):
        assert run(program, number, arch, args) == verdict(seccomp, number, arch, args), args
