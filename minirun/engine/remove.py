"""Remove a container, and whatever a crash left of one.

Whatever minirun makes outside of a container's own namespaces is named after its id: the state
directory, the control group, the address. So everything can be found again, and taken away twice
without harm.

Next: ``reconcile.py``.
"""

from __future__ import annotations

import os
from contextlib import suppress

from ..container.events import Event, EventLog
from ..container.removal import remove_files
from ..errors import MinirunError, NotFoundError, StateError
from ..record import replace
from .start import attach
from .status import is_lost, is_up
from .stop import kill, wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..container.entry import ContainerRecord
    from .home import Home


def remove(
    home: Home, record: ContainerRecord, *, force: bool = False, volumes: bool = False
) -> None:
    """Remove a container.

    Args:
        home: where it is kept.
        record: which one.
        force: kill it first if it runs.
        volumes: remove its anonymous volumes as well.

    Raises:
        StateError: it runs, and ``force`` was not given.
    """
    if is_up(record):
        if not force:
            what = "paused" if record.state.status == "paused" else "running"
            raise StateError(
                f"cannot remove container {record.name!r}: container is {what}",
                hint="stop the container before removing, or force remove: minirun rm -f",
            )
        _end(home, record)
    with suppress(NotFoundError):  # --rm, or somebody else who removes it
        tidy(home, record.id)
        remove_files(home.containers, record.id, volumes=volumes or record.options.remove)
        EventLog(home.data).append(Event("container", "destroy", record.id, {"name": record.name}))


def discard(home: Home, container_id: str) -> None:
    """Take back a container that was made and never ran; not an error when it is gone."""
    with suppress(NotFoundError):
        record = home.containers.read(container_id)
        if is_up(record):
            _end(home, record)
        tidy(home, container_id)
        remove_files(home.containers, container_id)


def tidy(home: Home, container_id: str) -> None:
    """Remove what a run leaves when nobody could clear it away: group, address, directory."""
    place = home.place(container_id)
    if os.path.isdir(f"{home.root}/{container_id}"):
        place.container().delete(force=True)
    if _has_address(home, container_id):
        # Also without a directory: the shim may have come no further, or may not yet have.
        from ..network import detach

        detach(container_id, home.root)
    with suppress(FileNotFoundError):
        os.unlink(place.socket)


def _has_address(home: Home, container_id: str) -> bool:
    """Return whether the container may hold an address; one whose record is damaged may."""
    try:
        return home.containers.read(container_id).options.network.mode == "bridge"
    except MinirunError:
        return True


def settle(home: Home, record: ContainerRecord) -> None:
    """Write down that a lost container has ended, and remove what is left of its run.

    Args:
        home: where it is kept.
        record: as ``status.current`` corrected it.
    """
    tidy(home, record.id)

    def change(found: ContainerRecord) -> ContainerRecord:
        return replace(found, state=record.state) if is_lost(found) else found

    home.containers.update(record.id, change)


def _end(home: Home, record: ContainerRecord) -> None:
    """Kill it and wait for its shim to be done."""
    from .stop import stop

    if record.state.status == "restarting":
        stop(home, record)
        return
    with suppress(StateError):
        listener = attach(home, record.id)  # before it ends: then its end cannot be missed
        try:
            with suppress(MinirunError):
                kill(home, record, 9)
            with suppress(ConnectionResetError):
                listener.wait_until_over()
        finally:
            listener.close()
    with suppress(MinirunError):
        kill(home, record, 9)  # its shim is gone as well
    wait(home, record)
