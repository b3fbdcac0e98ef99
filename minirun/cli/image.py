"""``images rmi tag history save load``: the images of this host.

Next: ``image_group.py``.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress

import click

from ..container.sizes import human_size
from ..engine.home import default_home
from ..errors import ImageError, MinirunError, UsageError
from ..record import replace
from .archives import archive_output
from .common import complete_image, format_option
from .complaints import complain
from .output import ago, say, show
from .transfer import shown as layers_shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..image.store import Image, Removal, Store

_COLUMNS = (
    ("REPOSITORY", "Repository"),
    ("TAG", "Tag"),
    ("IMAGE ID", "ID"),
    ("CREATED", "CreatedSince"),
    ("SIZE", "Size"),
)


@click.command()
@click.option("-q", "--quiet", is_flag=True, help="Ids only.")
@click.option("-a", "--all", is_flag=True, expose_value=False, help="They always are: docker's.")
@click.option("--digests", is_flag=True, help="Show the digests of manifests.")
@click.option("--no-trunc", is_flag=True, help="Whole ids.")
@click.option("-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE",
              help="By dangling, label, until, before, since or reference.")  # fmt: skip
@format_option
@click.argument("name", required=False, default="")
def images_command(
    name: str,
    chosen: str,
    *,
    filters: tuple[str, ...],
    quiet: bool,
    digests: bool,
    no_trunc: bool,
) -> int:
    """List images."""
    from ..image.select import LIST_KEYS, matching

    rows = []
    found = default_home().images.images()
    for image in matching(found, filters, LIST_KEYS, time.time_ns()):
        rows += [row for row in _rows(image, whole=no_trunc) if _is_named(row, name)]
    if quiet:
        rows = list({row["ID"]: row for row in rows}.values())
    columns = (*_COLUMNS[:2], ("DIGEST", "Digest"), *_COLUMNS[2:]) if digests else _COLUMNS
    show(rows, columns, chosen, quiet="ID" if quiet else "")
    return 0


def _is_named(row: dict[str, Any], name: str) -> bool:
    return name in ("", row["Repository"], f"{row['Repository']}:{row['Tag']}")


def _rows(image: Image, *, whole: bool) -> list[dict[str, Any]]:
    """Return one row per name, as docker has it."""
    from ..engine.inspect import size_bytes

    found = []
    for name in image.familiar_names or ("<none>:<none>",):
        repository, _, tag = name.rpartition(":")
        found.append(
            {
                "Repository": repository or name,
                "Tag": tag if repository else "",
                "Digest": image.descriptor.digest,
                "ID": image.id if whole else image.id.removeprefix("sha256:")[:12],
                "CreatedAt": image.config.created,
                "CreatedSince": ago(image.config.created),
                "Size": human_size(size_bytes(image)),
            }
        )
    return found


@click.command()
@click.option("-f", "--force", is_flag=True, help="Also one that containers use.")
@click.argument("names", nargs=-1, required=True, metavar="IMAGE…", shell_complete=complete_image)
def rmi_command(names: tuple[str, ...], *, force: bool) -> int:
    """Remove images by name; with its last name an image goes, and its space is freed."""
    from ..engine.prune import in_use, users_of

    home, code, removed = default_home(), 0, False
    for name in names:
        try:
            for removal in home.images.remove(name, force=force, used_by=users_of(home)):
                say(f"{removal.kind}: {_familiar(removal)}")
                removed = True
        except MinirunError as error:
            complain(error.message, error.hint)
            code = error.exit_code
    if removed:
        home.images.gc(lambda: in_use(home))
    return code


def _familiar(removal: Removal) -> str:
    """Return what was removed by the name that people type; an id stays an id."""
    from ..image import reference

    return removal.what if removal.kind == "Deleted" else reference.parse(removal.what).familiar


@click.command()
@click.argument("name", metavar="IMAGE", shell_complete=complete_image)
@click.argument("new", metavar="NAME")
def tag_command(name: str, new: str) -> int:
    """Give an image one more name."""
    store = default_home().images
    store.tag(store.resolve(name), new)
    return 0


@click.command()
@click.option("--no-trunc", is_flag=True, help="Whole ids and steps.")
@click.option("-q", "--quiet", is_flag=True, help="Ids only.")
@format_option
@click.argument("name", metavar="IMAGE", shell_complete=complete_image)
def history_command(name: str, chosen: str, *, no_trunc: bool, quiet: bool) -> int:
    """Show how an image came to be, newest step first."""
    store = default_home().images
    image = store.resolve(name)
    rows = []
    for number, row in enumerate(store.history(image)):
        text = row.entry.created_by
        digest = row.layer.diff_id if row.layer else ""
        rows.append(
            {
                "ID": (image.id if no_trunc else image.id[7:19]) if number == 0 else "<missing>",
                "CreatedAt": row.entry.created,
                "CreatedSince": ago(row.entry.created),
                "CreatedBy": text if no_trunc or len(text) <= 45 else text[:44] + "…",
                "Size": human_size(row.layer.descriptor.size) if row.layer else "0B",
                "Layer": digest,
                "Comment": row.entry.comment,
            }
        )
    columns = (
        ("IMAGE", "ID"),
        ("CREATED", "CreatedSince"),
        ("CREATED BY", "CreatedBy"),
        ("SIZE", "Size"),
        ("COMMENT", "Comment"),
    )
    show(rows, columns, chosen, quiet="ID" if quiet else "")
    return 0


@click.command()
@click.option("-o", "--output", metavar="FILE", help="Write to a file instead of stdout.")
@click.option("--oci", is_flag=True, help="An OCI archive only; the default is docker's as well.")
@click.argument("names", nargs=-1, required=True, metavar="IMAGE…", shell_complete=complete_image)
def save_command(names: tuple[str, ...], output: str | None, *, oci: bool) -> int:
    """Write images to an archive that docker, podman and skopeo load, under the names given.

    \b
      minirun save -o iris.tar iris
      minirun save iris | ssh other minirun load
    """  # noqa: D301
    from ..image import archive, layout

    images = _to_save(default_home().images, names)
    write = layout.save_archive if oci else archive.save
    blobs = {part.digest: part.size for image in images for part in image.manifest.layers}
    with archive_output(output, "save", sum(blobs.values())) as sink:
        write(images, sink)
    return 0


def _to_save(store: Store, names: tuple[str, ...]) -> list[Image]:
    """Return images with those names only that they were asked for by; an id is none.

    An image's other names may belong to something else where the archive is loaded.
    """
    found: dict[str, Image] = {}
    for name in names:
        image = store.resolve(name)
        key = image.descriptor.digest
        before = found[key].names if key in found else ()
        asked = [one for one in image.names if one == _full(store, name) and one not in before]
        found[key] = replace(image, names=(*before, *asked))
    return list(found.values())


def _full(store: Store, name: str) -> str:
    """Return the full name, or "" for an id, which is not always the form of a name."""
    with suppress(ImageError):
        return store.name(name)
    return ""


@click.command()
@click.option("-i", "--input", "path", metavar="FILE", help="Read a file instead of stdin.")
@click.option("-q", "--quiet", is_flag=True, help="Ids only.")
def load_command(path: str | None, *, quiet: bool) -> int:
    """Read images from an archive, or from an OCI layout directory."""
    from ..image import archive, layout

    if path is None and sys.stdin.isatty():
        raise UsageError("requested load from a terminal", hint="use -i FILE, or a pipe")
    store = default_home().images
    source = path or "/dev/stdin"
    load = layout.load if os.path.isdir(source) else archive.load
    with layers_shown(quiet=quiet or not sys.stderr.isatty()) as seen:
        images = load(store, source, seen=seen)
    for image in images:
        if quiet or not image.names:
            say(image.id if quiet else f"Loaded image ID: {image.id}")
        else:
            say("\n".join(f"Loaded image: {name}" for name in image.familiar_names))
    return 0
