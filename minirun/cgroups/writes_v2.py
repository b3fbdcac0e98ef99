"""Limits as cgroup v2 files, one function per controller.

See: the kernel's Documentation/admin-guide/cgroup-v2.rst, section Controllers.

Pure. Next: ``driver.py``, which writes them.
"""

from __future__ import annotations

from ..errors import SpecError
from .limits import (
    ROOT,
    UNLIMITED,
    Write,
    blkio_to_io_weight,
    byte_limit,
    in_range,
    need_controller,
    need_swap_accounting,
    need_v1,
    number,
    shares_to_weight,
    swap_alone,
    swap_fits,
)
from .writes_v1 import hugetlb, rdma

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..host import Host
    from ..spec_resources import BlockIo, Cpu, Memory, Resources

#: Files that shape the tree itself: written by the driver alone.
STRUCTURE = ("procs", "threads", "type", "subtree_control", "kill", "freeze")


def v2_writes(resources: Resources, host: Host) -> tuple[Write, ...]:
    """Return every line that these resources ask for on cgroup v2.

    Raises:
        SpecError: a value is out of range or contradicts another.
        HostError: a controller is missing, or the property exists on v1 only.
    """
    if resources.network is not None and (
        resources.network.class_id or resources.network.priorities
    ):
        need_v1("network.classID and network.priorities", "mark packets with nftables: meta cgroup")
    found = [
        *(_memory(resources.memory, host) if resources.memory else ()),
        *(_cpu(resources.cpu) if resources.cpu else ()),
        *(_cpuset(resources.cpu) if resources.cpu else ()),
        *(_io(resources.block_io) if resources.block_io else ()),
        *hugetlb(resources.hugepage_limits, host),
        *rdma(resources.rdma),
    ]
    if resources.pids is not None and resources.pids.limit is not None:
        found.append(Write("pids", "pids.max", number(resources.pids.limit)))
    found += _unified(resources.unified)  # last: it is the most exact thing one can say
    for write in found:
        if write.controller != "cgroup":  # the files of the tree itself are always there
            need_controller(host, write.controller, write.file)
    return tuple(found)


def _memory(memory: Memory, host: Host) -> Iterator[Write]:
    if memory.swappiness is not None:
        need_v1("memory.swappiness", "set vm.swappiness for the whole host")
    if memory.disable_oom_killer:
        need_v1("memory.disableOOMKiller", "leave it out, or raise memory.limit")
    if memory.kernel_tcp not in (None, 0, UNLIMITED):
        need_v1("memory.kernelTCP", "memory.limit counts socket buffers: leave it out")
    limit = byte_limit("memory.limit", memory.limit)
    swap = byte_limit("memory.swap", memory.swap)
    swap_fits(limit, swap)
    if limit == UNLIMITED and swap is None:
        yield Write("memory", "memory.swap.max", "max", optional=True)
    if swap is not None:
        alone = swap_alone(limit, swap)
        if alone > 0:
            need_swap_accounting(host)
        # Without swap accounting there is nothing to raise or to forbid, so only a number fails.
        yield Write("memory", "memory.swap.max", number(alone), optional=alone <= 0)
    if limit is not None:
        yield Write("memory", "memory.max", number(limit))
    if reservation := byte_limit("memory.reservation", memory.reservation):
        yield Write("memory", "memory.low", number(reservation))


def _cpu(cpu: Cpu) -> Iterator[Write]:
    if cpu.realtime_period or cpu.realtime_runtime:
        need_v1("cpu.realtimeRuntime", "give the process a real-time scheduler instead")
    if cpu.idle != 1 and cpu.shares:
        # An idle group has weight 0, and the kernel refuses another.
        yield Write("cpu", "cpu.weight", str(shares_to_weight(cpu.shares)))
    if cpu.idle is not None:
        yield Write("cpu", "cpu.idle", str(cpu.idle), optional=cpu.idle == 0)
    if cpu.quota or cpu.period:
        # Quota and period are checked against each other, hence one line; a lone quota keeps the
        # group's period, and a lone period is completed by the driver when it updates.
        quota = number(cpu.quota or UNLIMITED)
        yield Write("cpu", "cpu.max", f"{quota} {cpu.period}" if cpu.period else quota)
    if cpu.burst is not None:
        yield Write("cpu", "cpu.max.burst", str(cpu.burst), optional=cpu.burst == 0)


def _cpuset(cpu: Cpu) -> Iterator[Write]:
    if cpu.cpus:
        yield Write("cpuset", "cpuset.cpus", cpu.cpus)
    if cpu.mems:
        yield Write("cpuset", "cpuset.mems", cpu.mems)


def _io(io: BlockIo) -> Iterator[Write]:
    """BFQ keeps the scale of v1 in a file of its own; everybody else has io.weight."""
    if io.leaf_weight or any(device.leaf_weight for device in io.weight_device):
        need_v1("blockIO.leafWeight", "use blockIO.weight: v2 has no processes in inner groups")
    if io.weight:
        weight = in_range("blockIO.weight", io.weight, 10, 1000)
        yield _weight("default", weight)
    for device in io.weight_device:
        if device.weight:
            weight = in_range("blockIO.weightDevice", device.weight, 10, 1000)
            yield _weight(f"{device.major}:{device.minor}", weight)
    for key, devices in (
        ("rbps", io.throttle_read_bps_device),
        ("wbps", io.throttle_write_bps_device),
        ("riops", io.throttle_read_iops_device),
        ("wiops", io.throttle_write_iops_device),
    ):
        for throttle in devices:
            rate = throttle.rate or "max"  # on v1 zero lifts the limit; here it is refused
            yield Write("io", "io.max", f"{throttle.major}:{throttle.minor} {key}={rate}")


def _weight(whose: str, weight: int) -> Write:
    plain = Write("io", "io.weight", f"{whose} {blkio_to_io_weight(weight)}")
    return Write("io", "io.bfq.weight", f"{whose} {weight}", fallback=plain)


def _unified(files: Mapping[str, str]) -> Iterator[Write]:
    """Yield the file names given verbatim; a value of several lines is several writes."""
    for file, value in files.items():
        controller, dot, rest = file.partition(".")
        if not dot or not controller or "/" in file or ".." in file:
            raise SpecError(
                f"{ROOT}.unified",
                f"{file!r} is not a file of a control group",
                hint="as in memory.high",
            )
        if controller == "cgroup" and rest in STRUCTURE:
            raise SpecError(f"{ROOT}.unified", f"{file} belongs to the runtime")
        for line in value.splitlines() or [""]:
            yield Write(controller, file, line)
