"""Compiled filters in the real kernel: each test forks a child and confines it."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import socket
import struct
from collections.abc import Callable

import pytest

from minirun import kernel
from minirun.capabilities import DEFAULT
from minirun.flags import PR_SET_NO_NEW_PRIVS, SeccompFlag
from minirun.seccomp.compile import compile_filter
from minirun.seccomp.profile import default_profile, resolve
from minirun.seccomp.words import load_flags
from minirun.spec import Seccomp, SyscallRule

pytestmark = pytest.mark.requires("seccomp")

X86 = os.uname().machine == "x86_64"
NO_FLAGS = SeccompFlag(0)
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x20000
#: (x86_64, aarch64)
NUMBERS = {
    "personality": (135, 92),
    "clone": (56, 220),
    "unshare": (272, 97),
    "keyctl": (250, 219),
    "setns": (308, 268),
    "acct": (163, 89),
    "getppid": (110, 173),
}

_libc = ctypes.CDLL(None, use_errno=True)


def call(number: int, *args: int) -> int:
    """Make a system call; returns its result, or minus errno."""
    result: int = _libc.syscall(ctypes.c_long(number), *map(ctypes.c_ulong, args))
    return -ctypes.get_errno() if result == -1 else result


def named(name: str, *args: int) -> int:
    return call(NUMBERS[name][0 if X86 else 1], *args)


def confined(program: bytes, probe: Callable[[], int], flags: SeccompFlag = NO_FLAGS) -> int:
    """Return what the probe returned under the filter, or raise when the child was killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            kernel.prctl(PR_SET_NO_NEW_PRIVS, 1)
            kernel.seccomp_set_mode_filter(program, flags)
            os.write(writer, struct.pack("=q", probe()))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise ChildProcessError(signal.Signals(os.WTERMSIG(status)).name)
    (result,) = struct.unpack("=q", answer)
    return int(result)


def for_host(*capabilities: str) -> bytes:
    host = os.uname()
    return compile_filter(resolve(default_profile(), capabilities, host.machine, host.release))


@pytest.fixture(scope="module")
def default_program() -> bytes:
    return for_host(*DEFAULT)


# ---- the default profile ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "probe",
    [
        lambda: named("keyctl", 9999),
        lambda: named("setns", 0xFFFFFFFF, 0),
        lambda: named("acct", 1),
        lambda: call(425, 0, 0),
        lambda: named("unshare", 0),
        lambda: named("unshare", CLONE_NEWUSER),
        lambda: named("clone", CLONE_NEWUSER | signal.SIGCHLD),
        lambda: named("clone", CLONE_NEWNS | signal.SIGCHLD),
        lambda: named("personality", 0x0040000),
    ],
    ids=[
        "keyctl",
        "setns",
        "acct",
        "io_uring_setup",
        "unshare",
        "unshare user",
        "clone user",
        "clone mount",
        "personality ADDR_NO_RANDOMIZE",
    ],
)
def test_default_profile_answers_eperm(default_program: bytes, probe: Callable[[], int]) -> None:
    assert confined(default_program, probe) == -errno.EPERM


def test_default_profile_hides_clone3(default_program: bytes) -> None:
    """Size 0 makes it EINVAL where it is not filtered."""
    allow = compile_filter(Seccomp("SCMP_ACT_ALLOW"))
    assert confined(allow, lambda: call(435, 0, 0)) == -errno.EINVAL
    assert confined(default_program, lambda: call(435, 0, 0)) == -errno.ENOSYS


def test_default_profile_hides_calls_of_the_future(default_program: bytes) -> None:
    assert confined(default_program, lambda: call(9999)) == -errno.ENOSYS


def test_default_profile_allows_only_known_personalities(default_program: bytes) -> None:
    asked = 0xFFFFFFFF
    assert confined(default_program, lambda: named("personality", asked)) == named(
        "personality", asked
    )


def _open(family: int) -> int:
    try:
        socket.socket(family, socket.SOCK_DGRAM).close()
    except OSError as error:
        return -(error.errno or 0)
    return 0


