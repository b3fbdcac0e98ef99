"""``linux.resources`` as lines for files: the whole of a container's limits, before any effect.

    resources, host ─▶ writes ─▶ (Write(memory, memory.max, 67108864), Write(cpu, cpu.max, …), …)

The two versions of control groups share their ideas and hardly a file name, so each has a module of
its own. Rules for devices are not here: on v2 they are a program, see ``devices.py``.

Pure. Next: ``writes_v1.py`` and ``writes_v2.py`` side by side.
"""

from __future__ import annotations

from ..errors import HostError, SpecError
from .limits import ROOT, UNLIMITED, Write, expand_list, in_range
from .writes_v1 import v1_writes
from .writes_v2 import v2_writes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..host import Host
    from ..spec_resources import Cpu, Resources

__all__ = ["Write", "notes", "v1_writes", "v2_writes", "writes"]


def writes(resources: Resources, host: Host) -> tuple[Write, ...]:
    """Return every line that these resources ask for on this host, in the order of writing.

    Raises:
        SpecError: a value is out of range or contradicts another.
        HostError: a controller or file is missing here.
    """
    check(resources, host)
    version = v2_writes if host.cgroup_mode == "v2" else v1_writes
    return version(resources, host)


def notes(resources: Resources) -> tuple[str, ...]:
    """Return one line for each property that has no effect on today's kernels.

    Kernel memory has been part of memory since Linux 5.11 removed its limit; engines still send it.
    """
    memory = resources.memory
    given = memory is not None and memory.kernel not in (None, 0, UNLIMITED)
    return ("memory.kernel is ignored: memory.limit counts kernel memory",) if given else ()


def check(resources: Resources, host: Host) -> None:
    """Refuse what is wrong on either version.

    Raises:
        SpecError: a value is out of range or contradicts another.
        HostError: it names a CPU, a memory node or a page size that this machine does not have.
    """
    if resources.cpu is not None:
        _check_bandwidth(resources.cpu)
        _check_list("cpu.cpus", resources.cpu.cpus, host.online_cpus)
        _check_list("cpu.mems", resources.cpu.mems, host.online_nodes)
    limit = resources.pids.limit if resources.pids is not None else None
    if limit is not None and limit < UNLIMITED:
        raise SpecError(f"{ROOT}.pids.limit", f"{limit} is negative")
    for i, huge in enumerate(resources.hugepage_limits):
        if huge.page_size not in host.hugepage_sizes:
            raise HostError(
                f"hugepageLimits[{i}].pageSize: this host has no pages of {huge.page_size}",
                hint=f"it has {', '.join(host.hugepage_sizes) or 'none'}",
            )


def _check_bandwidth(cpu: Cpu) -> None:
    """Check against the kernel's own bounds. See: sched-bwc.rst in the kernel's documentation."""
    if cpu.period:
        in_range("cpu.period", cpu.period, 1000, 1_000_000)
    if cpu.quota not in (None, 0, UNLIMITED):
        in_range("cpu.quota", cpu.quota, 1000, (1 << 44) - 1)
    if cpu.burst and cpu.quota and cpu.quota > 0:
        in_range("cpu.burst", cpu.burst, 0, cpu.quota)
    if cpu.idle is not None:
        in_range("cpu.idle", cpu.idle, 0, 1)


def _check_list(path: str, wanted: str, online: str) -> None:
    try:
        missing = expand_list(wanted) - expand_list(online)
    except ValueError as error:
        raise SpecError(f"{ROOT}.{path}", str(error), hint="write it as in 0-3,8") from error
    if missing:
        what = "CPU" if path == "cpu.cpus" else "memory node"
        raise HostError(
            f"{path}: this host has no {what} {min(missing)}, asked for in {wanted!r}",
            hint=f"it has {online}",
        )
