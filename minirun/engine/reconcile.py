"""After a crash or a reboot: make records, addresses and groups agree with what is alive.

Next: ``prune.py``.
"""

from __future__ import annotations

import os

from ..container.names import is_id
from ..container.restart import starts_at_boot
from ..errors import MinirunError, StateError
from ..host import probe
from ..lifecycle import Container
from ..record import Record
from .remove import settle
from .status import current, everything, is_lost, is_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..container.entry import ContainerRecord
    from .home import Home


class Report(Record):
    """What was found and put right, by container id."""

    settled: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    released: tuple[str, ...] = ()
    to_start: tuple[str, ...] = ()


def reconcile(home: Home) -> Report:
    """Put everything right; what is alive is left alone.

    Returns:
        What was done, and which containers their restart policy wants started.
    """
    home.containers.sweep()
    settled, removed = [], []
    for record in home.containers.all():
        if is_lost(record):
            found = _corrected(home, record.id)
            if found is not None:
                settle(home, found)
                settled.append(record.id)
    records = everything(home)
    known = {record.id for record in records}
    for container_id in _directories(home.root):
        if container_id not in known and _take_away(home, container_id):
            removed.append(container_id)
    live = {record.id for record in records if is_up(record)}
    wanted = tuple(
        record.id
        for record in records
        if record.id in settled
        and starts_at_boot(record.options.restart, stopped_by_user=record.state.stopped_by_user)
    )
    return Report(tuple(settled), tuple(removed), _release(home, live), wanted)


def _corrected(home: Home, container_id: str) -> ContainerRecord | None:
    try:
        return current(home, home.containers.read(container_id))
    except StateError:
        return None


def _directories(root: str) -> list[str]:
    try:
        return [name for name in os.listdir(root) if is_id(name)]
    except FileNotFoundError:
        return []


def _take_away(home: Home, container_id: str) -> bool:
    """Remove a container of the runtime that no record knows, such as one of a killed build."""
    container = Container(home.root, container_id, probe())
    try:
        if container.state().status == "stopped":
            container.delete(force=True)
            return True
    except MinirunError:
        return False
    return False


def _release(home: Home, live: set[str]) -> tuple[str, ...]:
    from ..network.repair import reconcile as reconcile_network

    return reconcile_network(live, home.root)
