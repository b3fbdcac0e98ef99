"""Where a store's layers are, and how a new one comes to be there: whole, or not at all.

    scratch/<random>/diff/ …    begin    unfinished; goes with its operation
    layers/<hex>/diff/ …        finish   complete, and so visible; ``layer.json`` beside it
    l/<short> -> ../layers/…             a name that is short enough for mount(2)'s data
    locks/<hex>                          the right to make it

Next: ``adopt.py``.
"""

from __future__ import annotations

import json
import os

from .model import hex_of
from .stored import link_of


def path_of(root: str, diff_id: str) -> str:
    """Return the folder of a complete layer."""
    return os.path.join(root, "layers", hex_of(diff_id))


def lock_of(root: str, diff_id: str) -> str:
    """Return the file whose lock is the right to make a layer."""
    return os.path.join(root, "locks", hex_of(diff_id))


def begin(scratch: str) -> tuple[str, str]:
    """Make an unfinished layer; returns its folder, and in it the overlay directory."""
    part = os.path.join(scratch, os.urandom(8).hex())
    diff = os.path.join(part, "diff")
    os.mkdir(part, 0o711)
    os.mkdir(diff, 0o755)
    os.chmod(diff, 0o755)  # it becomes the container's "/": whatever the umask
    return part, diff


def finish(root: str, part: str, diff_id: str, size_bytes: int) -> None:
    """Put a complete layer in its place: the last of these renames makes it visible."""
    with open(os.path.join(part, "layer.json"), "w", encoding="ascii") as file:
        json.dump({"diff_id": diff_id, "size": size_bytes}, file)
    new = os.path.join(part, "link")
    os.symlink(f"../layers/{hex_of(diff_id)}/diff", new)
    os.rename(new, os.path.join(root, link_of(diff_id)))
    os.rename(part, path_of(root, diff_id))
