"""Steps of a process that joins a container which is already there: what ``exec`` does.

Nothing is made here; everything is entered. All of it through one pidfd of the container's init,
opened and verified before, so that neither a pid that was used again nor a swapped path can lead
into another process's namespaces.

See: setns(2) with a pidfd, pidfd_open(2). Next: ``../plan_exec.py``.
"""

from __future__ import annotations

import errno
import os
import select

from .. import kernel
from ..errors import StepError, SyscallError
from ..flags import PR_SET_DUMPABLE, Clone, spell
from .base import Context, Step, quoted, write_file
from .handoff import ForkInit
from .limits import JoinCgroup
from .rootfs import forget_imports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class JoinGroupOfInit(JoinCgroup):
    """Where the container's first process is, the newcomer is counted too."""

    why: ClassVar = "a process that joins is counted and bounded like those that were born inside"
    without: ClassVar = "exec is a way around every limit, and stop does not find the process"

    beside: int = 0

    def apply(self, context: Context) -> None:
        """A container may have moved its processes to inner groups: then go where init is (v2)."""
        assert context.cgroup is not None
        try:
            context.cgroup.join()
        except SyscallError as error:
            if error.errno not in (errno.EBUSY, errno.EOPNOTSUPP):
                raise
            context.cgroup.add(os.getpid(), beside=self.beside)


class JoinInnerGroups(JoinCgroup):
    """A group that the container made inside its own: ``exec --cgroup``."""

    id: ClassVar = "join-inner-cgroup"
    why: ClassVar = "the caller names the group of the container that the process belongs to"
    without: ClassVar = "the process is counted with the container as a whole"

    @property
    def call(self) -> tuple[str, ...]:
        """The directories were checked to be below the container's own."""
        return tuple(f"{quoted(directory + '/cgroup.procs')}" for directory in self.directories)

    def apply(self, context: Context) -> None:
        """``0`` stands for the writer."""
        del context
        for directory in self.directories:
            write_file(f"{directory}/cgroup.procs", "0")


class HideFromContainer(Step):
    """Before the first namespace is joined, nobody inside may look at us."""

    lane: ClassVar = "M"
    id: ClassVar = "hide-from-container"
    why: ClassVar = "we still hold descriptors of the host while we are already visible inside"
    man: ClassVar = "prctl(2) PR_SET_DUMPABLE, ptrace(2)"
    check: ClassVar = "a loop over /proc/*/fd inside finds nothing during an exec"
    without: ClassVar = (
        "the container's root attaches to us and takes the host's fds (CVE-2016-9962)"
    )

    @property
    def call(self) -> tuple[str, ...]:
        """The kernel refuses ptrace and /proc/PID/fd of a process that is not dumpable."""
        return ("prctl(PR_SET_DUMPABLE, SUID_DUMP_DISABLE",)

    def apply(self, context: Context) -> None:
        """Undone by execve."""
        del context
        kernel.prctl(PR_SET_DUMPABLE, 0)


class JoinContainer(Step):
    """All namespaces in one call: either the process is inside, or it is not."""

    lane: ClassVar = "M"
    id: ClassVar = "join-container"
    why: ClassVar = "see the files, processes, names and network that the container sees"
    man: ClassVar = "setns(2), pidfd_open(2)"
    check: ClassVar = "diff <(ls -l /proc/PID/ns) <(ls -l /proc/INIT/ns)"
    without: ClassVar = "the command runs on the host"

    kinds: Clone

    @property
    def call(self) -> tuple[str, ...]:
        """With a pidfd the kernel takes the user namespace first and the mounts last by itself."""
        return (f"setns(fd, {spell(self.kinds)})",)

    def apply(self, context: Context) -> None:
        """Afterwards paths are the container's: hold its root, and import nothing any more."""
        kernel.setns(context.fds["container"], self.kinds)
        if self.kinds & Clone.CLONE_NEWNS:
            forget_imports()
            os.chdir("/")
        context.rootfs_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


class ForkProcess(ForkInit):
    """The child of this fork is a process of the container."""

    id: ClassVar = "fork-process"
    why: ClassVar = "a joined PID namespace takes effect for children, so fork once more"
    without: ClassVar = "the process has no pid inside, and cannot be seen or signalled there"


class ConfirmContainer(Step):
    """The container may have ended while we were on the way in."""

    lane: ClassVar = "R"
    id: ClassVar = "confirm-container"
    why: ClassVar = "a process must not go on in a container that has ended meanwhile"
    man: ClassVar = "pidfd_open(2), poll(2)"
    check: ClassVar = "kill init while exec is under way"
    without: ClassVar = "the process outlives its container where that has no PID namespace"

    @property
    def call(self) -> tuple[str, ...]:
        """A pidfd is readable once its process has ended."""
        return ("poll([{fd=",)

    def apply(self, context: Context) -> None:
        """Do not wait, only look."""
        poll = select.poll()
        poll.register(context.fds["container"], select.POLLIN)
        if poll.poll(0):
            raise StepError(self.id, self.lane, "cannot exec in a stopped container")


class LetGo(Step):
    """From here on failures are told through a pipe that execve closes."""

    hands_over: ClassVar = True
    id: ClassVar = "let-go"
    why: ClassVar = "a pipe that closes itself on execve tells success from failure"
    man: ClassVar = "execve(2), O_CLOEXEC in open(2)"
    check: ClassVar = "exec a file that is no program: the error names it"
    without: ClassVar = "the caller takes a program that could not be executed for one that ran"

    @property
    def call(self) -> tuple[str, ...]:
        """The runtime's word was the last message of the conversation."""
        return ()

    def apply(self, context: Context) -> None:
        """Errors after this point go to ``context.fds["result"]``."""
        context.handed_over = True
