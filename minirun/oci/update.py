"""change the limits of a container; what is not named stays as it is.

See: runc-update(8). Next: ``../cgroups/driver.py``.
"""

from __future__ import annotations

import sys

from ..decode import decode
from ..errors import MinirunError, UsageError
from ..host import probe
from ..lifecycle import Container
from ..spec import IntelRdt
from ..spec_resources import Resources
from .bundle import parse_json
from .words import VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .report import Report
    from .words import Call

_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}


def bytes_of(text: str) -> int:
    """Return a size; ``K``, ``M`` and ``G`` are powers of 1024, -1 is unlimited.

    >>> bytes_of("64M"), bytes_of("-1")
    (67108864, -1)
    """
    plain = text.strip().lower().removesuffix("b").removesuffix("i")
    number, unit = (plain[:-1], plain[-1:]) if plain[-1:].isalpha() else (plain, "")
    try:
        return int(float(number) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError) as error:
        raise UsageError(f"{text!r} is not a size", hint="such as 67108864 or 64M") from error


def number_of(text: str) -> int:
    """Return a whole number."""
    try:
        return int(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a number") from error


#: option → (object of linux.resources, property, how to read it)
_PROPERTIES: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "blkio-weight": ("blockIO", "weight", number_of),
    "cpu-period": ("cpu", "period", number_of),
    "cpu-quota": ("cpu", "quota", number_of),
    "cpu-burst": ("cpu", "burst", number_of),
    "cpu-share": ("cpu", "shares", number_of),
    "cpu-rt-period": ("cpu", "realtimePeriod", number_of),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", number_of),
    "cpu-idle": ("cpu", "idle", number_of),
    "cpuset-cpus": ("cpu", "cpus", str),
    "cpuset-mems": ("cpu", "mems", str),
    "memory": ("memory", "limit", bytes_of),
    "memory-reservation": ("memory", "reservation", bytes_of),
    "memory-swap": ("memory", "swap", bytes_of),
    "kernel-memory": ("memory", "kernel", bytes_of),
    "kernel-memory-tcp": ("memory", "kernelTCP", bytes_of),
    "pids-limit": ("pids", "limit", number_of),
}
_SHARES = {"l3-cache-schema": VALUE, "mem-bw-schema": VALUE}
OPTIONS = {"resources": VALUE, **dict.fromkeys(_PROPERTIES, VALUE), **_SHARES}


def main(call: Call, report: Report) -> int:
    """Read the limits from a file, standard input (``-``) or options, and apply them."""
    del report
    container = Container(call.root, call.container_id(), probe())
    if path := call.text("resources"):
        given = parse_json(_read(path), "$.linux.resources")
    else:
        given = _from_options(call)
    container.update(decode(Resources, given, "$.linux.resources"))
    shares = IntelRdt(
        l3_cache_schema=call.text("l3-cache-schema"), mem_bw_schema=call.text("mem-bw-schema")
    )
    if shares != IntelRdt():
        _update_class(container, shares)
    return 0


def _update_class(container: Container, shares: IntelRdt) -> None:
    """Change what the container's class has of the caches and of the memory's bandwidth."""
    from ..cgroups.resctrl import schemata, service_class, write_schemata

    rdt = container.directory.read_spec().linux.intel_rdt
    if rdt is None:
        raise UsageError("the container has no intelRdt", hint="it is set in config.json alone")
    own = service_class(rdt, container.id, container.host.resctrl)
    write_schemata(own.directory, schemata(shares))


def _read(path: str) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise MinirunError(f"open {path}: no such file") from error


def _from_options(call: Call) -> dict[str, dict[str, Any]]:
    """Return the JSON that the options stand for."""
    found: dict[str, dict[str, Any]] = {}
    for option, (group, name, read) in _PROPERTIES.items():
        if call.text(option):
            found.setdefault(group, {})[name] = read(call.text(option))
    return found
