"""The two directories that everything is below.

Next: ``images.py``.
"""

from __future__ import annotations

from ..container.store import Store as ContainerStore
from ..container.store import data_root
from ..record import Record
from ..roots import default_root
from ..shim.place import Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..container.volumes import VolumeStore
    from ..image.store import Store as ImageStore


class Home(Record):
    """``data`` holds what survives a reboot, ``root`` what must not."""

    data: str
    root: str

    @property
    def containers(self) -> ContainerStore:
        """Return the records of containers."""
        return ContainerStore(self.data)

    @property
    def images(self) -> ImageStore:
        """Return the image store; imported late, a plain root file system needs none."""
        from ..image.registry.settings import load
        from ..image.store import Store

        return Store(self.data, load().default_registry)

    @property
    def volumes(self) -> VolumeStore:
        """Return the volumes."""
        from ..container.volumes import VolumeStore

        return VolumeStore(self.data)

    def place(self, container_id: str) -> Place:
        """Return where one container is kept."""
        return Place(self.data, self.root, container_id)


def default_home() -> Home:
    """Return the home of this user: MINIRUN_DATA and MINIRUN_ROOT, or their defaults."""
    return Home(data_root(), default_root())
