"""Who waits for whom, and where memory is taken from: properties that few containers have.

The words are those of ``steps/priorities.py``, which has the number of each. Imported only where a
config.json has one of these properties.

See: config.md, Scheduler and I/O Priority; config-linux.md, Memory Policy and Personality.
Pure. Next: ``isolation.py``.
"""

from __future__ import annotations

from ..steps.priorities import (
    DOMAINS,
    IO_CLASSES,
    MEMORY_FLAGS,
    MEMORY_MODES,
    POLICIES,
    SCHEDULER_FLAGS,
)
from .process import check_list
from .rules import in_range, items, one_of, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec import IoPriority, Linux, MemoryPolicy, Personality, Process, Scheduler

_FAIR, _REALTIME = ("SCHED_OTHER", "SCHED_BATCH"), ("SCHED_FIFO", "SCHED_RR")
_SHORTEST_DEADLINE_NS = 1024


def check(process: Process | None, linux: Linux) -> None:
    """Refuse what sched_setattr(2) and its like would refuse, and words that they do not know."""
    if process and process.scheduler:
        check_scheduler(process.scheduler)
    if process and process.io_priority:
        check_io_priority(process.io_priority)
    if linux.memory_policy:
        check_memory_policy(linux.memory_policy)
    if linux.personality:
        check_personality(linux.personality)


def check_scheduler(scheduler: Scheduler) -> None:
    """Refuse parameters that do not belong to the policy. See: sched_setattr(2)."""
    path, policy = "$.process.scheduler", scheduler.policy
    one_of(f"{path}.policy", policy, POLICIES)
    for where, flag in items(f"{path}.flags", scheduler.flags):
        one_of(where, flag, SCHEDULER_FLAGS)
    in_range(f"{path}.nice", scheduler.nice, -20, 19)
    if scheduler.nice and policy not in _FAIR:
        refuse(f"{path}.nice", f"{policy} has no nice value", "it goes with SCHED_OTHER or BATCH")
    if policy in _REALTIME:
        in_range(f"{path}.priority", scheduler.priority, 1, 99)
    elif scheduler.priority:
        hint = "it goes with SCHED_FIFO and SCHED_RR"
        refuse(f"{path}.priority", f"{policy} has no priority", hint)
    _deadline(scheduler)


def _deadline(scheduler: Scheduler) -> None:
    path = "$.process.scheduler"
    if scheduler.policy != "SCHED_DEADLINE":
        if scheduler.runtime or scheduler.deadline or scheduler.period:
            hint = "it goes with SCHED_DEADLINE"
            refuse(f"{path}.runtime", f"{scheduler.policy} has no deadline", hint)
        return
    period = scheduler.period or scheduler.deadline
    if not _SHORTEST_DEADLINE_NS <= scheduler.runtime <= scheduler.deadline <= period:
        problem = "runtime, deadline and period must not decrease, and start at 1024 ns"
        refuse(f"{path}.runtime", problem, "see sched(7), SCHED_DEADLINE")


def check_io_priority(priority: IoPriority) -> None:
    """Refuse unknown classes and levels. See: ioprio_set(2)."""
    one_of("$.process.ioPriority.class", priority.klass, IO_CLASSES)
    in_range("$.process.ioPriority.priority", priority.priority, 0, 7)


def check_memory_policy(policy: MemoryPolicy) -> None:
    """Refuse unknown words, and what is no list of nodes. See: set_mempolicy(2)."""
    path = "$.linux.memoryPolicy"
    one_of(f"{path}.mode", policy.mode, MEMORY_MODES)
    for where, flag in items(f"{path}.flags", policy.flags):
        one_of(where, flag, MEMORY_FLAGS)
    check_list(f"{path}.nodes", policy.nodes)


def check_personality(personality: Personality) -> None:
    """Refuse unknown execution domains. See: personality(2)."""
    path = "$.linux.personality"
    one_of(f"{path}.domain", personality.domain, DOMAINS)
    if personality.flags:
        refuse(f"{path}.flags", "no flag is supported", "the specification defines none")
