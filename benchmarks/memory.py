"""What an engine keeps in memory for one idle container, beside the container itself.

The container's first process has a parent: minirun's shim, docker's containerd-shim, podman's
conmon. It, and its descendants but for the container's own, are what one more container costs.
Daemons that all containers share (dockerd, containerd) are not counted.

See: proc_pid_smaps(5), smaps_rollup.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

_PROC = Path("/proc")


def keepers(pid: int) -> list[int]:
    """Return the processes that exist for the sake of the container whose first process is pid."""
    shim = _parent(pid)
    return [shim, *_descendants(shim, leave_out=pid)]


def _parent(pid: int) -> int:
    # Fields after the name, which may hold spaces and parentheses itself: proc_pid_stat(5).
    return int((_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])


def _descendants(pid: int, leave_out: int) -> Iterator[int]:
    for task in (_PROC / str(pid) / "task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            if child != leave_out:
                yield child
                yield from _descendants(child, leave_out)


def cost_mb(pid: int) -> Mapping[str, float]:
    """Return the private and the proportional memory of a container's keepers, in MB."""
    rolls = [_rollup(keeper) for keeper in keepers(pid)]
    private = sum(roll["Private_Clean"] + roll["Private_Dirty"] for roll in rolls)
    return {"memory-private": private / 1e6, "memory-pss": sum(roll["Pss"] for roll in rolls) / 1e6}


def _rollup(pid: int) -> dict[str, int]:
    """Return smaps_rollup's fields in bytes."""
    lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]
    fields = (line.split() for line in lines)
    return {name.rstrip(":"): int(value) * 1024 for name, value, *_ in fields}
