"""An image that becomes a container's must not be collected between the look and the deed.

    run:      look the image up ─▶ write the record ─▶ confirm_kept
    collect:  lock ─▶ ask the records what is in use ─▶ take the rest away ─▶ unlock

A collection that comes later finds the record; one that came first has taken the layers, and that
is found here, before anything is mounted.

Next: ``create.py``.
"""

from __future__ import annotations

import os

from ..errors import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .home import Home
    from .images import Target


def confirm_kept(home: Home, target: Target) -> None:
    """Make sure that the layers of a container's image are there, and stay.

    Call it after the container's record was written.

    Raises:
        ImageError: the image was removed, and its space freed, at the same moment.
    """
    if not target.image_id:
        return
    from ..image.locks import locked

    with locked(os.path.join(home.data, "lock"), shared=True):
        gone = [lower for lower in target.lowers if not os.path.isdir(lower)]
    if gone:
        raise ImageError(
            f"image {target.text} was removed while the container was made",
            hint="pull or build it again",
        )
