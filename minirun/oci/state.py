"""tell what a container is and does, as JSON.

See: runtime.md, State. Next: ``list.py``.
"""

from __future__ import annotations

import sys

from ..host import probe
from ..lifecycle import Container
from ..quickjson import pretty
from ..record import EMPTY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..state import State
    from .report import Report
    from .words import Call

OPTIONS: dict[str, str] = {}


def main(call: Call, report: Report) -> int:
    """Print it, indented."""
    del report
    state = Container(call.root, call.container_id(), probe()).state()
    sys.stdout.write(pretty(public(state)) + "\n")
    return 0


def public(state: State) -> dict[str, Any]:
    """Return what runc shows, in its order: a suite compares ``list`` as text."""
    shown: dict[str, Any] = {
        "ociVersion": state.oci_version,
        "id": state.id,
        "pid": state.pid,
        "status": state.status,
        "bundle": state.bundle,
        "rootfs": state.rootfs,
        "created": state.created,
    }
    if state.annotations != EMPTY:
        shown["annotations"] = dict(state.annotations)
    return {**shown, "owner": owner(state.owner)}


def owner(uid: str) -> str:
    """Return the name of a host user, or his number where he has none."""
    if uid == "0":
        return "root"
    import pwd  # asks NSS, so only where there is something to ask

    try:
        return pwd.getpwuid(int(uid)).pw_name
    except (KeyError, ValueError):
        return uid
