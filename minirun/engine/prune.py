"""Take away what nobody needs: ended containers, unused volumes and images.

An image is in use as long as a container was made of it, even when its name is gone: the layers
are below that container's root. Next: ``../image/gc.py``.
"""

from __future__ import annotations

import time
from contextlib import suppress

from ..errors import ImageError, MinirunError, NetworkError
from ..image.select import PRUNE_KEYS, matching
from ..record import Record
from .remove import remove
from .status import everything, is_up
from .usage import writable_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .home import Home


class Pruned(Record):
    """What went away, and the bytes that this freed."""

    names: tuple[str, ...] = ()
    bytes: int = 0


def containers(home: Home) -> Pruned:
    """Remove every container that does not run."""
    gone, freed = [], 0
    for record in everything(home):
        if not is_up(record):
            size = writable_bytes(home, record)
            with suppress(MinirunError):
                remove(home, record)
                gone.append(record.id)
                freed += size
    return Pruned(tuple(gone), freed)


def volumes(home: Home, *, every: bool = False) -> Pruned:
    """Remove volumes that no container uses: the anonymous ones, or all of them."""
    used = {name for record in everything(home) for name in record.volumes.values()}
    gone, freed = [], 0
    for volume in home.volumes.all():
        if volume.name in used or not (every or volume.anonymous):
            continue
        size = home.volumes.disk_usage_bytes(volume.name)
        with suppress(MinirunError):
            home.volumes.remove(volume.name)
            gone.append(volume.name)
            freed += size
    return Pruned(tuple(gone), freed)


def images(home: Home, *, every: bool = False, filters: Iterable[str] = ()) -> Pruned:
    """Remove images without a name, or all that no container uses; then free the space.

    Args:
        home: whose.
        every: also images that have a name.
        filters: only those that fit, see ``image/select.py``.
    """
    gone = []
    users = users_of(home)
    for image in matching(home.images.images(), filters, PRUNE_KEYS, time.time_ns()):
        if (every or not image.names) and not users(image.id):
            with suppress(ImageError):
                removed = home.images.remove(image.id, force=True, used_by=users)
                gone += [one.what for one in removed]
    freed = home.images.gc(lambda: in_use(home))
    return Pruned(tuple(gone), freed.size_bytes)


def network(home: Home) -> None:
    """Remove the bridge and its rules, unless a container, perhaps of another home, has a cable."""
    from ..network.repair import remove_bridge

    if not any(is_up(record) for record in everything(home)):
        with suppress(NetworkError):
            remove_bridge()


def in_use(home: Home) -> set[str]:
    """Return the digests that containers need: of their images' configs and layers."""
    from ..image.blobs import read_document
    from ..image.model import ImageConfig

    needed: set[str] = set()
    for image_id in {record.image_id for record in everything(home)} - {""}:
        needed.add(image_id)
        with suppress(MinirunError):
            needed.update(read_document(home.data, ImageConfig, image_id).rootfs.diff_ids)
    return needed


def users_of(home: Home) -> Callable[[str], tuple[str, ...]]:
    """Return what tells the containers of an image by its id."""
    records = everything(home)

    def users(image_id: str) -> tuple[str, ...]:
        return tuple(record.name for record in records if record.image_id == image_id)

    return users
