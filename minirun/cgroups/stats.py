"""What a container has used so far, under one set of names for both versions.

Times are in nanoseconds, sizes in bytes. A limit of None means unlimited. What this kernel does not
count is 0 or empty.

Pure. Next: ``v1.py`` and ``v2.py``, which read the numbers.
"""

from __future__ import annotations

from ..record import EMPTY, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


#: Files of version 1 that say how the cpuset is used.
CPUSET_SWITCHES = (
    *("cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page"),
    *("memory_spread_slab", "memory_pressure", "sched_load_balance", "sched_relax_domain_level"),
)


class CpuStats(Record):
    """Time on a processor, and how often the quota stopped it."""

    total_ns: int = 0
    user_ns: int = 0
    system_ns: int = 0
    percpu_ns: tuple[int, ...] = ()
    percpu_user_ns: tuple[int, ...] = ()
    percpu_system_ns: tuple[int, ...] = ()
    periods: int = 0
    throttled_periods: int = 0
    throttled_ns: int = 0


class Counted(Record):
    """One kind of memory: the kernel's own, its network buffers, huge pages of a size."""

    usage_bytes: int = 0
    peak_bytes: int = 0
    limit_bytes: int | None = None
    failures: int = 0


class MemoryStats(Record):
    """``swap_bytes`` is swap alone; ``failures`` counts how often the limit was hit.

    ``with_swap_peak_bytes`` and ``with_swap_failures`` are of memory and swap together. Version 2
    counts neither those nor ``kernel`` and ``kernel_tcp``.
    """

    usage_bytes: int = 0
    peak_bytes: int = 0
    limit_bytes: int | None = None
    swap_bytes: int = 0
    swap_limit_bytes: int | None = None
    failures: int = 0
    oom_kills: int = 0
    with_swap_peak_bytes: int = 0
    with_swap_failures: int = 0
    kernel: Counted | None = None
    kernel_tcp: Counted | None = None
    stat: Mapping[str, int] = EMPTY

    @property
    def working_set_bytes(self) -> int:
        """Return usage less the cache that the kernel can drop at once, as Kubernetes counts it."""
        inactive = self.stat.get("total_inactive_file", self.stat.get("inactive_file", 0))
        return max(0, self.usage_bytes - inactive)


class PidsStats(Record):
    """Threads count: each has a pid."""

    current: int = 0
    peak: int = 0
    limit: int | None = None


class IoStats(Record):
    """One block device, by number."""

    major: int
    minor: int
    read_bytes: int = 0
    write_bytes: int = 0
    reads: int = 0
    writes: int = 0


class CpusetStats(Record):
    """Where it may run and take memory, and the switches of version 1 by their files' names."""

    cpus: tuple[int, ...] = ()
    mems: tuple[int, ...] = ()
    switches: Mapping[str, int] = EMPTY


class Stats(Record):
    """All of it, read at about one moment: the kernel offers no snapshot.

    ``unlimited`` is how this version writes a limit that there is not.
    """

    cpu: CpuStats = CpuStats()
    memory: MemoryStats = MemoryStats()
    pids: PidsStats = PidsStats()
    io: tuple[IoStats, ...] = ()
    hugetlb: Mapping[str, Counted] = EMPTY
    cpuset: CpusetStats = CpusetStats()
    unlimited: int = 2**64 - 1
