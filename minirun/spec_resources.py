"""``linux.resources`` of config.json as frozen facts: what a control group limits.

Apart from ``spec.py`` because the drivers of control groups, which every command needs that asks
whether a container is paused, know nothing else of a spec.

See: config-linux.md, Control groups. Pure. Next: ``plan.py``.
"""

from __future__ import annotations

from .record import EMPTY, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import ClassVar

    from .decode import I64, U16, U32, U64


class DeviceRule(Record):
    """One line of the devices controller; no type and no numbers mean every device."""

    allow: bool
    type: str = "a"
    major: I64 | None = None
    minor: I64 | None = None
    access: str = "rwm"


class Memory(Record):
    """Limits in bytes; ``swap`` is memory plus swap; -1 is unlimited."""

    __json__: ClassVar = {"kernel_tcp": "kernelTCP", "disable_oom_killer": "disableOOMKiller"}

    limit: I64 | None = None
    reservation: I64 | None = None
    swap: I64 | None = None
    kernel: I64 | None = None
    kernel_tcp: I64 | None = None
    swappiness: U64 | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool = False


class Cpu(Record):
    """``quota`` of ``period`` microseconds; ``shares`` is a weight from 2 to 262144."""

    shares: U64 | None = None
    quota: I64 | None = None
    burst: U64 | None = None
    period: U64 | None = None
    realtime_runtime: I64 | None = None
    realtime_period: U64 | None = None
    cpus: str = ""
    mems: str = ""
    idle: I64 | None = None


class Pids(Record):
    """-1 is unlimited; since 1.3 zero is a real limit."""

    limit: I64 | None = None


class WeightDevice(Record):
    major: I64
    minor: I64
    weight: U16 | None = None
    leaf_weight: U16 | None = None


class ThrottleDevice(Record):
    major: I64
    minor: I64
    rate: U64


class BlockIo(Record):
    """Weights from 10 to 1000; throttles in bytes or operations per second."""

    __json__: ClassVar = {
        "throttle_read_iops_device": "throttleReadIOPSDevice",
        "throttle_write_iops_device": "throttleWriteIOPSDevice",
    }

    weight: U16 | None = None
    leaf_weight: U16 | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = ()


class HugepageLimit(Record):
    """``page_size`` as in ``2MB``; limit in bytes."""

    page_size: str
    limit: U64


class InterfacePriority(Record):
    name: str
    priority: U32


class NetworkLimits(Record):
    __json__: ClassVar = {"class_id": "classID"}

    class_id: U32 | None = None
    priorities: tuple[InterfacePriority, ...] = ()


class Rdma(Record):
    hca_handles: U32 | None = None
    hca_objects: U32 | None = None


class Resources(Record):
    """The control group's limits. See config-linux.md, Control groups."""

    __json__: ClassVar = {"block_io": "blockIO"}

    devices: tuple[DeviceRule, ...] | None = None
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    block_io: BlockIo | None = None
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    network: NetworkLimits | None = None
    rdma: Mapping[str, Rdma] = EMPTY
    unified: Mapping[str, str] = EMPTY
