"""write a running container to disk, through criu.

Not done by this runtime yet: refused with a clear error, whether criu is there or not.

See: criu(8). Next: ``restore.py``.
"""

from __future__ import annotations

from ..errors import HostError
from .words import FLAG, VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .report import Report
    from .words import Call

OPTIONS = {
    "image-path": VALUE,
    "work-path": VALUE,
    "parent-path": VALUE,
    "leave-running": FLAG,
    "tcp-established": FLAG,
    "tcp-skip-in-flight": FLAG,
    "ext-unix-sk": FLAG,
    "shell-job": FLAG,
    "lazy-pages": FLAG,
    "page-server": VALUE,
    "status-fd": VALUE,
    "file-locks": FLAG,
    "pre-dump": FLAG,
    "manage-cgroups-mode": VALUE,
    "empty-ns": VALUE,
    "auto-dedup": FLAG,
    "link-remap": FLAG,
}


def main(call: Call, report: Report) -> NoReturn:
    """Refuse."""
    del report
    raise HostError(
        f"{call.verb} is not supported by this runtime",
        hint="runc and crun can checkpoint a container through criu",
    )
