"""Durations, sizes and CPU shares as people and the Compose Specification write them.

May not import anything with an effect.
"""

from __future__ import annotations

import re

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_LARGEST = 1 << 62


def duration_s(text: str | float) -> float:
    """Return seconds.

    >>> duration_s("1m30s"), duration_s("1.5h"), duration_s(10)
    (90.0, 5400.0, 10.0)

    Raises:
        ValueError: the text is not a duration.
    """
    if isinstance(text, int | float):
        if not 0 <= text <= _LARGEST:
            raise ValueError(f"{text} is not a duration")
        return float(text)
    if not re.fullmatch(f"(?:{_DURATION.pattern})+", text) or len(text) > 40:
        raise ValueError(f"{text!r} is not a duration such as 1m30s")
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))


def duration_text(seconds: float) -> str:
    """Return a duration that reads back as the same number.

    >>> duration_text(90.0), duration_text(0.25)
    ('90s', '0.25s')
    """
    text = f"{seconds:.9f}".rstrip("0").rstrip(".")
    return f"{text}s" if float(text) == seconds else f"{seconds!r}s"


def size_bytes(text: str | float) -> int:
    """Return bytes; suffixes are powers of 1024, as in Docker.

    >>> size_bytes("512m"), size_bytes("1.5 GiB"), size_bytes(4096)
    (536870912, 1610612736, 4096)

    Raises:
        ValueError: the text is not a size.
    """
    match = _SIZE.fullmatch(str(text).strip()) if len(str(text)) <= 32 else None
    if match is None:
        raise ValueError(f"{text!r} is not a size such as 512m")
    number, power = match[1], _POWERS[match[2].lower()]
    size = int(float(number) * 1024**power) if "." in number else int(number) * 1024**power
    if size > _LARGEST:
        raise ValueError(f"{text!r} is larger than any memory")
    return size


def cpu_millis(text: str | float) -> int:
    """Return thousandths of a CPU.

    >>> cpu_millis("0.5"), cpu_millis("250m"), cpu_millis(2)
    (500, 250, 2000)

    Raises:
        ValueError: the text is not a number of CPUs.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", str(text))
    if match is None or len(match[1]) > 12:
        raise ValueError(f"{text!r} is not a number of CPUs such as 0.5")
    share = float(match[1]) * (1 if match[2] else 1000)
    if 0 < share < 1:
        raise ValueError(f"{text!r} is less than a thousandth of a CPU")
    return round(share)


def cpu_text(millis: int) -> str:
    """Return CPUs as a decimal number.

    >>> cpu_text(1500)
    '1.5'
    """
    return f"{millis / 1000:.3f}".rstrip("0").rstrip(".")


def size_text(size: int) -> str:
    """Return a size in the largest unit that leaves few digits.

    >>> size_text(512 << 20), size_text(1536 << 20), size_text(10)
    ('512 MiB', '1.5 GiB', '10 B')
    """
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size >= 1024**power:
            return f"{size / 1024**power:.1f}".removesuffix(".0") + f" {unit}"
    return f"{size} B"


def size_suffixed(size: int) -> str:
    """Return a size that reads back as the same number.

    >>> size_suffixed(512 << 20), size_suffixed(1536 << 20), size_suffixed(1000)
    ('512m', '1536m', '1000b')
    """
    for power, suffix in ((4, "t"), (3, "g"), (2, "m"), (1, "k")):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{suffix}"
    return f"{size}b"


def amount(resource: str, value: int) -> str:
    """Return an amount of a resource by name, for messages."""
    if resource == "cpu":
        return cpu_text(value)
    return size_text(value) if resource == "memory" else str(value)
