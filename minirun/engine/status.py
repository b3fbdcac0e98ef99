"""What is true of a container now, whatever its record says.

A record is written by the shim. After a reboot, or when shim and standby were both killed, it says
``running`` and nobody will ever correct it. So whoever reads one asks whether the processes in it
are still those that it means.

Next: ``stop.py``.
"""

from __future__ import annotations

from ..container.entry import ALIVE, DEAD, EXITED, RESTARTING
from ..record import replace
from ..state import is_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..container.entry import ContainerRecord
    from .home import Home

#: What nobody saw happen ends with this code.
UNKNOWN_CODE = 255
LOST = "its shim was killed, or the machine restarted: nobody saw how it ended"


def current(home: Home, record: ContainerRecord) -> ContainerRecord:
    """Return the record as it should be; nothing is written.

    Args:
        home: asked again when the record was changed meanwhile.
        record: as it was read.
    """
    if is_lost(record):
        # The shim writes the end down before it goes: what was read may be older than that.
        record = home.containers.read(record.id)
    if not is_lost(record):
        return record
    state = replace(
        record.state,
        status=EXITED,
        pid=0,
        pid_start_time=0,
        exit_code=UNKNOWN_CODE,
        reason="error",
        error=LOST,
        health=None,
    )
    return replace(record, state=state)


def is_lost(record: ContainerRecord) -> bool:
    """Whether the record promises a life that nobody watches and nobody lives."""
    state = record.state
    if state.status not in (*ALIVE, RESTARTING):
        return False
    watched = is_alive(state.shim_pid, state.shim_start_time)
    return not watched and not is_alive(state.pid, state.pid_start_time)


def is_up(record: ContainerRecord) -> bool:
    """Whether the container has a process, or is about to have one again."""
    return record.state.status in (*ALIVE, RESTARTING)


def is_damaged(record: ContainerRecord) -> bool:
    """Whether the record's file could not be read."""
    return record.state.status == DEAD


def everything(home: Home) -> tuple[ContainerRecord, ...]:
    """Return all containers as they are now, newest first."""
    from ..errors import NotFoundError

    found = []
    for record in home.containers.all():
        try:
            found.append(current(home, record))
        except NotFoundError:
            continue  # removed while we looked
    return tuple(found)


def find(home: Home, query: str) -> ContainerRecord:
    """Return the container with this id, name or beginning of an id, as it is now."""
    return current(home, home.containers.find(query))
