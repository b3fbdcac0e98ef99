"""The writable layer of a container, with all that is needed to read it as the container does.

Next: ``commit.py``.
"""

from __future__ import annotations

from ..errors import StateError
from ..image.owners import Owners
from ..record import Record
from ..shim.place import StartFile
from ..spec import Spec
from .foundation import above_foundation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set

    from ..container.entry import ContainerRecord
    from .home import Home


class Writable(Record):
    """What a container wrote, and over what.

    Args:
        upper: the overlay upper directory.
        lowers: the layers below it, newest first.
        owners: what the owners in ``upper`` mean inside the container.
        mount_points: paths of ``upper`` that only a mount needed.
    """

    upper: str
    lowers: tuple[str, ...]
    owners: Owners
    mount_points: Set[str]


def writable(home: Home, record: ContainerRecord) -> Writable:
    """Return a container's writable layer.

    Raises:
        StateError: it was made of an OCI bundle, whose root is a directory of somebody's.
    """
    from ..image.mountpoints import made_for_mounts

    place = home.place(record.id)
    start = place.read("start.json", StartFile)
    if start.overlay is None:
        raise StateError(f"{record.name} was made of an OCI bundle: it has no layer of its own")
    spec = place.read("config.json", Spec)
    targets = [*(mount.destination for mount in spec.mounts), *start.etc]
    upper, lowers = start.overlay.upper, above_foundation(home, start.overlay.lowers)
    return Writable(
        upper,
        lowers,
        Owners(spec.linux.uid_mappings, spec.linux.gid_mappings),
        made_for_mounts(upper, lowers, targets),
    )
