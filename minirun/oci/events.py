"""tell what a container uses: once with ``--stats``, or again and again, with each OOM kill.

See: runc-events(8). Next: ``../cgroups/stats.py``.
"""

from __future__ import annotations

import os
import select
import sys

from ..cgroups.stats import CPUSET_SWITCHES
from ..errors import UsageError
from ..host import probe
from ..lifecycle import Container
from ..quickjson import compact
from ..record import as_tuple
from .words import FLAG, VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..cgroups.stats import Counted, CpusetStats, CpuStats, IoStats, MemoryStats, Stats
    from ..spec import IntelRdt
    from .report import Report
    from .words import Call

OPTIONS = {"stats": FLAG, "interval": VALUE}

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST_S = 24 * 24 * 3600.0  # poll(2) counts milliseconds in an int


def main(call: Call, report: Report) -> int:
    """Print one JSON object per event, each on a line, until the container ends."""
    del report
    container = Container(call.root, call.container_id(), probe())
    state = container.state()
    driver = container.driver(state)
    if state.status == "stopped":
        raise UsageError(f"container with id {container.id} is not running")
    rdt = container.directory.read_spec().linux.intel_rdt

    def stats() -> dict[str, Any]:
        shares = _intel_rdt(rdt, container) if rdt else {}
        return {**stats_json(driver.stats()), "intel_rdt": shares}

    if call.flag("stats"):
        return _emit("stats", container.id, stats())
    interval_s = seconds_of(call.text("interval", "5s"))
    pidfd = os.pidfd_open(state.pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    killed = driver.oom_kills()
    while True:
        ended = poll.poll(interval_s * 1000)
        for _ in range(driver.oom_kills() - killed):
            _emit("oom", container.id, None)
        killed = driver.oom_kills()
        if ended:
            return 0
        _emit("stats", container.id, stats())


def _intel_rdt(rdt: IntelRdt, container: Container) -> dict[str, Any]:
    """Return what the processor counts for the container's class."""
    from ..cgroups.resctrl import service_class, usage

    top = container.host.resctrl
    return usage(service_class(rdt, container.id, top), top)


def _emit(kind: str, container_id: str, data: dict[str, Any] | None) -> int:
    event = {"type": kind, "id": container_id, **({"data": data} if data is not None else {})}
    sys.stdout.write(compact(event) + "\n")
    sys.stdout.flush()
    return 0


def seconds_of(text: str) -> float:
    """Return a duration as Go writes it.

    >>> seconds_of("1500ms"), seconds_of("2m")
    (1.5, 120.0)
    """
    number = text.rstrip("hms")
    unit = text[len(number) :]
    try:
        seconds = float(number) * _SECONDS[unit]
    except (ValueError, KeyError) as error:
        raise UsageError(f"--interval: {text!r} is not a duration", hint="such as 5s") from error
    if not 0 < seconds < _LONGEST_S:  # nor is it nan
        raise UsageError("duration interval must be greater than 0, and less than 24 days")
    return seconds


def stats_json(stats: Stats) -> dict[str, Any]:
    """Return the counters in the shape of runc's ``types.Stats``, which containerd parses."""
    return {
        "cpu": _cpu(stats.cpu),
        "cpuset": _cpuset(stats.cpuset),
        "memory": _memory(stats.memory, stats.unlimited),
        "pids": _counting({"current": stats.pids.current, "limit": stats.pids.limit or 0}),
        "blkio": _block_io(stats.io),
        "hugetlb": {size: _huge(held) for size, held in stats.hugetlb.items()},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _counting(numbers: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is zero or empty, as Go's omitempty does."""
    return {name: number for name, number in numbers.items() if number}


def _cpu(cpu: CpuStats) -> dict[str, Any]:
    usage = {
        "total": cpu.total_ns,
        "percpu": list(cpu.percpu_ns),
        "percpu_kernel": list(cpu.percpu_system_ns),
        "percpu_user": list(cpu.percpu_user_ns),
    }
    throttling = {
        "periods": cpu.periods,
        "throttledPeriods": cpu.throttled_periods,
        "throttledTime": cpu.throttled_ns,
    }
    return {
        "usage": {**_counting(usage), "kernel": cpu.system_ns, "user": cpu.user_ns},
        "throttling": _counting(throttling),
    }


def _cpuset(cpuset: CpusetStats) -> dict[str, Any]:
    lists = _counting({"cpus": list(cpuset.cpus), "mems": list(cpuset.mems)})
    return {**lists, **{name: cpuset.switches.get(name, 0) for name in CPUSET_SWITCHES}}


def _memory(memory: MemoryStats, unlimited: int) -> dict[str, Any]:
    limit = unlimited if memory.limit_bytes is None else memory.limit_bytes
    swap = unlimited if memory.swap_limit_bytes is None else limit + memory.swap_limit_bytes
    cache = memory.stat.get("cache", memory.stat.get("file", 0))
    both = memory.usage_bytes + memory.swap_bytes
    return {
        **_counting({"cache": cache}),
        "usage": _entry(limit, memory.usage_bytes, memory.peak_bytes, memory.failures),
        "swap": _entry(swap, both, memory.with_swap_peak_bytes, memory.with_swap_failures),
        "kernel": _counted(memory.kernel, unlimited),
        "kernelTCP": _counted(memory.kernel_tcp, unlimited),
        "raw": dict(memory.stat),
    }


def _counted(held: Counted | None, unlimited: int) -> dict[str, int]:
    """Return one kind of memory; what nobody counts has no limit to show either."""
    if held is None:
        return _entry(0, 0, 0, 0)
    limit = unlimited if held.limit_bytes is None else held.limit_bytes
    return _entry(limit, held.usage_bytes, held.peak_bytes, held.failures)


def _entry(limit: int, usage: int, peak: int, failures: int) -> dict[str, int]:
    return {"limit": limit, **_counting({"usage": usage, "max": peak}), "failcnt": failures}


def _block_io(devices: tuple[IoStats, ...]) -> dict[str, Any]:
    bytes_, counts = [], []
    for device in devices:
        major, minor, read, written, reads, writes = as_tuple(device)
        place = {"major": major, "minor": minor}
        bytes_ += [
            {**place, "op": "Read", "value": read},
            {**place, "op": "Write", "value": written},
        ]
        counts += [
            {**place, "op": "Read", "value": reads},
            {**place, "op": "Write", "value": writes},
        ]
    return _counting({"ioServiceBytesRecursive": bytes_, "ioServicedRecursive": counts})


def _huge(held: Counted) -> dict[str, int]:
    numbers = _counting({"usage": held.usage_bytes, "max": held.peak_bytes})
    return {**numbers, "failcnt": held.failures}
