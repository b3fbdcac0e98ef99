"""Steps that few containers have: who waits for whom, and where memory is taken from.

Limits say how much may be used; these say what happens as long as there is enough to choose from.
All are inherited across execve. A plan imports this module where a config.json asks for one of
them. The tables are the kernel's words with their numbers: ``validate/priorities.py`` allows just
these, and ``features.py`` tells them.

See: sched(7), ioprio_set(2), numa(7). Next: ``identity.py``.
"""

from __future__ import annotations

import os
import struct

from .. import kernel_rare
from ..cgroups.limits import expand_list
from ..errors import SyscallError
from .base import Context, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

    from ..spec import IoPriority, MemoryPolicy, Personality, Scheduler

POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
SCHEDULER_FLAGS = {
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
        flags = sum(SCHEDULER_FLAGS[flag] for flag in s.flags)
        policy = POLICIES[s.policy]
        attr = struct.pack(
            "=IIQiIQQQ", 48, policy, flags, s.nice, s.priority, s.runtime, s.deadline, s.period
        )
        try:
            kernel_rare.sched_setattr(0, attr)
        except SyscallError as error:
            error.hint = (
                "real time needs CAP_SYS_NICE, and on cgroup v1 a cpu.realtimeRuntime of the group"
            )
            raise


IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}


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
        klass = IO_CLASSES[self.priority.klass]
        kernel_rare.ioprio_set(1, 0, klass << 13 | self.priority.priority)


DOMAINS = {"LINUX": 0, "LINUX32": 8}


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
        kernel_rare.personality(DOMAINS[self.personality.domain])


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
        mode = MEMORY_MODES[self.policy.mode] | flags
        kernel_rare.set_mempolicy(mode, sorted(expand_list(self.policy.nodes)))


class SetInitialAffinity(Step):
    """CPUs for the way into a container, while the caller's control group still applies."""

    lane: ClassVar = "M"
    id: ClassVar = "initial-affinity"
    why: ClassVar = "the work of joining stays off the CPUs that the container keeps for itself"
    man: ClassVar = "sched_setaffinity(2)"
    check: ClassVar = "taskset -p PID"
    without: ClassVar = "a probe may disturb an isolated CPU before it has even joined"

    cpus: str

    @property
    def call(self) -> tuple[str, ...]:
        """A bit mask."""
        return ("sched_setaffinity(0, ",)

    def apply(self, context: Context) -> None:
        """Set it for this thread, the only one."""
        del context
        os.sched_setaffinity(0, expand_list(self.cpus))


class SetFinalAffinity(SetInitialAffinity):
    """CPUs for the program that joins, once the container's control group applies."""

    id: ClassVar = "final-affinity"
    why: ClassVar = "a process that joins a busy container starts on the CPUs meant for it"
    without: ClassVar = "the first instructions may run on an isolated CPU"
