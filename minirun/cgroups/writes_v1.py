"""Limits as cgroup v1 files, one function per controller.

See: the kernel's Documentation/admin-guide/cgroup-v1/.

Pure. Next: ``writes_v2.py``, the same limits under their newer names.
"""

from __future__ import annotations

from ..errors import HostError, SpecError
from .limits import (
    MAX_BYTES,
    ROOT,
    UNLIMITED,
    Write,
    byte_limit,
    in_range,
    need_controller,
    need_swap_accounting,
    number,
    swap_fits,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..host import Host
    from ..spec_resources import BlockIo, Cpu, HugepageLimit, Memory, NetworkLimits, Rdma, Resources


def v1_writes(resources: Resources, host: Host) -> tuple[Write, ...]:
    """Return every line that these resources ask for on cgroup v1 or hybrid.

    Raises:
        SpecError: a value is out of range or contradicts another.
        HostError: a controller is missing, or the property exists on v2 only.
    """
    if resources.unified:
        raise HostError(
            f"unified: {min(resources.unified)} needs cgroup v2, this host has {host.cgroup_mode}",
            hint="use the named properties, or boot with systemd.unified_cgroup_hierarchy=1",
        )
    found = [
        *(_memory(resources.memory, host) if resources.memory else ()),
        *(_cpu(resources.cpu) if resources.cpu else ()),
        *(_cpuset(resources.cpu) if resources.cpu else ()),
        *(_block_io(resources.block_io) if resources.block_io else ()),
        *hugetlb(resources.hugepage_limits, host),
        *(_network(resources.network) if resources.network else ()),
        *rdma(resources.rdma),
    ]
    if resources.pids is not None and resources.pids.limit is not None:
        found.append(Write("pids", "pids.max", number(resources.pids.limit)))
    for write in found:
        need_controller(host, write.controller, write.file)
    return tuple(found)


def _memory(memory: Memory, host: Host) -> Iterator[Write]:
    limit = byte_limit("memory.limit", memory.limit)
    swap = byte_limit("memory.swap", memory.swap)
    if limit == UNLIMITED and swap is None and host.swap_accounting:
        swap = UNLIMITED  # memory+swap holds memory down, so it must go up with it
    swap_fits(limit, swap)
    if limit is not None:
        yield Write("memory", "memory.limit_in_bytes", str(limit))
    if swap is not None:
        need_swap_accounting(host)
        yield Write("memory", "memory.memsw.limit_in_bytes", str(swap))
    if reservation := byte_limit("memory.reservation", memory.reservation):
        yield Write("memory", "memory.soft_limit_in_bytes", str(reservation))
    if tcp := byte_limit("memory.kernelTCP", memory.kernel_tcp):
        yield Write("memory", "memory.kmem.tcp.limit_in_bytes", str(tcp))
    if memory.swappiness is not None:
        in_range("memory.swappiness", memory.swappiness, 0, 100)
        yield Write("memory", "memory.swappiness", str(memory.swappiness))
    if memory.disable_oom_killer is not None:
        yield Write("memory", "memory.oom_control", str(int(memory.disable_oom_killer)))
    if memory.use_hierarchy is False:
        raise SpecError(f"{ROOT}.memory.useHierarchy", "false was removed in Linux 5.11")


def _cpu(cpu: Cpu) -> Iterator[Write]:
    if cpu.shares:
        # The kernel clamps in silence; a limit that is not the one asked for is an error.
        yield Write("cpu", "cpu.shares", str(in_range("cpu.shares", cpu.shares, 2, 262144)))
    if cpu.realtime_period:
        yield Write("cpu", "cpu.rt_period_us", str(cpu.realtime_period))
    if cpu.realtime_runtime:
        yield Write("cpu", "cpu.rt_runtime_us", str(cpu.realtime_runtime))
    if cpu.period:
        yield Write("cpu", "cpu.cfs_period_us", str(cpu.period))
    if cpu.quota:
        yield Write("cpu", "cpu.cfs_quota_us", str(cpu.quota))
    if cpu.burst is not None:
        yield Write("cpu", "cpu.cfs_burst_us", str(cpu.burst), optional=cpu.burst == 0)
    if cpu.idle is not None:
        yield Write("cpu", "cpu.idle", str(cpu.idle), optional=cpu.idle == 0)


def _cpuset(cpu: Cpu) -> Iterator[Write]:
    if cpu.cpus:
        yield Write("cpuset", "cpuset.cpus", cpu.cpus)
    if cpu.mems:
        yield Write("cpuset", "cpuset.mems", cpu.mems)


def _block_io(io: BlockIo) -> Iterator[Write]:
    """Weights have two homes: CFQ's until Linux 5.0, BFQ's since; throttling never moved."""
    if io.weight:
        weight = str(in_range("blockIO.weight", io.weight, 10, 1000))
        yield _weight("blkio.weight", "blkio.bfq.weight", weight)
    if io.leaf_weight:
        leaf = str(in_range("blockIO.leafWeight", io.leaf_weight, 10, 1000))
        yield Write("blkio", "blkio.leaf_weight", leaf)
    for device in io.weight_device:
        number = f"{device.major}:{device.minor}"
        if device.weight:
            weight = f"{number} {in_range('blockIO.weightDevice', device.weight, 10, 1000)}"
            yield _weight("blkio.weight_device", "blkio.bfq.weight_device", weight)
        if device.leaf_weight:
            yield Write("blkio", "blkio.leaf_weight_device", f"{number} {device.leaf_weight}")
    for file, devices in (
        ("blkio.throttle.read_bps_device", io.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", io.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", io.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", io.throttle_write_iops_device),
    ):
        for throttle in devices:
            text = f"{throttle.major}:{throttle.minor} {throttle.rate}"
            yield Write("blkio", file, text)


def _weight(file: str, bfq_file: str, text: str) -> Write:
    return Write("blkio", file, text, fallback=Write("blkio", bfq_file, text))


def hugetlb(limits: tuple[HugepageLimit, ...], host: Host) -> Iterator[Write]:
    """Yield the limits on huge pages under the names of whichever version holds the controller.

    A hybrid host may keep hugetlb in its v2 tree. The second file limits reservations: without it a
    process that maps beyond the limit is killed by SIGBUS at first use instead of refused by mmap.
    """
    where = host.controllers.get("hugetlb")
    suffix = "max" if where is not None and where.version == 2 else "limit_in_bytes"
    for i, huge in enumerate(limits):
        text = str(in_range(f"hugepageLimits[{i}].limit", huge.limit, 0, MAX_BYTES))
        yield Write("hugetlb", f"hugetlb.{huge.page_size}.{suffix}", text)
        yield Write("hugetlb", f"hugetlb.{huge.page_size}.rsvd.{suffix}", text, optional=True)


def _network(network: NetworkLimits) -> Iterator[Write]:
    if network.class_id is not None:
        yield Write("net_cls", "net_cls.classid", str(network.class_id))
    for interface in network.priorities:
        text = f"{interface.name} {interface.priority}"
        yield Write("net_prio", "net_prio.ifpriomap", text)


def rdma(limits: Mapping[str, Rdma]) -> Iterator[Write]:
    """Yield the limits on RDMA adapters, which both versions spell alike."""
    for device, limit in limits.items():
        text = device
        if limit.hca_handles is not None:
            text += f" hca_handle={limit.hca_handles}"
        if limit.hca_objects is not None:
            text += f" hca_object={limit.hca_objects}"
        if text != device:
            yield Write("rdma", "rdma.max", text)
