"""Forget a container: its record, its files, its name, and the volumes that were only its own.

Next: ``volumes.py``.
"""

from __future__ import annotations

from contextlib import suppress

from ..errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .store import Store


def remove_files(store: Store, container_id: str, *, volumes: bool = True) -> None:
    """Remove what is left of a container that has ended.

    Args:
        store: where it is kept.
        container_id: which one.
        volumes: whether its anonymous volumes go as well, as with ``--rm`` and ``rm -v``.

    Raises:
        NotFoundError: there is no such container.
    """
    from .volumes import VolumeStore

    record = store.read(container_id)
    store.remove(container_id)
    if volumes:
        for name in record.anonymous:
            with suppress(StateError):  # somebody else uses it, or removed it
                VolumeStore(store.data).remove(name)
