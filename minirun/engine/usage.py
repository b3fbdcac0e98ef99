"""What containers use: processor, memory, disk.

Next: ``prune.py``.
"""

from __future__ import annotations

import os
import stat
import time

from ..errors import MinirunError
from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..container.entry import ContainerRecord
    from .home import Home


class Sample(Record):
    """What a container had used at one moment; sizes in bytes, times in nanoseconds."""

    id: str
    name: str
    taken_ns: int
    running: bool = False
    cpu_ns: int = 0
    memory_bytes: int = 0
    memory_limit_bytes: int = 0
    memory_peak_bytes: int = 0
    pids: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0


def sample(home: Home, record: ContainerRecord) -> Sample:
    """Return what a container uses; zeros where it does not run."""
    if record.state.status not in ("running", "paused"):
        return Sample(record.id, record.name, time.monotonic_ns())
    container = home.place(record.id).container()
    try:
        used = container.driver(container.state()).stats()
    except (MinirunError, OSError):  # it ended while we looked
        return Sample(record.id, record.name, time.monotonic_ns())
    memory = used.memory
    received, sent = _traffic(record.state.pid) if record.state.attachment.ip else (0, 0)
    return Sample(
        record.id,
        record.name,
        time.monotonic_ns(),
        running=True,
        cpu_ns=used.cpu.total_ns,
        memory_bytes=memory.working_set_bytes,
        memory_limit_bytes=memory.limit_bytes or container.host.memory_bytes,
        memory_peak_bytes=memory.peak_bytes,
        pids=used.pids.current,
        read_bytes=sum(device.read_bytes for device in used.io),
        written_bytes=sum(device.write_bytes for device in used.io),
        received_bytes=received,
        sent_bytes=sent,
    )


def _traffic(pid: int) -> tuple[int, int]:
    """Return the bytes that came and went, over all interfaces but lo. See: proc_pid_net(5)."""
    try:
        with open(f"/proc/{pid}/net/dev", encoding="ascii") as file:
            lines = [line.replace(":", " ").split() for line in file.readlines()[2:]]
    except OSError:
        return 0, 0  # it ended while we looked
    counted = [fields for fields in lines if fields[0] != "lo"]
    return sum(int(fields[1]) for fields in counted), sum(int(fields[9]) for fields in counted)


def writable_bytes(home: Home, record: ContainerRecord) -> int:
    """Return the space that a container's own layer takes."""
    return tree_bytes(home.place(record.id).file("upper"))


def tree_bytes(path: str) -> int:
    """Return the space of a directory's files; a file with two names counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                found = os.lstat(os.path.join(folder, name))
            except FileNotFoundError:
                continue
            if stat.S_ISREG(found.st_mode) and (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                total += found.st_blocks * 512
    return total
