"""How results are shown: a table for a person, JSON for a program.

``--format json`` prints one object per line, with docker's names for the fields. Of Go's templates
the part that scripts use is understood: ``{{.Name}}``, ``{{json .}}`` and text around them;
anything more is refused by name. Colours only on a terminal, and not with NO_COLOR.

Next: ``app.py``.
"""

from __future__ import annotations

import json
import os
import sys
import time

from ..errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, TextIO

    Row = Mapping[str, Any]


def write(text: str) -> None:
    """Print text as it is."""
    sys.stdout.write(text)


def say(text: str) -> None:
    """Print one line."""
    sys.stdout.write(text + "\n")


def document(value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Print a value as JSON that people can read too."""
    say(json.dumps(value, indent=2, ensure_ascii=False))


def colour_wanted(stream: TextIO) -> bool:
    """Whether escape sequences are welcome. See: no-color.org."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def show(
    rows: Sequence[Row], columns: Sequence[tuple[str, str]], chosen: str = "", *, quiet: str = ""
) -> None:
    """Print rows in the chosen format.

    Args:
        rows: each with every field that a format may name.
        columns: (heading, field) of the table.
        chosen: ``table``, ``json`` or a template.
        quiet: print this field alone.
    """
    if quiet:
        for row in rows:
            say(str(row[quiet]))
    elif chosen in ("", "table"):
        _table(rows, columns)
    else:
        line = formatter(chosen)
        for row in rows:
            say(line(row))


def _table(rows: Sequence[Row], columns: Sequence[tuple[str, str]]) -> None:
    cells = [[heading for heading, _ in columns]]
    cells += [[_one_line(str(row[field])) for _, field in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    bold, plain = ("\x1b[1m", "\x1b[0m") if colour_wanted(sys.stdout) else ("", "")
    for number, line in enumerate(cells):
        text = "   ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        say(f"{bold}{text}{plain}" if number == 0 else text)


def _one_line(text: str) -> str:
    """Keep a name with a newline or an escape sequence in it from redrawing the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def formatter(chosen: str) -> Callable[[Row], str]:
    """Return what turns a row into a line.

    >>> formatter("{{.ID}} is {{.Name}}")({"ID": "4f", "Name": "web"})
    '4f is web'
    >>> formatter("json")({"ID": "4f"})
    '{"ID": "4f"}'

    Raises:
        UsageError: a template that is more than fields and text.
    """
    if chosen == "json":
        return lambda row: json.dumps(row, ensure_ascii=False)
    text = chosen.removeprefix("table ").replace("\\t", "\t").replace("\\n", "\n")
    if "{{" not in text:
        raise UsageError(f"unknown format {chosen!r}", hint="table, json or '{{.Name}}'")
    return lambda row: _fill(text, row)


def _fill(template: str, row: Row) -> str:
    parts = []
    rest = template
    while "{{" in rest:
        before, _, rest = rest.partition("{{")
        inside, closed, rest = rest.partition("}}")
        if not closed:
            raise UsageError(f"unclosed '{{{{' in the template {template!r}")
        parts += [before, _field(inside.strip(), row)]
    return "".join(parts) + rest


def _field(word: str, row: Row) -> str:
    """Return what one ``{{…}}`` stands for."""
    as_json = word.startswith("json ")
    path = word.removeprefix("json ").strip()
    if not path.startswith(".") or set(path) & set(" |()$\"'"):
        hint = "fields like {{.Name}} and {{json .State}}; --format json with jq does the rest"
        raise UsageError(f"the template {{{{{word}}}}} is not supported", hint=hint)
    value: Any = row
    for name in filter(None, path.split(".")):
        if not hasattr(value, "get") or name not in value:
            known = ", ".join(sorted(value)) if hasattr(value, "keys") else "nothing below"
            raise UsageError(f"no field {path} to show", hint=f"there is: {known}")
        value = value[name]
    if as_json or not isinstance(value, (str, int, float)):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)


# ── times and sizes ───────────────────────────────────────────────────────────────────────────


def seconds_since(stamp: str) -> float:
    """Return how long ago an RFC 3339 time in UTC was; 0 for none."""
    if not stamp:
        return 0.0
    import calendar

    fields = time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")
    return max(0.0, time.time() - calendar.timegm(fields))


def human_time(seconds: float) -> str:
    """Return a duration as docker words it.

    >>> human_time(0.5), human_time(90), human_time(7200), human_time(90000)
    ('Less than a second', 'About a minute', '2 hours', '25 hours')
    """
    steps: Iterable[tuple[float, str]] = (
        (1, "Less than a second"),
        (2, "1 second"),
        (60, f"{seconds:.0f} seconds"),
        (120, "About a minute"),
        (3600, f"{seconds // 60:.0f} minutes"),
        (7200, "About an hour"),
        (172800, f"{seconds // 3600:.0f} hours"),
        (1209600, f"{seconds // 86400:.0f} days"),
        (5184000, f"{seconds // 604800:.0f} weeks"),
        (63072000, f"{seconds // 2592000:.0f} months"),
    )
    for limit, text in steps:
        if seconds < limit:
            return text
    return f"{seconds // 31536000:.0f} years"


def ago(stamp: str) -> str:
    """Return a time as ``3 minutes ago``; "" for none."""
    return f"{human_time(seconds_since(stamp))} ago" if stamp else "N/A"
