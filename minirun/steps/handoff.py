"""Steps that pass the container on: to the next process, to its network, to its own program.

See: fork(2), fifo(7), execve(2), config.md (Lifecycle). Next: ``../plan.py``.
"""

from __future__ import annotations

import os

from .. import inroot, kernel
from ..errors import SyscallError
from ..executable import explain_exec_error, find_executable
from ..flags import spell
from .base import Context, Step, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import ClassVar

    from ..flags import Clone
else:
    # The C half has all that is needed; the Python half builds enums for 3 ms.
    import _signal as signal


class ForkIntermediate(Step):
    """Namespaces are entered by a child, so the runtime itself stays on the host."""

    lane: ClassVar = "R"
    id: ClassVar = "fork-intermediate"
    why: ClassVar = "a child enters the namespaces, the runtime stays outside to help and to watch"
    man: ClassVar = "fork(2)"
    check: ClassVar = "ps -o pid,ppid,cmd"
    without: ClassVar = "nobody is left on the host to write the maps or to undo a failure"

    @property
    def call(self) -> tuple[str, ...]:
        """What fork is today."""
        return ("clone(child_stack=NULL",)

    def apply(self, context: Context) -> None:
        """The child starts its life in the runner and never returns here."""
        context.child_pid = context.spawn("M")


class ForkInit(Step):
    """The child of this fork is PID 1 of the container."""

    lane: ClassVar = "M"
    id: ClassVar = "fork-init"
    why: ClassVar = "a new PID namespace takes effect for children, so fork once more"
    man: ClassVar = "pid_namespaces(7)"
    check: ClassVar = "grep NSpid /proc/PID/status"
    without: ClassVar = "the process is not PID 1, and the next fork after its exit gives ENOMEM"

    @property
    def call(self) -> tuple[str, ...]:
        """The second and last fork."""
        return ("clone(child_stack=NULL",)

    def apply(self, context: Context) -> None:
        """The intermediate reports the pid and ends; init is adopted by the runtime."""
        context.init_pid = context.spawn("I")


class ForkInitDirectly(ForkInit):
    """Nothing is to be joined, so the runtime itself forks PID 1: one process less to make."""

    lane: ClassVar = "R"
    why: ClassVar = "the next child is PID 1 of a process tree of its own; we stay outside"
    man: ClassVar = "unshare(2), pid_namespaces(7), setns(2)"
    without: ClassVar = "kill and ps in the container reach the host's processes"

    #: CLONE_NEWPID, or nothing where the processes of the host are shared.
    flags: Clone

    @property
    def call(self) -> tuple[str, ...]:
        """Unsharing this namespace moves nobody but the children to come."""
        if not self.flags:
            return super().call
        flags = spell(self.flags)
        return (f"unshare({flags})", *super().call, f"setns(fd, {flags})")

    def apply(self, context: Context) -> None:
        """Take our own namespace back at once: no later child of ours belongs in there.

        That needs CAP_SYS_ADMIN in the user namespace which ours belongs to.
        """
        own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        try:
            kernel.unshare(self.flags)
            try:
                context.init_pid = context.child_pid = context.spawn("I")
            finally:
                kernel.setns(own, self.flags)
        finally:
            os.close(own)


class AttachNetwork(Step):
    """Interfaces are moved in from outside."""

    lane: ClassVar = "R"
    id: ClassVar = "attach-network"
    why: ClassVar = "a pair of linked interfaces: one end inside, one on the host's bridge"
    man: ClassVar = "veth(4), network_namespaces(7), nft(8)"
    check: ClassVar = "nsenter -t PID -n ip addr"
    without: ClassVar = "the container can reach nothing but itself"

    description: str = ""

    @property
    def call(self) -> tuple[str, ...]:
        """Requests over netlink, one batch."""
        return ("socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, NETLINK_ROUTE",)

    def apply(self, context: Context) -> None:
        """Done by whoever asked for the container; ``minirun.network`` in our own case."""
        context.attach_network(context.init_pid)


class MakeWorkdir(Step):
    """Make the working directory while the root can still be written."""

    id: ClassVar = "make-workdir"
    why: ClassVar = "an image may name a working directory that no layer contains"
    man: ClassVar = "mkdirat(2)"
    check: ClassVar = "readlink /proc/PID/cwd"
    without: ClassVar = "chdir fails with ENOENT"

    cwd: str

    @property
    def call(self) -> tuple[str, ...]:
        """Resolved in the rootfs like every path of the spec."""
        return (f"openat2(fd, {quoted(self.cwd.strip('/') or '.')}",)

    def apply(self, context: Context) -> None:
        """Leave it alone when it is not a directory: chdir will say so."""
        try:
            os.close(inroot.make_directory(context.rootfs_fd, self.cwd))
        except (SyscallError, NotADirectoryError):
            return


