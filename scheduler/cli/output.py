"""How results are shown: a table for a person, JSON or YAML for a program.

JSON and YAML show what the API answered, whole; a table shows the columns that fit a terminal, and
``-o wide`` the rest. Colours only on a terminal, and not with NO_COLOR.

Next: ``app.py``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

Row = Mapping[str, Any]
#: (heading, what of a row stands below it).
Column = tuple[str, Callable[[Row], object]]

BOLD, PLAIN = "\x1b[1m", "\x1b[0m"


def say(text: str) -> None:
    """Print one line."""
    sys.stdout.write(text + "\n")


def document(value: object, form: str) -> None:
    """Print a value as JSON or YAML that people can read too."""
    if form == "yaml":
        import yaml

        sys.stdout.write(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
    else:
        say(json.dumps(value, indent=2, ensure_ascii=False))


def colour_wanted(stream: TextIO) -> bool:
    """Whether escape sequences are welcome. See: no-color.org."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def table(rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """Print rows below the headings."""
    bold, plain = (BOLD, PLAIN) if colour_wanted(sys.stdout) else ("", "")
    heading, *lines = layout(rows, columns)
    say(f"{bold}{heading}{plain}")
    for line in lines:
        say(line)


def layout(rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    """Return the lines of a table, headings first.

    >>> layout([{"name": "web"}], [("NAME", lambda row: row["name"])])
    ['NAME', 'web']
    """
    cells = [[heading for heading, _ in columns]]
    cells += [[one_line(_shown(show(row))) for _, show in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return [
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


def _shown(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def one_line(text: str) -> str:
    r"""Keep a newline or an escape sequence in a message from redrawing the terminal.

    >>> one_line("a\x1b[2J")
    'a?[2J'
    """
    return "".join(char if char.isprintable() else "?" for char in text)


# ── times and sizes ───────────────────────────────────────────────────────────────────────────


def age(unix_s: float | None, now: float | None = None) -> str:
    """Return how long ago something was, as kubectl words it.

    >>> age(0, 42), age(0, 150), age(0, 4000), age(0, 200_000), age(None)
    ('42s', '2m30s', '66m', '2d', '-')
    """
    if unix_s is None:
        return "-"
    return span((time.time() if now is None else now) - unix_s)


def span(seconds: float) -> str:
    """Return a length of time in one or two units."""
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole}s"
    if whole < 600:
        return f"{whole // 60}m" + (f"{whole % 60}s" if whole % 60 else "")
    for limit, unit, name in ((7200, 60, "m"), (172_800, 3600, "h")):
        if whole < limit:
            return f"{whole // unit}{name}"
    return f"{whole // 86_400}d"
