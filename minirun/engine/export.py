"""All files of a container as one tar, and back: ``minirun export`` and ``minirun import``.

The layers are put together for us alone, without the container's mounts: volumes, /proc and /dev
are not part of it, as with docker. Nothing here needs the container to run.

Next: ``../image/pack.py`` and ``../image/unpack.py``.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

from ..container import clock
from ..image.edit import changed
from ..image.limits import host_limits
from ..image.model import ContainerConfig, History, ImageConfig, RootFs
from ..image.streams import inflated
from ..image.tarstream import TarReader
from ..record import replace
from ..shim.place import StartFile
from ..spec import Spec
from .writable import writable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..container.entry import ContainerRecord
    from ..image.store import Image
    from ..image.streams import Readable
    from .home import Home


def export(home: Home, record: ContainerRecord, write: Callable[[bytes], object]) -> None:
    """Write a container's files as a tar to a function that takes bytes.

    Raises:
        ImageError: a file changed while it was read, or has a name that means something to layers.
    """
    from ..image.pack import pack
    from ..image.tarwriter import TarWriter

    place = home.place(record.id)
    tar = TarWriter(write)
    if place.read("start.json", StartFile).overlay is None:
        with _directory(place.read("config.json", Spec).root.path) as root:
            pack(root, tar)
    else:
        from ..image.build_rootfs import merged

        layer = writable(home, record)
        owners = replace(layer.owners, mixed=True)
        paths = [Path(path) for path in (layer.upper, *layer.lowers)]
        with merged(paths) as mount, _directory(".", mount) as root:
            pack(root, tar, owners=owners, skip=layer.mount_points)
    tar.close()


@contextmanager
def _directory(path: str, base: int | None = None) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=base)
    try:
        yield fd
    finally:
        os.close(fd)


def import_tar(
    home: Home,
    stream: Readable,
    names: Sequence[str] = (),
    changes: Sequence[str] = (),
    message: str = "",
) -> Image:
    """Return a new image of one layer.

    Args:
        home: whose store.
        stream: a tar of a root file system, compressed or not.
        names: of the image.
        changes: instructions, see ``image/edit.py``.
        message: for the history.

    Raises:
        ImageError: the stream is damaged or hostile; the store is as before.
    """
    from ..image.layout import host_architecture
    from ..image.unpack import Unpacker

    config, limits = changed(ContainerConfig(), changes), host_limits()
    with home.images.write() as writer:
        upper = os.path.join(writer.scratch, "import")
        os.mkdir(upper)
        os.chmod(upper, 0o755)  # it becomes the container's "/": whatever the umask
        with _directory(upper) as root:
            plain = inflated(stream, limits, "the archive")
            Unpacker(root, limits, whiteouts=False).apply(TarReader(plain))
        layer = writer.add_layer_from_upper(upper)
        now = clock.now()
        history = (History(now, "minirun import", comment=message),)
        document = ImageConfig(
            host_architecture(), "linux", RootFs("layers"), config, now, history=history
        )
        return writer.write_image(document, (layer,), names)
