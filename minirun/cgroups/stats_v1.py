"""The counters of version 1: a file for each, in the directory of its controller.

See: the kernel's Documentation/admin-guide/cgroup-v1/memory.rst, cpuacct.rst, cpusets.rst.
Next: ``stats.py``.
"""

from __future__ import annotations

from . import files
from .limits import expand_list
from .stats import (
    CPUSET_SWITCHES,
    Counted,
    CpusetStats,
    CpuStats,
    IoStats,
    MemoryStats,
    PidsStats,
    Stats,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

UNLIMITED = 2**63 - 4096


class Reader:
    """Reads one container's counters.

    Args:
        file: returns the path of a controller's file.
    """

    def __init__(self, file: Callable[[str, str], str]) -> None:
        self._file = file

    def read(self, hugetlb: Mapping[str, Counted]) -> Stats:
        """Return all of them, with those of the huge pages, which may be in the v2 tree."""
        return Stats(
            self._cpu(),
            self._memory(),
            self._pids(),
            self._io(),
            hugetlb,
            self._cpuset(),
            UNLIMITED,
        )

    def _cpu(self) -> CpuStats:
        stat = files.read_pairs(self._file("cpu", "cpu.stat"))
        percpu = files.read(self._file("cpuacct", "cpuacct.usage_percpu"), "")
        # A heading, then a line for each: number, user, system.
        lines = files.read(self._file("cpuacct", "cpuacct.usage_all"), "").splitlines()[1:]
        return CpuStats(
            files.read_number(self._file("cpuacct", "cpuacct.usage")),
            files.read_number(self._file("cpuacct", "cpuacct.usage_user")),
            files.read_number(self._file("cpuacct", "cpuacct.usage_sys")),
            tuple(map(int, percpu.split())),
            tuple(int(line.split()[1]) for line in lines),
            tuple(int(line.split()[2]) for line in lines),
            stat.get("nr_periods", 0),
            stat.get("nr_throttled", 0),
            stat.get("throttled_time", 0),
        )

    def _memory(self) -> MemoryStats:
        own, both = self._counted("memory."), self._counted("memory.memsw.")
        bounded = both.limit_bytes is not None and own.limit_bytes is not None
        control = files.read_pairs(self._file("memory", "memory.oom_control"))
        return MemoryStats(
            own.usage_bytes,
            own.peak_bytes,
            own.limit_bytes,
            max(0, both.usage_bytes - own.usage_bytes),  # read one after the other: may be off
            (both.limit_bytes or 0) - (own.limit_bytes or 0) if bounded else None,
            own.failures,
            control.get("oom_kill", 0),
            both.peak_bytes,
            both.failures,
            self._counted("memory.kmem."),
            self._counted("memory.kmem.tcp."),
            files.read_pairs(self._file("memory", "memory.stat")),
        )

    def _counted(self, prefix: str) -> Counted:
        """Return the four files that every kind of memory has."""
        where = self._file("memory", prefix)
        return Counted(
            files.read_number(where + "usage_in_bytes"),
            files.read_number(where + "max_usage_in_bytes"),
            files.read_limit(where + "limit_in_bytes"),
            files.read_number(where + "failcnt"),
        )

    def _pids(self) -> PidsStats:
        where = self._file("pids", "pids.")
        peak = files.read_number(where + "peak")
        return PidsStats(
            files.read_number(where + "current"), peak, files.read_limit(where + "max")
        )

    def _io(self) -> tuple[IoStats, ...]:
        """Add up the throttling counters, which count with every I/O scheduler."""
        counts: dict[str, dict[str, int]] = {}
        for unit in ("io_service_bytes", "io_serviced"):
            text = files.read(self._file("blkio", f"blkio.throttle.{unit}_recursive"), "")
            for device, kind, value in (
                s for s in map(str.split, text.splitlines()) if len(s) == 3
            ):
                counts.setdefault(device, {})[unit + kind] = int(value)
        return tuple(
            IoStats(
                int(device.partition(":")[0]),
                int(device.partition(":")[2]),
                count.get("io_service_bytesRead", 0),
                count.get("io_service_bytesWrite", 0),
                count.get("io_servicedRead", 0),
                count.get("io_servicedWrite", 0),
            )
            for device, count in counts.items()
        )

    def _cpuset(self) -> CpusetStats:
        def number(name: str) -> int:
            return int(files.read(self._file("cpuset", f"cpuset.{name}"), "") or 0)

        def numbers(name: str) -> tuple[int, ...]:
            return tuple(
                sorted(expand_list(files.read(self._file("cpuset", f"cpuset.{name}"), "")))
            )

        return CpusetStats(
            numbers("cpus"), numbers("mems"), {name: number(name) for name in CPUSET_SWITCHES}
        )
