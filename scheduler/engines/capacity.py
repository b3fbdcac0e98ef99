"""What this host may give to replicas: its NUMA nodes, less what it keeps for itself.

A node is CPUs with the memory that is near them. On most machines there is one, and then nothing is
pinned. Devices are counted one by one, each with the node it is near where the kernel says so.

See: numa(7), Documentation/ABI/stable/sysfs-devices-node. Next: ``container.py``.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from minirun import MinirunError

from ..observed import Grant, Host, Node

#: What the host keeps: a tenth of a CPU, and a twentieth of the memory.
KEPT_CPU_MILLIS = 100
KEPT_MEMORY_SHARE = 0.05

#: Without these nothing works that the device itself is for.
_COMPANIONS = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
_GPU = re.compile(r"nvidia\d+")


@dataclass(frozen=True, slots=True)
class Cpuset:
    """CPUs and memory nodes in the kernel's list format; "" where nothing has to be pinned."""

    cpus: str = ""
    mems: str = ""


class Capacity:
    """This host, as it was when the scheduler started.

    Args:
        gpus: device nodes that count as one GPU each; None looks for them.
        sysfs: where the kernel lists its nodes.
        procfs: where it tells of its memory.

    Raises:
        MinirunError: one of the GPUs is no device, or is given twice.
    """

    def __init__(
        self,
        gpus: Sequence[str] | None = None,
        sysfs: Path = Path("/sys/devices/system/node"),
        procfs: Path = Path("/proc"),
    ) -> None:
        self._procfs = procfs
        self._cpus = _cpus_of_nodes(sysfs) or {"0": frozenset(os.sched_getaffinity(0))}
        memory = {n: _total(sysfs / f"node{n}/meminfo") for n in self._cpus}
        if not all(memory.values()):
            memory = dict.fromkeys(self._cpus, _total(procfs / "meminfo") // len(self._cpus))
        devices = tuple(_found_gpus() if gpus is None else _checked(gpus))
        self.nodes = tuple(
            Node(
                f"node{number}",
                _less(1000 * len(cpus), KEPT_CPU_MILLIS // len(self._cpus)),
                int(memory[number] * (1 - KEPT_MEMORY_SHARE)),
                tuple(d for d in devices if _node_of(d, self._cpus) == number),
            )
            for number, cpus in self._cpus.items()
        )

    def host(self, *, cordoned: bool) -> Host:
        """Return what may be given to replicas, and how much memory is free just now."""
        return Host(self.nodes, _value(self._procfs / "meminfo", "MemAvailable"), cordoned)

    def cpuset(self, grants: Iterable[Grant]) -> Cpuset:
        """Return where a replica with these grants has its room."""
        numbers = {grant.node.removeprefix("node") for grant in grants}
        if len(self._cpus) < 2 or not numbers <= self._cpus.keys() or not numbers:
            return Cpuset()
        cpus = sorted({cpu for number in numbers for cpu in self._cpus[number]})
        return Cpuset(",".join(map(str, cpus)), ",".join(sorted(numbers, key=int)))


def devices_of(grants: Iterable[Grant]) -> tuple[str, ...]:
    """Return the device nodes that belong to the granted GPUs."""
    own = tuple(gpu for grant in grants for gpu in grant.gpus)
    shared = _COMPANIONS if any(_GPU.fullmatch(os.path.basename(gpu)) for gpu in own) else ()
    return own + tuple(path for path in shared if os.path.exists(path))


def _less(whole: int, kept: int) -> int:
    return max(whole // 2, whole - kept)


def _cpus_of_nodes(sysfs: Path) -> dict[str, frozenset[int]]:
    """Return the CPUs of each node that we may run on."""
    allowed, found = os.sched_getaffinity(0), {}
    for folder in sorted(sysfs.glob("node[0-9]*"), key=lambda path: int(path.name[4:])):
        cpus = frozenset(_listed((folder / "cpulist").read_text("ascii"))) & allowed
        if cpus:
            found[folder.name[4:]] = cpus
    return found


def _listed(text: str) -> Iterable[int]:
    """Return the numbers of the kernel's list format.

    >>> list(_listed("0-2,5"))
    [0, 1, 2, 5]
    """
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _total(meminfo: Path) -> int:
    return _value(meminfo, "MemTotal") or 0


def _value(meminfo: Path, name: str) -> int | None:
    """Return a line of a meminfo in bytes; those of a node begin with ``Node 0``."""
    try:
        text = meminfo.read_text("ascii")
    except OSError:
        return None
    found = re.search(rf"\b{name}:\s*(\d+) kB", text)
    return int(found[1]) * 1024 if found else None


def _found_gpus() -> list[str]:
    names = [name for name in os.listdir("/dev") if _GPU.fullmatch(name)]
    return [f"/dev/{name}" for name in sorted(names, key=lambda name: int(name[6:]))]


def _checked(paths: Sequence[str]) -> Sequence[str]:
    for path in paths:
        try:
            is_device = stat.S_ISCHR(os.stat(path).st_mode)
        except OSError as error:
            text, hint = (error.strerror or "").lower(), "leave --gpu out to have them looked for"
            raise MinirunError(f"--gpu {path}: {text}", hint=hint) from error
        if not is_device or not path.startswith("/") or paths.count(path) > 1:
            hint = "each GPU once, by its device node: --gpu /dev/nvidia0 --gpu /dev/nvidia1"
            raise MinirunError(f"--gpu {path} is not one more device", hint=hint)
    return paths


def _node_of(device: str, cpus: dict[str, frozenset[int]]) -> str:
    """Return the node that a device is near; the first where nobody says."""
    number = _numa_of_nvidia(os.path.basename(device))
    return number if number in cpus else next(iter(cpus))


def _numa_of_nvidia(name: str) -> str:
    """Return the node of an NVIDIA device by its minor number, as the driver tells it."""
    for information in Path("/proc/driver/nvidia/gpus").glob("*/information"):
        text = information.read_text("utf-8", "replace")
        if re.search(rf"Device Minor:\s*{name.removeprefix('nvidia')}\b", text):
            bus = Path("/sys/bus/pci/devices") / information.parent.name / "numa_node"
            return bus.read_text("ascii").strip() if bus.exists() else ""
    return ""
