"""Which form a store has, so that two versions of minirun never misread each other's.

    1   without this file: as the first releases wrote it, perhaps without ``partial/``
    2   the same with ``version``; every folder is there

A newer form is refused before anything is read from it; an older one is brought up when something
is written, in one step that may be killed and done again.

Next: ``store.py``.
"""

from __future__ import annotations

import os

from ..errors import ImageError

VERSION = 2
_FILE = "version"
_FOLDERS = ("blobs/sha256", "layers", "l/empty", "leases", "tmp", "locks", "partial")


def check(root: str) -> int:
    """Return the version of a store; 0 where there is none yet.

    Raises:
        ImageError: a newer minirun has written it, or the file is none of ours.
    """
    try:
        with open(os.path.join(root, _FILE), "rb") as file:
            text = file.read(20).strip()
    except (FileNotFoundError, NotADirectoryError):
        return int(os.path.exists(os.path.join(root, "oci-layout")))
    if not text.isdigit():
        raise ImageError(f"image store {root}: its version is {text.decode(errors='replace')!r}")
    if int(text) > VERSION:
        raise ImageError(
            f"image store {root} has version {int(text)}, this minirun knows up to {VERSION}",
            hint="use the minirun that wrote it, or set MINIRUN_DATA to another directory",
        )
    return int(text)


def migrate(root: str) -> None:
    """Make what a store of the present version has. Needs the store's lock, alone.

    The version is written last: until then a store counts as what it was.
    """
    for folder in _FOLDERS:
        os.makedirs(os.path.join(root, folder), 0o711, exist_ok=True)
    part = os.path.join(root, f"{_FILE}.part")
    with open(part, "w", encoding="ascii") as file:
        file.write(f"{VERSION}\n")
    os.rename(part, os.path.join(root, _FILE))
