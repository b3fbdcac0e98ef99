"""The systemd side of a group: its scope's name, and limits as unit properties.

    "slice:prefix:name"  ─▶  Unit(slice, name, path)
    (Write(memory.max, 64), …)  ─▶  [("MemoryMax", ("t", 64)), …]

systemd rewrites the files of its units when it reloads. A limit that it knows as a property
survives that; one that it does not know it leaves alone.

Pure. See: systemd.resource-control(5), systemd.slice(5). Next: ``systemd.py``.
"""

from __future__ import annotations

from ..errors import SpecError
from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .limits import Write

    Property = tuple[str, tuple[str, object]]

DEFAULT_SLICE = "system.slice"
INFINITY = (1 << 64) - 1
MICROSECONDS = 1_000_000
#: systemd rounds quotas up to this, and so do we: what it shows is what it writes.
QUOTA_STEP_US = 10_000
#: The v2 files that are one number, or "max", under both names.
PROPERTIES = {
    "memory.max": "MemoryMax",
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
    "cpu.weight": "CPUWeight",
}


class Unit(Record):
    """A scope.

    Args:
        slice: the slice that it is in, ``system.slice``.
        name: ``minirun-web.scope``.
        path: of its group below the mount point, ``/system.slice/minirun-web.scope``.
    """

    slice: str
    name: str
    path: str


def parse_unit(cgroups_path: str) -> Unit:
    """Return the scope that a cgroups path means to the systemd manager.

    Raises:
        SpecError: it is not of the form ``slice:prefix:name``.

    >>> parse_unit("user-web.slice:minirun:c1").path
    '/user.slice/user-web.slice/minirun-c1.scope'
    """
    parts = cgroups_path.split(":")
    if len(parts) != 3 or not parts[2] or "/" in cgroups_path:
        raise _refused(cgroups_path, "slice:prefix:name")
    slice_name, prefix, name = parts
    slice_name = slice_name or DEFAULT_SLICE
    unit = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    return Unit(slice_name, unit, f"{_expand(slice_name, cgroups_path)}/{unit}")


def _expand(slice_name: str, cgroups_path: str) -> str:
    """Return a slice's path: a dash in its name is a level. See: systemd.slice(5)."""
    stem = slice_name.removesuffix(".slice")
    if stem == slice_name:
        raise _refused(cgroups_path, "a slice that ends in .slice")
    if stem == "-":
        return ""
    levels = stem.split("-")
    if not all(levels):
        raise _refused(cgroups_path, "a slice without empty levels")
    return "".join(f"/{'-'.join(levels[: n + 1])}.slice" for n in range(len(levels)))


def _refused(cgroups_path: str, expected: str) -> SpecError:
    return SpecError(
        "$.linux.cgroupsPath",
        f"{cgroups_path!r}: the systemd manager expects {expected}",
        hint="such as system.slice:minirun:web",
    )


def properties(writes: Iterable[Write]) -> Iterator[Property]:
    """Yield the limits that systemd has a property for."""
    for write in writes:
        if write.file in PROPERTIES:
            number = INFINITY if write.text == "max" else int(write.text)
            yield PROPERTIES[write.file], ("t", number)
        elif write.file == "cpu.max":
            yield from _bandwidth(*write.text.split())


def _bandwidth(quota: str, period: str = "100000") -> Iterator[Property]:
    """Yield a quota as time for each second."""
    if quota == "max":
        yield "CPUQuotaPerSecUSec", ("t", INFINITY)
        return
    per_second = -(-int(quota) * MICROSECONDS // int(period))
    rounded = -(-per_second // QUOTA_STEP_US) * QUOTA_STEP_US
    yield "CPUQuotaPerSecUSec", ("t", rounded)
    yield "CPUQuotaPeriodUSec", ("t", int(period))
