"""Steps that bound what the container may use.

Control groups bound the container as a whole and are set before it has a process; resource limits
bound each process and are inherited across execve.

See: cgroups(7), getrlimit(2), proc(5). Next: ``priorities.py``, who waits for whom within them.
"""

from __future__ import annotations

import os
import resource

from ..errors import StepError
from .base import Context, Step, quoted, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

    from ..spec import Rlimit
    from ..spec_resources import Resources


#: A file of the container's directory: this create has found its group empty. See: ownership.py.
GROUP_MARK = "group"


class CreateCgroup(Step):
    """The group's directory is the first thing that exists of a container."""

    lane: ClassVar = "R"
    id: ClassVar = "create-cgroup"
    why: ClassVar = "a directory whose files are the limits; first, so no instant runs unlimited"
    man: ClassVar = "cgroups(7)"
    check: ClassVar = "cat /proc/PID/cgroup"
    without: ClassVar = "the container can take all memory and fork without end"

    path: str
    resources: Resources | None = None
    #: What will be written, for the reader; made by the pure half of ``minirun.cgroups``.
    writes: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()

    @property
    def call(self) -> tuple[str, ...]:
        """One directory for each hierarchy, then its files."""
        return tuple(f'mkdir("{directory}"' for directory in self.directories)

    def apply(self, context: Context) -> None:
        """Make it, then register its removal: a limit that is refused must not leave it behind.

        Not the other way round: where the group is somebody else's, nothing of it may be removed.
        Without resources there are device rules all the same: whoever may make a node of the
        host's disk must not be able to open it.
        """
        assert context.cgroup is not None
        context.cgroup.create()
        context.undo.append(context.cgroup.delete)
        # Should we be killed from here on: who is in the group from now on is ours.
        mark = f"{context.state_dir}/{GROUP_MARK}"
        os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        context.cgroup.apply(self.resources)


class DelegateCgroup(Step):
    """Cgroup v2 lets a group's owner divide what it has, and not take more."""

    lane: ClassVar = "R"
    id: ClassVar = "delegate-cgroup"
    why: ClassVar = "the container's root may make groups inside, and lift no limit of its own"
    man: ClassVar = "cgroups(7), Delegation"
    check: ClassVar = "stat -c %u /sys/fs/cgroup/GROUP/cgroup.procs"
    without: ClassVar = "an init system in a user namespace cannot make a group"

    directory: str
    uid: int
    gid: int

    @property
    def call(self) -> tuple[str, ...]:
        """The directory, and the files that move processes."""
        return (f"chown({quoted(self.directory)}, {self.uid}, {self.gid})",)

    def apply(self, context: Context) -> None:
        """The files that set limits stay ours."""
        assert context.cgroup is not None
        context.cgroup.delegate(self.uid, self.gid)


class JoinCgroup(Step):
    """The first child moves itself in; whatever it forks is born inside."""

    lane: ClassVar = "M"
    id: ClassVar = "join-cgroup"
    why: ClassVar = "from here on everything that belongs to the container is counted and bounded"
    man: ClassVar = "cgroups(7)"
    check: ClassVar = "cat /proc/PID/cgroup"
    without: ClassVar = "the limits exist, but nothing is in them"

    directories: tuple[str, ...] = ()

    @property
    def call(self) -> tuple[str, ...]:
        """One file is opened and written for each hierarchy."""
        return tuple(f'"{directory}/' for directory in self.directories)

    def apply(self, context: Context) -> None:
        """Itself, because moving a single thread is far cheaper than moving a process."""
        assert context.cgroup is not None
        context.cgroup.join()


class JoinCgroupAsInit(JoinCgroup):
    """The same where init is the first child: it is already in its PID namespace, and alone."""

    lane: ClassVar = "I"


class SetRlimits(Step):
    """Limits of the process itself."""

    id: ClassVar = "rlimits"
    why: ClassVar = "open files, processes, locked memory and core dumps of each process"
    man: ClassVar = "getrlimit(2)"
    check: ClassVar = "cat /proc/PID/limits"
    without: ClassVar = "the limits of whoever started the runtime apply"

    rlimits: tuple[Rlimit, ...]

    @property
    def call(self) -> tuple[str, ...]:
        """The kernel's name for setrlimit, since 2.6.36."""
        return tuple(f"prlimit64(0, {limit.type}, {{rlim_cur=" for limit in self.rlimits)

    def apply(self, context: Context) -> None:
        """Before identity: raising a hard limit needs CAP_SYS_RESOURCE."""
        del context
        for limit in self.rlimits:
            number = getattr(resource, limit.type)
            try:
                resource.setrlimit(number, (_unlimited(limit.soft), _unlimited(limit.hard)))
            except ValueError as error:
                raise StepError(
                    self.id,
                    self.lane,
                    f"{limit.type} {limit.soft}:{limit.hard}: EPERM",
                    hint=f"the hard limit here is {resource.getrlimit(number)[1]}; "
                    "raising it needs CAP_SYS_RESOURCE",
                ) from error


def _unlimited(value: int) -> int:
    """RLIM_INFINITY is all ones in the spec and -1 in Python."""
    return -1 if value >= 2**63 - 1 else value


class SetOomScore(Step):
    """Who dies first when the machine has no memory left."""

    lane: ClassVar = "R"
    id: ClassVar = "oom-score"
    why: ClassVar = "the kernel's choice of victim takes the container's importance into account"
    man: ClassVar = "proc(5), /proc/pid/oom_score_adj"
    check: ClassVar = "cat /proc/PID/oom_score_adj"
    without: ClassVar = "a batch job may survive at the price of the host's sshd"

    score: int

    @property
    def call(self) -> tuple[str, ...]:
        """From outside, through the host's own /proc; inherited across fork."""
        path = '"/proc/…/oom_score_adj"'
        return (f"openat(AT_FDCWD, {path}", f'write(fd, "{self.score}", {len(str(self.score))})')

    def apply(self, context: Context) -> None:
        """Lowering it below the inherited value needs CAP_SYS_RESOURCE."""
        try:
            write_file(f"/proc/{context.child_pid}/oom_score_adj", str(self.score))
        except PermissionError as error:
            raise StepError(
                self.id,
                self.lane,
                f"oom_score_adj {self.score}: {os.strerror(error.errno or 0).lower()}",
                hint="a lower value than the runtime's own needs CAP_SYS_RESOURCE",
            ) from error
