"""list the containers of a root.

See: runc-list(8). Next: ``ps.py``.
"""

from __future__ import annotations

import sys

from ..errors import UsageError
from ..host import probe
from ..lifecycle import containers
from ..quickjson import compact
from .state import owner, public
from .words import FLAG, VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .report import Report
    from .words import Call

OPTIONS = {"format": VALUE, "quiet": FLAG}


def main(call: Call, report: Report) -> int:
    """Print a table, JSON without blanks, or ids."""
    del report
    found = containers(call.root, probe())
    form = call.text("format", "table")
    if call.flag("quiet"):
        text = "".join(f"{state.id}\n" for state in found)
    elif form == "json":
        shown = [public(state) for state in found] or None
        text = compact(shown) + "\n"
    elif form == "table":
        rows = [(s.id, str(s.pid), s.status, s.bundle, s.created, owner(s.owner)) for s in found]
        text = table([("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"), *rows])
    else:
        raise UsageError(f"invalid format option {form!r}", hint="table or json")
    sys.stdout.write(text)
    return 0


def table(rows: Sequence[tuple[str, ...]]) -> str:
    r"""Return columns of 12 characters or more with 3 between them, as Go's tabwriter sets them.

    >>> table([("ID", "PID"), ("web", "1")])
    'ID          PID\nweb         1\n'
    """
    widths = [max(12, *(len(row[n]) + 3 for row in rows)) for n in range(len(rows[0]) - 1)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        + row[-1]
        + "\n"
        for row in rows
    )
