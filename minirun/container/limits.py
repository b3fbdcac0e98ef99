"""The resource flags as the specification's resources.

Docker's flags are what people think in (cpus, a limit and a swap limit); the specification's fields
are what the control groups take (a quota per period, memory plus swap). The differences are here.

Pure. Next: ``specify.py``.
"""

from __future__ import annotations

from ..record import EMPTY
from ..spec import Rlimit
from ..spec_resources import (
    BlockIo,
    Cpu,
    DeviceRule,
    Memory,
    Pids,
    Resources,
    ThrottleDevice,
    WeightDevice,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..spec import Device
    from .devices import DeviceAmount
    from .options import ResourceOptions, RunOptions

CPU_PERIOD_US = 100_000
"""The kernel's default, and docker's for --cpus."""

EVERYTHING = DeviceRule(allow=True)
NOTHING = DeviceRule(allow=False)

#: What docker allows besides nothing: (major, minor) of null, zero, full, random, urandom, tty …
_ALLOWED = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2))
_PSEUDO_TERMINALS = 136


def resources(
    options: RunOptions,
    devices: tuple[Device, ...] = (),
    numbers: Mapping[str, tuple[int, int]] = EMPTY,
) -> Resources:
    """Return the control group's limits.

    Args:
        options: the flags.
        devices: the device nodes that --device brings in, looked up; they are allowed too.
        numbers: {path: (major, minor)} of the block devices that the I/O limits name.
    """
    asked = options.resources
    return Resources(
        devices=device_rules(options, devices),
        memory=_memory(asked),
        cpu=_cpu(asked),
        # In docker 0 and -1 both mean no limit; in the specification 0 is a limit.
        pids=Pids(asked.pids_limit) if asked.pids_limit > 0 else None,
        block_io=_block_io(asked, numbers),
    )


def device_rules(options: RunOptions, devices: tuple[Device, ...]) -> tuple[DeviceRule, ...]:
    """Return the devices controller's rules, first to last: the last one that fits wins.

    A node may always be made (``m``): without an entry that allows reading, it is a dead file.
    """
    if options.privileged:
        return (EVERYTHING,)
    access = {request.path: request.access for request in options.devices}
    return (
        NOTHING,
        DeviceRule(True, "c", None, None, "m"),
        DeviceRule(True, "b", None, None, "m"),
        *(DeviceRule(True, "c", major, minor) for major, minor in _ALLOWED),
        DeviceRule(True, "c", _PSEUDO_TERMINALS, None),
        *(DeviceRule(True, d.type, d.major, d.minor, access.get(d.path, "rwm")) for d in devices),
        *options.device_rules,
    )


def _memory(asked: ResourceOptions) -> Memory | None:
    """Return the memory limits; with a limit and no --memory-swap, as much swap again."""
    limit = asked.memory_bytes or None
    swap = asked.memory_swap_bytes or (asked.memory_bytes * 2) or None
    found = Memory(
        limit=limit,
        reservation=asked.memory_reservation_bytes or None,
        swap=swap,
        swappiness=asked.memory_swappiness if asked.memory_swappiness >= 0 else None,
        disable_oom_killer=asked.oom_kill_disable or None,
    )
    return found if found != Memory() else None


def _cpu(asked: ResourceOptions) -> Cpu | None:
    period, quota = asked.cpu_period_us or None, asked.cpu_quota_us or None
    if asked.cpus_nano:
        period = CPU_PERIOD_US
        quota = asked.cpus_nano * period // 10**9
    found = Cpu(
        shares=asked.cpu_shares or None,
        quota=quota,
        period=period,
        realtime_runtime=asked.cpu_rt_runtime_us or None,
        realtime_period=asked.cpu_rt_period_us or None,
        cpus=asked.cpuset_cpus,
        mems=asked.cpuset_mems,
    )
    return found if found != Cpu() else None


def _block_io(asked: ResourceOptions, numbers: Mapping[str, tuple[int, int]]) -> BlockIo | None:
    def throttles(amounts: tuple[DeviceAmount, ...]) -> tuple[ThrottleDevice, ...]:
        return tuple(ThrottleDevice(*numbers[a.path], rate=a.amount) for a in amounts)

    weights = asked.blkio_weight_device
    found = BlockIo(
        weight=asked.blkio_weight or None,
        weight_device=tuple(WeightDevice(*numbers[a.path], weight=a.amount) for a in weights),
        throttle_read_bps_device=throttles(asked.device_read_bps),
        throttle_write_bps_device=throttles(asked.device_write_bps),
        throttle_read_iops_device=throttles(asked.device_read_iops),
        throttle_write_iops_device=throttles(asked.device_write_iops),
    )
    return found if found != BlockIo() else None


def limited_devices(asked: ResourceOptions) -> tuple[str, ...]:
    """Return the paths whose numbers ``resources`` needs."""
    lists = (
        asked.blkio_weight_device,
        asked.device_read_bps,
        asked.device_write_bps,
        asked.device_read_iops,
        asked.device_write_iops,
    )
    return tuple(dict.fromkeys(amount.path for amounts in lists for amount in amounts))


def rlimits(asked: ResourceOptions) -> tuple[Rlimit, ...]:
    """Return every --ulimit as the specification spells it; the last of one name wins."""
    found = {u.name: Rlimit(f"RLIMIT_{u.name.upper()}", u.hard, u.soft) for u in asked.ulimits}
    return tuple(found.values())