def test_default_profile_allows_ordinary_sockets(default_program: bytes) -> None:
    assert confined(default_program, lambda: _open(socket.AF_UNIX)) == 0
    assert confined(default_program, lambda: _open(socket.AF_INET6)) == _open(socket.AF_INET6)


@pytest.mark.parametrize("family", [38, 40], ids=["AF_ALG", "AF_VSOCK"])
def test_default_profile_refuses_sockets_out_of_the_container(
    default_program: bytes, family: int
) -> None:
    assert confined(default_program, lambda: _open(family)) == -errno.EPERM


def _fork_and_wait() -> int:
    child = os.fork()
    if child == 0:
        os._exit(7)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def test_default_profile_lets_a_process_fork(default_program: bytes) -> None:
    assert confined(default_program, _fork_and_wait) == 7


def test_default_profile_lets_an_administrator_unshare() -> None:
    assert confined(for_host("CAP_SYS_ADMIN"), lambda: named("unshare", 0)) == 0


def _mode() -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        (line,) = [line for line in status if line.startswith("Seccomp:")]
    return int(line.split()[1])


@pytest.mark.parametrize(
    "flag",
    ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"],
)
def test_kernel_takes_every_flag(default_program: bytes, flag: str) -> None:
    flags = load_flags(Seccomp("SCMP_ACT_ALLOW", flags=(flag,)))
    assert confined(default_program, _mode, flags) == 2  # SECCOMP_MODE_FILTER


# ---- actions ------------------------------------------------------------------------------------


def doing(action: str, number: int | None = None) -> Seccomp:
    rule = SyscallRule(("getppid",), action, number)
    return Seccomp("SCMP_ACT_ALLOW", listener_path="/run/agent", syscalls=(rule,))


def test_action_errno_returns_the_number() -> None:
    program = compile_filter(doing("SCMP_ACT_ERRNO", errno.EPROTO))
    assert confined(program, lambda: named("getppid")) == -errno.EPROTO


def test_action_log_lets_the_call_pass() -> None:
    program = compile_filter(doing("SCMP_ACT_LOG"))
    assert confined(program, lambda: named("getppid")) == os.getpid()


@pytest.mark.parametrize("action", ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"])
def test_action_ends_the_process(action: str) -> None:
    with pytest.raises(ChildProcessError, match="SIGSYS"):
        confined(compile_filter(doing(action)), lambda: named("getppid"))


def test_action_trace_without_a_tracer_hides_the_call() -> None:
    program = compile_filter(doing("SCMP_ACT_TRACE"))
    assert confined(program, lambda: named("getppid")) == -errno.ENOSYS


def _listening() -> int:
    links = [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3, 64) if _is_open(fd)]
    return sum("seccomp notify" in link for link in links)


def _is_open(fd: int) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


def test_action_notify_gives_a_listener() -> None:
    seccomp = doing("SCMP_ACT_NOTIFY")
    assert confined(compile_filter(seccomp), _listening, load_flags(seccomp)) == 1


# ---- 32-bit programs ----------------------------------------------------------------------------

# int f(int number, int first) { return int80(number, first); }: rbx is the callee's to keep.
_INT_80 = bytes.fromhex("53 89 f8 89 f3 cd 80 5b c3")


def call32(number: int, first: int = 0) -> int:
    """Make an i386 call from this 64-bit process, as a 32-bit program would."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(_INT_80)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int)(address)
    return int(function(number, first))


@pytest.mark.skipif(not X86, reason="only x86_64 runs i386 programs")
def test_default_profile_confines_32_bit_programs(default_program: bytes) -> None:
    try:
        confined(compile_filter(doing("SCMP_ACT_LOG")), lambda: call32(20))
    except ChildProcessError as ended:
        # SIGSYS: the filter above has no i386, so the kernel does; else it ends in SIGSEGV.
        if str(ended) != "SIGSYS":
            pytest.skip("this kernel runs no i386 programs")
    assert confined(default_program, lambda: call32(20) - os.getpid()) == 0
    assert confined(default_program, lambda: call32(310)) == -errno.EPERM  # unshare
    assert confined(default_program, lambda: call32(435)) == -errno.ENOSYS  # clone3
    assert confined(default_program, lambda: call32(9999)) == -errno.ENOSYS
