"""RFC 3339 with nanoseconds in UTC, as docker writes every time.

The text sorts as the time does, and nothing here goes through a float, which could not hold the
nanoseconds of this century.

Next: ``entry.py``.
"""

from __future__ import annotations

import time

from ..errors import UsageError
from .sizes import duration_ns
from .words import is_digits

BILLION = 10**9


def now() -> str:
    """Return the present time."""
    return stamp(time.time_ns())


def stamp(nanoseconds: int) -> str:
    """Return a time since the epoch as text.

    >>> stamp(1_700_000_000_000_000_001)
    '2023-11-14T22:13:20.000000001Z'
    """
    seconds, rest = divmod(nanoseconds, BILLION)
    year, month, day, hour, minute, second, *_ = time.gmtime(seconds)
    date = f"{year:04}-{month:02}-{day:02}"
    return f"{date}T{hour:02}:{minute:02}:{second:02}.{rest:09}Z"


def moment(text: str, now_ns: int) -> str:
    """Return a time that --since or --until names, in the form of ``stamp``.

    Args:
        text: RFC 3339 (the time and the zone may be left out), seconds since the epoch with up to
            nine decimals, or a Go duration before now.
        now_ns: the present.

    Raises:
        UsageError: it is none of these.

    >>> moment("10m", 1_700_000_600_000_000_000)
    '2023-11-14T22:13:20.000000000Z'
    """
    whole, _, fraction = text.partition(".")
    if is_digits(whole) and len(whole) < 12 and (is_digits(fraction) or "." not in text):
        return stamp(int(whole) * BILLION + int(fraction[:9].ljust(9, "0")))
    if "-" in text:
        return _date(text)
    return stamp(max(0, now_ns - duration_ns(text)))


def _date(text: str) -> str:
    """Return an RFC 3339 time in UTC; without a zone it is the local one, as in docker."""
    # Imported here: only --since with a date needs calendars.
    from datetime import UTC, datetime

    try:
        found = datetime.fromisoformat(text)
        seconds = int(found.replace(microsecond=0).astimezone(UTC).timestamp())
    except (ValueError, OverflowError) as error:
        hint = "for example 2026-01-31T12:00:00Z, 1700000000 or 10m"
        raise UsageError(f"invalid time {text!r}", hint=hint) from error
    return stamp(seconds * BILLION + _nanoseconds(text))


def _nanoseconds(text: str) -> int:
    """Return the decimals of the seconds; datetime would cut them at microseconds."""
    digits = ""
    for char in text.partition(".")[2]:
        if not is_digits(char):
            break
        digits += char
    return int(digits[:9].ljust(9, "0"))
