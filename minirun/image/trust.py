"""Is an image one that this host's policy lets run? Asked before every container and every FROM.

Without a policy file this is one look at the file system; with one, the digest that is about to run
is checked, not the name that led to it.

Next: ``signature_policy.py``.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .store import Image

_POLICY = "/etc/minirun/policy.json"


def confirm_trusted(image: Image, text: str) -> None:
    """Refuse an image that the policy does not accept.

    Args:
        image: of the store.
        text: what it was asked for by: one of its names, or something that led to it.

    Raises:
        ImageError: the policy asks for what the image has not.
    """
    if not os.environ.get("MINIRUN_POLICY") and not os.path.exists(_POLICY):
        return
    from .signature_policy import check_stored

    asked = [name for name, short in zip(image.names, image.familiar_names, strict=True)
             if text in (name, short, short.removesuffix(":latest"))]  # fmt: skip
    check_stored(image, asked or [*image.names, *image.digests])
