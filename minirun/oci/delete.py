"""remove a container that has stopped, or any with ``--force``.

See: runtime.md, Delete. Next: ``state.py``.
"""

from __future__ import annotations

from ..host import probe
from ..lifecycle import Container
from .words import FLAG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .report import Report
    from .words import Call

OPTIONS = {"force": FLAG}


def main(call: Call, report: Report) -> int:
    """Remove; ``--force`` of a container that does not exist is fine."""
    del report
    container = Container(call.root, call.container_id(), probe())
    container.delete(force=call.flag("force"))
    return 0
