"""A container becomes an image: ``minirun commit``.

    the image's layers + the writable layer ─▶ layers       the image's config + the flags ─▶ config

The container is paused while its files are read, unless told otherwise: a file that changes under
the reader makes the commit fail rather than lie.

Next: ``../image/writer.py``.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress

from ..container import clock
from ..container.entry import RUNNING
from ..errors import ImageError, MinirunError
from ..image.blobs import read_document
from ..image.edit import changed
from ..image.layout import host_architecture
from ..image.model import (
    NO_ANNOTATIONS,
    Annotations,
    ContainerConfig,
    History,
    ImageConfig,
    Presence,
    RootFs,
)
from ..record import Record, replace
from .status import find
from .stop import pause, unpause
from .writable import writable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..container.entry import ContainerRecord
    from ..image.store import Image, Layer
    from ..image.writer import Writer
    from .home import Home


class Wish(Record):
    """What a commit is asked for.

    Args:
        names: of the new image.
        changes: instructions, see ``image/edit.py``.
        author: a person, as in ``Ada <ada@lovelace.uk>``.
        message: for the history.
        pause: stop the container meanwhile.
    """

    names: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    author: str = ""
    message: str = ""
    pause: bool = True


def commit(home: Home, record: ContainerRecord, wish: Wish) -> Image:
    """Return a new image of what a container's files are now; volumes are not part of it.

    Raises:
        MinirunError: a bundle has no layer; a change that is none; a file that no layer can hold.
    """
    layer_of = writable(home, record)
    store = home.images
    with store.write() as writer:
        base, layers, notes = _base(writer, home, record, layer_of.lowers)
        config = changed(_config(record, base.config), wish.changes)
        with _still(home, record, wanted=wish.pause):
            layer = writer.add_layer_from_dir(
                layer_of.upper, owners=layer_of.owners, skip=layer_of.mount_points
            )
        document = replace(
            base,
            config=config,
            created=clock.now(),
            author=wish.author or base.author,
            history=(*base.history, _history(record, wish)),
        )
        return writer.write_image(document, (*layers, layer), wish.names, notes)


@contextmanager
def _still(home: Home, record: ContainerRecord, *, wanted: bool) -> Iterator[None]:
    """Keep a running container from changing its files; one that is paused already stays so."""
    if not wanted or record.state.status != RUNNING:
        yield
        return
    pause(home, record)
    try:
        yield
    finally:
        with suppress(MinirunError):  # killed meanwhile: there is nothing to wake
            unpause(home, find(home, record.id))


def _base(
    writer: Writer, home: Home, record: ContainerRecord, lowers: tuple[str, ...]
) -> tuple[ImageConfig, tuple[Layer, ...], Annotations]:
    """Return the config, the layers and the annotations that the container was made of."""
    if record.image_id:
        with suppress(ImageError):
            image = home.images.resolve(record.image_id)
            writer.claim(image)
            notes = Annotations(image.manifest.annotations)
            return image.config, image.layers, notes
    # A plain directory, or an image whose name and blobs are gone: its files are still there.
    layers = tuple(writer.add_layer_from_dir(path) for path in reversed(lowers))
    with suppress(ImageError):
        return read_document(home.data, ImageConfig, record.image_id), layers, NO_ANNOTATIONS
    history = tuple(History(comment=f"files of {record.image}") for _ in layers)
    plain = ImageConfig(host_architecture(), "linux", RootFs("layers"), history=history)
    return plain, layers, NO_ANNOTATIONS


def _config(record: ContainerRecord, base: ContainerConfig) -> ContainerConfig:
    """Return the image's config, with what the container was told on top."""
    options = record.options
    names = {pair.partition("=")[0] for pair in options.env}
    env = tuple(pair for pair in base.env if pair.partition("=")[0] not in names)
    ports = dict.fromkeys(options.network.expose, Presence())
    own_entrypoint = options.entrypoint is not None
    return replace(
        base,
        user=options.user or base.user,
        env=(*env, *(pair for pair in options.env if "=" in pair)),
        entrypoint=options.entrypoint or () if own_entrypoint else base.entrypoint,
        cmd=options.command or (() if own_entrypoint else base.cmd),
        working_dir=options.workdir or base.working_dir,
        labels={**base.labels, **options.labels},
        exposed_ports={**base.exposed_ports, **ports},
    )


def _history(record: ContainerRecord, wish: Wish) -> History:
    return History(clock.now(), " ".join(record.args), wish.author, wish.message)
