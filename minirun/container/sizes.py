"""Amounts: bytes, durations, cpus and cpu lists, in docker's grammar.

Sizes are binary whatever the suffix says (``1kb`` is 1024 bytes), because docker's are. Durations
are Go's. Nothing here goes through a float: ``0.1`` of a cpu is exactly 100000000 nanocpus.

Pure. Next: ``environment.py``.
"""

from __future__ import annotations

from ..errors import UsageError
from .words import integer, is_digits

KIB = 1024
MIB = 1024 * KIB
MEMORY_FLOOR = 6 * MIB
"""Docker's floor: below it a container's init cannot even be set up."""

_MAX = 2**63 - 1
_POWERS = {"b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SUFFIXES = {
    "": 1,
    **{f"{unit}{tail}": 1024**power for unit, power in _POWERS.items() for tail in ("", "b", "ib")},
}
del _SUFFIXES["bb"], _SUFFIXES["bib"]

_NANOSECONDS = {
    **{"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6},
    **{"s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9},
}
_MAX_CPU = 8191


def _scaled(number: str, scale: int, what: str, text: str, *, exact: bool = False) -> int:
    """Return a decimal number times a scale as an integer, rounded down unless ``exact``."""
    whole, dot, fraction = number.partition(".")
    if not is_digits(whole + fraction) or len(number) > 40:
        raise UsageError(f"invalid {what} {text!r}", hint="a number such as 2 or 0.5")
    product = int(whole + fraction) * scale
    value, rest = divmod(product, int("1" + "0" * len(fraction)))
    if (exact and rest) or (dot and not fraction and exact):
        raise UsageError(
            f"invalid {what} {text!r}: more digits than the kernel can keep",
            hint="give fewer digits",
        )
    if value > _MAX:
        raise UsageError(f"invalid {what} {text!r}: too large")
    return value


def byte_size(text: str) -> int:
    """Return bytes for ``512``, ``256m``, ``1.5g``, ``10 MiB``.

    >>> byte_size("256m"), byte_size("1.5 KiB"), byte_size("0")
    (268435456, 1536, 0)
    """
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    suffix = text[len(number) :].lower()
    number = number.removesuffix(" ") if suffix else number
    if suffix not in _SUFFIXES or not number[:1].isdigit() or not number[-1:].isdigit():
        raise UsageError(f"invalid size {text!r}", hint="for example 512m, 1.5g or 65536")
    return _scaled(number, _SUFFIXES[suffix], "size", text)


def memory_limit(text: str) -> int:
    """Return the bytes of -m; 0 means no limit."""
    limit = byte_size(text)
    if 0 < limit < MEMORY_FLOOR:
        raise UsageError(f"memory limit {text!r} is too low", hint="the minimum is 6m")
    return limit


def swap_limit(text: str) -> int:
    """Return the bytes of --memory-swap, which count memory too; -1 is unlimited."""
    return -1 if text == "-1" else byte_size(text)


def duration_ns(text: str) -> int:
    """Return nanoseconds for a Go duration: ``1m30s``, ``1.5h``, ``300ms``, ``0``.

    >>> duration_ns("1m30s"), duration_ns("1.5ms"), duration_ns("0")
    (90000000000, 1500000, 0)
    """
    rest = "" if text == "0" else text
    total = 0
    while rest:
        number_end = _span(rest, "0123456789.")
        unit_end = number_end + _span_not(rest[number_end:], "0123456789.")
        number, unit = rest[:number_end], rest[number_end:unit_end]
        if unit not in _NANOSECONDS:
            raise _bad_duration(text)
        total += _scaled(number, _NANOSECONDS[unit], "duration", text)
        rest = rest[unit_end:]
    if not text or total > _MAX:
        raise _bad_duration(text)
    return total


def _bad_duration(text: str) -> UsageError:
    return UsageError(f"invalid duration {text!r}", hint="for example 30s, 1m30s or 500ms")


def _span(text: str, chars: str) -> int:
    return len(text) - len(text.lstrip(chars))


def _span_not(text: str, chars: str) -> int:
    return next((i for i, char in enumerate(text) if char in chars), len(text))


def format_duration(nanoseconds: int) -> str:
    """Return the duration as ``duration_ns`` reads it.

    >>> format_duration(90_000_000_000), format_duration(1_500_000), format_duration(0)
    ('1m30s', '1500us', '0s')
    """
    parts = []
    for unit in ("h", "m", "s", "ms", "us", "ns"):
        count, rest = divmod(nanoseconds, _NANOSECONDS[unit])
        # Below a second one unit is enough, and exact: 1500us, never 1ms500us.
        if count and (rest == 0 or unit in ("h", "m", "s", "ns")):
            parts.append(f"{count}{unit}")
            nanoseconds = rest
    return "".join(parts) or "0s"


def human_size(count: int) -> str:
    """Return bytes as docker's tables print them.

    >>> human_size(1536), human_size(10)
    ('1.5KiB', '10B')
    """
    value, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if value < 1024 or unit == "PiB":
            break
        value /= 1024
    return f"{value:.4g}{unit}"


def cpus_nano(text: str) -> int:
    """Return billionths of a cpu for --cpus; 0 means no limit.

    >>> cpus_nano("1.5"), cpus_nano(".25")
    (1500000000, 250000000)
    """
    if not text or text.endswith("."):
        raise UsageError(f"invalid number of cpus {text!r}", hint="for example 0.5 or 2")
    nano = _scaled(text, 10**9, "number of cpus", text, exact=True)
    if 0 < nano < 10**7:
        raise UsageError(f"invalid number of cpus {text!r}", hint="the minimum is 0.01")
    return nano


def cpu_shares(text: str) -> int:
    """Return the weight for --cpu-shares; 0 means the default. See cgroups(7), cpu.shares.

    >>> cpu_shares("512")
    512
    """
    shares = integer(text, "cpu shares", 0, 262144)
    if shares == 1:
        raise UsageError(f"invalid cpu shares {text!r}", hint="the minimum is 2; 0 is the default")
    return shares


def cpu_numbers(text: str) -> tuple[int, ...]:
    """Return the numbers of a cpu or memory node list, sorted.

    >>> cpu_numbers("0-2,7")
    (0, 1, 2, 7)
    """
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"invalid cpu list {text!r}", hint="for example 0-3,8")
        low = integer(first, "cpu list", 0, _MAX_CPU)
        high = integer(last, "cpu list", 0, _MAX_CPU) if dash else low
        if low > high:
            raise UsageError(f"invalid cpu list {text!r}", hint=f"write {last}-{first}")
        numbers.update(range(low, high + 1))
    return tuple(sorted(numbers))


def cpu_list(text: str) -> str:
    """Return a cpu or memory node list as given, once it is known to be one. See cpuset(7)."""
    if text:
        cpu_numbers(text)
    return text
