"""An image by name: the store's, else captured from this host, else pulled from its registry.

    missing   what the store has is good enough; the default, as docker's
    always    the registry is asked each time: a tag may have moved
    never     no registry is asked

On the way of every start by name, so nothing heavy is imported while the image is there.
Next: ``registry/pull.py`` and ``capture.py``, the two ways to get one that is not.
"""

from __future__ import annotations

import contextlib

from ..errors import ImageError
from ..record import Record
from . import reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from .arrival import Event
    from .store import Image, NoSuchImage, Store

    Seen = Callable[[Event], None]

MISSING, ALWAYS, NEVER = POLICIES = ("missing", "always", "never")
_NO_REGISTRY = "write it as HOST/NAME, or set default-registry in the registries file"


class Obtain(Record):
    """How images are come by.

    Args:
        policy: one of ``POLICIES``.
        platform: as in ``linux/arm64``; "" is this machine's.
        shown: called with a name that is about to be pulled; returns what shows the transfer.
    """

    policy: str = MISSING
    platform: str = ""
    shown: Callable[[str], AbstractContextManager[Seen]] | None = None


def obtain(store: Store, name: str, how: Obtain | None = None) -> Image:
    """Return an image, which is then in the store.

    Args:
        store: looked at first, unless the policy says otherwise.
        name: as a person types it; also an id, or the beginning of one, of the store's.
        how: None takes what is there and pulls what is missing, silently.

    Raises:
        ImageError: it is not here and must not, or cannot, be pulled.
    """
    from .store import NoSuchImage

    chosen = how or Obtain()
    try:
        found = store.resolve(name)
    except NoSuchImage as missing:
        return _made(store, name, chosen, missing)
    if chosen.policy != ALWAYS or _is_id(name, found) or _is_captured(store, name):
        return found
    return _pulled(store, name, chosen)


def _is_id(name: str, found: Image) -> bool:
    return found.id.removeprefix("sha256:").startswith(name.removeprefix("sha256:"))


def _is_captured(store: Store, name: str) -> bool:
    from .capture import is_captured_name

    return is_captured_name(store.name(name))


def _made(store: Store, name: str, how: Obtain, missing: NoSuchImage) -> Image:
    """Return an image that the store does not have."""
    if _is_captured(store, name):
        from .capture import capture_named

        return capture_named(store, name)
    if how.policy == NEVER:
        hint = missing.hint if missing.near else f"minirun pull {name}"
        raise ImageError(missing.message, hint=hint) from missing
    if not reference.parse(store.name(name), "").domain:
        problem = f"{missing.message}: the name has no registry, and there is no default one"
        raise ImageError(problem, hint=missing.hint if missing.near else _NO_REGISTRY)
    try:
        return _pulled(store, name, how)
    except ImageError as error:
        message = f"{missing.message}: {error.message}"
        raise ImageError(message, hint=missing.hint if missing.near else error.hint) from error


def _pulled(store: Store, name: str, how: Obtain) -> Image:
    from .registry.pull import pull

    with how.shown(name) if how.shown else contextlib.nullcontext() as seen:
        return pull(store, name, platform=how.platform, seen=seen)