class FindExecutable(Step):
    """A missing program must fail ``create``, not ``start``."""

    id: ClassVar = "find-executable"
    why: ClassVar = "tell the caller that the program is missing while it still listens"
    man: ClassVar = "execve(2), environ(7) PATH"
    check: ClassVar = "nsenter -t PID -m which CMD"
    without: ClassVar = "the container starts, and dies at once with 127"

    name: str
    path: str

    @property
    def call(self) -> tuple[str, ...]:
        """Ask as the user who will run it."""
        return ("faccessat2(AT_FDCWD, ",)

    def apply(self, context: Context) -> None:
        """Leave the answer for execve."""
        context.executable = find_executable(self.name, self.path)


class SaveState(Step):
    """From here on the container exists for everybody."""

    lane: ClassVar = "R"
    id: ClassVar = "save-state"
    why: ClassVar = "state.json says created; a runtime that dies before this leaves no container"
    man: ClassVar = "runtime.md, State"
    check: ClassVar = "minirun-oci state ID"
    without: ClassVar = "start, kill and delete do not know the container"

    path: str = ""

    @property
    def call(self) -> tuple[str, ...]:
        """Written aside and renamed, so nobody reads half of it."""
        return (f"rename({quoted(self.path + '.…')}, {quoted(self.path)})",)

    def apply(self, context: Context) -> None:
        """Done by ``lifecycle``, which owns the file."""
        context.save_state("created")


class WaitForStart(Step):
    """Create and start are two operations."""

    hands_over: ClassVar = True
    id: ClassVar = "wait-for-start"
    why: ClassVar = "between create and start the engine attaches networks and terminals"
    man: ClassVar = "fifo(7), runtime.md Lifecycle"
    check: ClassVar = "minirun-oci state ID shows created"
    without: ClassVar = "there is no moment at which everything is ready and nothing runs"

    @property
    def call(self) -> tuple[str, ...]:
        """A FIFO that we hold open on both sides: reading it blocks until somebody writes."""
        return ('read(fd, "s", 1)',)

    def apply(self, context: Context) -> None:
        """Errors after this point are reported through the result FIFO."""
        os.read(context.fds["start"], 1)
        context.handed_over = True


class CloseFds(Step):
    """Nothing of the host may be left open."""

    id: ClassVar = "close-fds"
    why: ClassVar = "an open directory of the host is a way out (CVE-2024-21626)"
    man: ClassVar = "close_range(2)"
    check: ClassVar = "ls -l /proc/PID/fd"
    without: ClassVar = "the program can reach the host through a descriptor it inherited"

    keep: int = 0

    @property
    def call(self) -> tuple[str, ...]:
        """Really closed, not only marked: marked ones can still be a working directory."""
        return (f"close_range({4 + self.keep}, 2147483647, 0)",)

    def apply(self, context: Context) -> None:
        """Keep 0 to 2, what the caller asked to keep, and the (close-on-exec) result FIFO."""
        place = 3 + self.keep
        os.dup2(context.fds["result"], place, inheritable=False)
        context.fds = {"result": place}
        kernel.close_range(place + 1, 2**31 - 1, cloexec=False)


class PrepareExecve(Step):
    """All that execve needs is made while the interpreter may still make any system call."""

    id: ClassVar = "prepare-execve"
    why: ClassVar = "a filter of few calls must bear on the program, not on the interpreter before"
    man: ClassVar = "signal(7), sigprocmask(2), seccomp(2)"
    check: ClassVar = "grep -E 'SigBlk|SigIgn' /proc/PID/status"
    without: ClassVar = "a profile that allows what the program needs kills the runtime instead"

    args: tuple[str, ...]
    env: tuple[str, ...]

    @property
    def call(self) -> tuple[str, ...]:
        """Python ignores two signals; the program must not inherit that."""
        return ("rt_sigaction(SIGPIPE, {sa_handler=SIG_DFL", "rt_sigprocmask(SIG_SETMASK, [], ")

    def apply(self, context: Context) -> None:
        """Undo what the interpreter changed about signals, lay out arguments and environment."""
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        environment = {}
        for word in self.env:
            name, _, value = word.partition("=")
            environment[name] = value
        if not environment.get("HOME"):
            environment["HOME"] = context.home
        words = [f"{name}={value}" for name, value in environment.items()]
        context.execve = kernel.execve_later(context.executable, self.args, words)


class Execve(Step):
    """The process becomes the program."""

    id: ClassVar = "execve"
    why: ClassVar = "the runtime is gone; only its namespaces, limits and filters remain"
    man: ClassVar = "execve(2)"
    check: ClassVar = "readlink /proc/PID/exe"
    without: ClassVar = "nothing of yours ever runs"

    @property
    def call(self) -> tuple[str, ...]:
        """The path was resolved before."""
        return ("execve(",)

    def apply(self, context: Context) -> None:
        """Under the filter, so not one call more than this."""
        try:
            context.execve()
        except OSError as error:
            raise explain_exec_error(context.executable, error) from error
