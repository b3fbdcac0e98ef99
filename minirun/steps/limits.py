"""Steps that bound what the container may use.

Control groups bound the container as a whole and are set before it has a process; resource limits
bound each process and are inherited across execve.

See: cgroups(7), getrlimit(2), proc(5). Next: ``identity.py``.
"""

from __future__ import annotations

import os
import resource
import struct

from .. import kernel
from ..errors import StepError, SyscallError
from .base import Context, Step, quoted, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

    from ..spec import IoPriority, MemoryPolicy, Personality, Resources, Rlimit, Scheduler


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


_POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
_SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}


class SetScheduler(Step):
    """CPU scheduling policy."""

    id: ClassVar = "scheduler"
    why: ClassVar = "how the kernel picks this process when several want the CPU"
    man: ClassVar = "sched_setattr(2), sched(7)"
    check: ClassVar = "chrt -p PID"
    without: ClassVar = "the policy of whoever started the runtime applies"

    scheduler: Scheduler

    @property
    def call(self) -> tuple[str, ...]:
        """One structure."""
        return (f"sched_setattr(0, {{size=48, sched_policy={self.scheduler.policy}",)

    def apply(self, context: Context) -> None:
        """Pack struct sched_attr, version 0."""
        del context
        s = self.scheduler
        flags = sum(_SCHEDULER_FLAGS[flag] for flag in s.flags)
        policy = _POLICIES[s.policy]
        attr = struct.pack(
            "=IIQiIQQQ", 48, policy, flags, s.nice, s.priority, s.runtime, s.deadline, s.period
        )
        try:
            kernel.sched_setattr(0, attr)
        except SyscallError as error:
            error.hint = (
                "real time needs CAP_SYS_NICE, and on cgroup v1 a cpu.realtimeRuntime of the group"
            )
            raise


_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}


class SetIoPriority(Step):
    """Disk scheduling class."""

    id: ClassVar = "io-priority"
    why: ClassVar = "whose reads and writes go to the disk first"
    man: ClassVar = "ioprio_set(2)"
    check: ClassVar = "ionice -p PID"
    without: ClassVar = "the priority of whoever started the runtime applies"

    priority: IoPriority

    @property
    def call(self) -> tuple[str, ...]:
        """Class in the upper bits, level in the lower."""
        return ("ioprio_set(IOPRIO_WHO_PROCESS, 0",)

    def apply(self, context: Context) -> None:
        """Set it for this process."""
        del context
        klass = _IO_CLASSES[self.priority.klass]
        kernel.ioprio_set(1, 0, klass << 13 | self.priority.priority)


_DOMAINS = {"LINUX": 0, "LINUX32": 8}


class SetPersonality(Step):
    """Execution domain."""

    id: ClassVar = "personality"
    why: ClassVar = "a 32-bit program sees a 32-bit machine name"
    man: ClassVar = "personality(2)"
    check: ClassVar = "cat /proc/PID/personality"
    without: ClassVar = "uname -m shows the machine's own"

    personality: Personality

    @property
    def call(self) -> tuple[str, ...]:
        """One word."""
        return ("personality(PER_LINUX",)

    def apply(self, context: Context) -> None:
        """Set it."""
        del context
        kernel.personality(_DOMAINS[self.personality.domain])


MEMORY_MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_FLAGS = {
    "MPOL_F_NUMA_BALANCING": 1 << 13,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_STATIC_NODES": 1 << 15,
}


class SetMemoryPolicy(Step):
    """On which NUMA nodes memory is taken."""

    id: ClassVar = "memory-policy"
    why: ClassVar = "memory close to the CPUs or the GPU that use it"
    man: ClassVar = "set_mempolicy(2), numa(7)"
    check: ClassVar = "cat /proc/PID/numa_maps"
    without: ClassVar = "memory comes from wherever the first touch happened"

    policy: MemoryPolicy

    @property
    def call(self) -> tuple[str, ...]:
        """Mode and flags share a word."""
        return (f"set_mempolicy({self.policy.mode}",)

    def apply(self, context: Context) -> None:
        """Inherited across execve."""
        del context
        flags = sum(MEMORY_FLAGS[flag] for flag in self.policy.flags)
        nodes = parse_list(self.policy.nodes)
        kernel.set_mempolicy(MEMORY_MODES[self.policy.mode] | flags, nodes)


def parse_list(text: str) -> tuple[int, ...]:
    """Return the numbers of a list such as ``0-2,5``. See: cpuset(7), List format.

    >>> parse_list("0-2,5")
    (0, 1, 2, 5)
    """
    numbers: list[int] = []
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        numbers.extend(range(int(low), int(high or low) + 1))
    return tuple(numbers)


class SetCpuAffinity(Step):
    """CPUs that the process itself may use, beside what its cgroup allows."""

    id: ClassVar = "cpu-affinity"
    why: ClassVar = "a process that joins a busy container starts on the CPUs meant for it"
    man: ClassVar = "sched_setaffinity(2)"
    check: ClassVar = "taskset -p PID"
    without: ClassVar = "the first instructions may run on an isolated CPU"

    cpus: str

    @property
    def call(self) -> tuple[str, ...]:
        """A bit mask."""
        return ("sched_setaffinity(0, ",)

    def apply(self, context: Context) -> None:
        """Set it for this thread, the only one."""
        del context
        os.sched_setaffinity(0, parse_list(self.cpus))
