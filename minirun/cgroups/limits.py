"""What a limit is: one line for one file of one controller, and the checks all of them share.

Everything that can be told from config.json and the Host alone is refused here, before any effect,
with the JSON path of the property or the name of the missing controller.

Pure. Next: ``resources.py``.
"""

from __future__ import annotations

from math import ceil, log2

from ..errors import HostError, SpecError
from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..host import Host

ROOT = "$.linux.resources"
UNLIMITED = -1
MAX_BYTES = (1 << 63) - 1

#: What a person can do about a controller that is not there.
REMEDY = {
    "hugetlb": "boot a kernel with CONFIG_CGROUP_HUGETLB, or remove hugepageLimits",
    "rdma": "boot a kernel with CONFIG_CGROUP_RDMA, or remove rdma",
    "memory": "on Debian and Raspberry Pi OS boot with cgroup_enable=memory",
}


class Write(Record):
    """One line to write.

    Args:
        controller: names the hierarchy, as in ``Host.controllers``.
        file: in the container's group.
        text: exactly what is written.
        fallback: written instead where this kernel does not have ``file``.
        optional: whether the limit is already met where ``file`` does not exist.
    """

    controller: str
    file: str
    text: str
    fallback: Write | None = None
    optional: bool = False


def need_controller(host: Host, controller: str, what: str) -> None:
    """Refuse a limit whose controller this host does not offer.

    Raises:
        HostError: it is not there; ``what`` names the property that asks for it.
    """
    if controller not in host.controllers and host.rootless:
        raise HostError(
            f"{what} cannot be set: no control group with the {controller} controller is delegated "
            "to this user",
            hint="remove the limit, or see systemd.resource-control(5), Delegate=",
        )
    if controller not in host.controllers:
        raise HostError(
            f"{what} needs the {controller} controller, which this host does not offer",
            hint=REMEDY.get(controller, "see the enabled controllers: cat /proc/cgroups"),
        )


def need_v1(what: str, instead: str) -> None:
    """Refuse what only cgroup v1 has; ``instead`` says what to do on v2.

    Raises:
        HostError: always.
    """
    raise HostError(f"{what} does not exist on cgroup v2", hint=instead)


def in_range(path: str, value: int, low: int, high: int) -> int:
    """Return the value, or refuse it by name.

    Raises:
        SpecError: it is outside.
    """
    if not low <= value <= high:
        raise SpecError(f"{ROOT}.{path}", f"{value} is not between {low} and {high}")
    return value


def byte_limit(path: str, value: int | None) -> int | None:
    """Return a limit in bytes; None and 0 both mean that it was not given, as in runc.

    Raises:
        SpecError: it is negative, and not -1 for unlimited.
    """
    if value is not None and value < UNLIMITED:
        raise SpecError(
            f"{ROOT}.{path}", f"{value} is negative", hint="-1 means unlimited, 0 means not given"
        )
    return value or None


def swap_fits(memory: int | None, swap: int | None) -> None:
    """Check memory+swap against memory: the one includes the other.

    Raises:
        SpecError: swap was limited without memory, or below it.
    """
    if swap is None or swap == UNLIMITED:
        return
    if memory is None or memory == UNLIMITED:
        raise SpecError(f"{ROOT}.memory.swap", f"{swap} needs a memory limit beside it")
    if swap < memory:
        raise SpecError(
            f"{ROOT}.memory.swap",
            f"{swap} is less than the memory limit {memory}",
            hint="swap counts memory and swap together: make it at least the memory limit",
        )


def need_swap_accounting(host: Host) -> None:
    """Refuse a swap limit that the kernel would not enforce.

    Raises:
        HostError: swap accounting is off, as it is without the memory controller.
    """
    need_controller(host, "memory", "memory.swap")
    if not host.swap_accounting:
        raise HostError(
            "memory.swap cannot be limited: this kernel does not account swap",
            hint="boot with swapaccount=1, or leave memory.swap out",
        )


def expand_list(text: str) -> frozenset[int]:
    """Return the numbers of a list as the kernel prints it. See: cpuset(7), List format.

    Raises:
        ValueError: it is not such a list.

    >>> sorted(expand_list("0-2,7"))
    [0, 1, 2, 7]
    """
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"{part!r} is neither a number nor a range")
        end = int(last) if dash else int(first)
        if end < int(first) or end > 65535:
            raise ValueError(f"{part!r} is not a range upwards")
        found.update(range(int(first), end + 1))
    return frozenset(found)


def shares_to_weight(shares: int) -> int:
    """Map cpu.shares (2…262144, default 1024) to cpu.weight (1…10000, default 100).

    Both defaults must meet, or a container with the default would lose against its neighbours. No
    straight line does that; runc and crun settled on this quadratic exponent. 0 is unset.

    >>> [shares_to_weight(shares) for shares in (0, 2, 1024, 262144)]
    [0, 1, 100, 10000]
    """
    if shares == 0:
        return 0
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    log = log2(shares)
    return ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))


def blkio_to_io_weight(weight: int) -> int:
    """Map blkio.weight (10…1000) to io.weight (1…10000), linearly.

    >>> blkio_to_io_weight(10), blkio_to_io_weight(500), blkio_to_io_weight(1000)
    (1, 4950, 10000)
    """
    return 1 + (weight - 10) * 9999 // 990


def swap_alone(memory: int | None, swap: int) -> int:
    """Return what v2 calls swap: the spec's memory+swap less memory; -1 stays unlimited.

    >>> swap_alone(64, 96), swap_alone(64, -1)
    (32, -1)
    """
    return swap if swap == UNLIMITED else swap - (memory or 0)


def number(value: int) -> str:
    """Return a limit as v2 spells it.

    >>> number(-1), number(0)
    ('max', '0')
    """
    return "max" if value == UNLIMITED else str(value)
