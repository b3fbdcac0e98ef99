"""list the processes of a container, as the host sees them.

See: runc-ps(8), ps(1). Next: ``events.py``.
"""

from __future__ import annotations

import sys

from ..errors import MinirunError, UsageError
from ..host import probe
from ..lifecycle import Container
from ..ownership import processes
from ..quickjson import compact
from .words import VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .report import Report
    from .words import Call

OPTIONS = {"format": VALUE}
#: What follows the id is for ps(1).
SPREAD = False


def main(call: Call, report: Report) -> int:
    """Print the pids as JSON, or the lines of ps(1) that belong to them."""
    del report
    if not call.words:
        raise UsageError('"ps" requires a container id')
    container = Container(call.root, call.words[0], probe())
    pids = processes(container, container.state())
    form = call.text("format", "table")
    if form == "json":
        text = compact(pids or None) + "\n"
    elif form == "table":
        text = _lines_of(pids, call.words[1:] or ("-ef",))
    else:
        raise UsageError(f"invalid format option {form!r}", hint="table or json")
    sys.stdout.write(text)
    return 0


def _lines_of(pids: Sequence[int], arguments: Sequence[str]) -> str:
    """Run ps(1) and keep its header and our lines."""
    import subprocess

    done = subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        problem = done.stderr.strip().partition("\n")[0]  # its usage follows
        raise MinirunError(f"ps {' '.join(arguments)}: {problem}")
    header, *lines = done.stdout.splitlines()
    if "PID" not in header.split():
        raise MinirunError("couldn't find PID field in ps output", hint="such as ps ID -ef")
    column = header.split().index("PID")
    ours = [line for line in lines if int(line.split()[column]) in pids]
    return "\n".join([header, *ours]) + "\n"
