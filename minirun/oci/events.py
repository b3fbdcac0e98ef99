"""tell what a container uses: once with ``--stats``, or again and again, with each OOM kill.

See: runc-events(8). Next: ``../cgroups/stats.py``.
"""

from __future__ import annotations

import os
import select
import sys

from ..errors import UsageError
from ..host import probe
from ..lifecycle import Container
from ..quickjson import compact
from ..record import as_tuple
from .words import FLAG, VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..cgroups.stats import HugetlbStats, IoStats, MemoryStats, Stats
    from .report import Report
    from .words import Call

OPTIONS = {"stats": FLAG, "interval": VALUE}

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
#: What the kernel prints where there is no limit, on version 1.
_UNLIMITED = 2**63 - 4096


def main(call: Call, report: Report) -> int:
    """Print one JSON object per event, each on a line, until the container ends."""
    del report
    container = Container(call.root, call.container_id(), probe())
    state = container.state()
    driver = container.driver(state)
    if state.status == "stopped":
        raise UsageError(f"container with id {container.id} is not running")
    if call.flag("stats"):
        return _emit("stats", container.id, stats_json(driver.stats()))
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
        _emit("stats", container.id, stats_json(driver.stats()))


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
    if seconds <= 0:
        raise UsageError("duration interval must be greater than 0")
    return seconds


def stats_json(stats: Stats) -> dict[str, Any]:
    """Return the counters in the shape of runc's ``types.Stats``, which containerd parses."""
    cpu, pids = stats.cpu, stats.pids
    return {
        "cpu": {
            "usage": {
                "total": cpu.total_ns,
                "percpu": list(cpu.percpu_ns),
                "kernel": cpu.system_ns,
                "user": cpu.user_ns,
            },
            "throttling": {
                "periods": cpu.periods,
                "throttledPeriods": cpu.throttled_periods,
                "throttledTime": cpu.throttled_ns,
            },
        },
        "cpuset": {},
        "memory": _memory(stats.memory),
        "pids": {"current": pids.current, "limit": pids.limit or 0},
        "blkio": _block_io(stats.io),
        "hugetlb": {size: _huge(held) for size, held in stats.hugetlb.items()},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _memory(memory: MemoryStats) -> dict[str, Any]:
    limit = _UNLIMITED if memory.limit_bytes is None else memory.limit_bytes
    swap = _UNLIMITED if memory.swap_limit_bytes is None else limit + memory.swap_limit_bytes
    nothing = {"limit": 0, "failcnt": 0}
    return {
        "cache": memory.stat.get("cache", memory.stat.get("file", 0)),
        "usage": {
            "limit": limit,
            "usage": memory.usage_bytes,
            "max": memory.peak_bytes,
            "failcnt": memory.failures,
        },
        "swap": {
            "limit": swap,
            "usage": memory.usage_bytes + memory.swap_bytes,
            "failcnt": 0,
        },
        "kernel": nothing,
        "kernelTCP": nothing,
        "raw": dict(memory.stat),
    }


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
    return {"ioServiceBytesRecursive": bytes_, "ioServicedRecursive": counts}


def _huge(held: HugetlbStats) -> dict[str, int]:
    return {"usage": held.usage_bytes, "max": held.peak_bytes, "failcnt": held.failures}
