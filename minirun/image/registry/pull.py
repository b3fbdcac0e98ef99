"""An image from a registry into the store.

    image = pull(store, "ubuntu:22.04", platform="linux/arm64", seen=print)

What a tag leads to is looked up each time; what the store has already is not fetched again.

See: distribution-spec spec.md, Pull. Next: ``push.py``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from ...errors import ImageError
from ...record import Record, replace
from .. import model, reference, signature_policy
from ..arrival import Event
from ..model import Descriptor, ImageConfig, Index, Manifest, Platform
from ..names import annotated
from ..parallel import Stop
from ..reference import Reference
from ..signature import Signature, keep
from ..store import Image, Store
from . import platforms
from .attach import signatures_of
from .remote import Access, Remote, access, opened
from .repository import Document

_MAX_NESTING = 4
_LAYERS = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
_CONFIGS = (model.OCI_CONFIG, model.DOCKER_CONFIG)


class _Kind(Record):
    """What a manifest is for, where it is not an image."""

    artifact_type: str = ""


def pull(
    store: Store,
    text: str,
    *,
    platform: str = "",
    seen: Callable[[Event], None] | None = None,
    how: Access | None = None,
) -> Image:
    """Return an image, fetched from its registry as far as the store does not have it.

    Args:
        store: where to.
        text: as a person types it; the tag ``latest`` where there is none.
        platform: as in ``linux/arm64``; "" is this machine's.
        seen: is told what happens to each layer, from several threads.
        how: None takes the host's settings and the user's credentials.

    Raises:
        ImageError: there is no such image, none for this platform, it is damaged or hostile, or
            the registry cannot be reached. The store's images are as before; what arrived until
            then is used by the next attempt, or collected.
    """
    target = reference.parse(store.name(text), "")
    wanted = platforms.parse(platform) if platform else None
    stop = Stop()
    with contextlib.ExitStack() as stack:
        remote = stack.enter_context(opened(how or access(), target, stop))
        top = remote.manifest(target.digest or target.tag)
        chosen = _choose(remote, top, wanted or platforms.host(), target.familiar)
        _check(remote, chosen, wanted, target.familiar)
        signatures = _accepted(remote, str(target), (top, chosen))
        writer = stack.enter_context(store.write())
        names = _names(target, top.descriptor.digest)
        if signatures:
            keep(store.root, chosen.descriptor.digest, signatures)
        return writer.adopt(remote, chosen.descriptor, names, seen, stop)


def tags(text: str, *, default_registry: str = "", how: Access | None = None) -> list[str]:
    """Return all tags of a repository."""
    target = reference.parse(text, default_registry or reference.DEFAULT_REGISTRY)
    with opened(how or access(), target) as remote:
        return remote.tags()


def _choose(remote: Remote, found: Document, wanted: Platform, name: str) -> Document:
    """Return the manifest of an index that runs on a platform; a manifest is its own choice."""
    for _ in range(_MAX_NESTING):
        if found.descriptor.media_type not in model.INDEXES:
            return found
        index = model.parse(Index, found.raw, f"index of {name}")
        entry = platforms.choose(index.manifests, wanted, f"image {name}")
        above = (found.descriptor.annotations, index.annotations, entry.annotations)
        found = remote.manifest(entry.digest)
        found = replace(found, descriptor=annotated(found.descriptor, *above))
    raise ImageError(f"index of {name} is nested more than {_MAX_NESTING} times")


def _accepted(remote: Remote, name: str, documents: Sequence[Document]) -> list[Signature]:
    """Refuse what the policy does; return the signatures, which ``run`` will ask for again."""
    policy = signature_policy.load()
    if policy is None:
        return []
    digests = list(dict.fromkeys(document.descriptor.digest for document in documents))
    found = signatures_of(remote, digests)
    signature_policy.check(policy, name, digests, found)
    return found


def _check(remote: Remote, found: Document, wanted: Platform | None, name: str) -> None:
    """Refuse, before anything large moves, what is no image, or not for the platform asked for."""
    manifest = model.parse(Manifest, found.raw, f"manifest of {name}")
    kind = model.parse(_Kind, found.raw, f"manifest of {name}").artifact_type
    if kind or manifest.config.media_type not in _CONFIGS:
        raise ImageError(
            f"{name} is an artifact of type {kind or manifest.config.media_type}, not an image",
            hint="minirun runs container images; fetch other artifacts with oras or skopeo",
        )
    for layer in manifest.layers:
        _check_layer(layer, name)
    if wanted is not None:
        raw = remote.config(manifest.config)
        config = model.parse(ImageConfig, raw, f"config of {name}", model.CONFIG_LIMIT_BYTES)
        offered = Platform(config.architecture, config.os, config.variant)
        if not platforms.runs(wanted, offered):
            made_for = platforms.spelled(offered)
            asked = platforms.spelled(wanted)
            raise ImageError(f"image {name} is for {made_for}, not for {asked}")


def _check_layer(layer: Descriptor, name: str) -> None:
    if not layer.media_type.startswith(_LAYERS):
        raise ImageError(
            f"{name} is no image: it has a layer of type {layer.media_type!r}",
            hint="it is probably a signature or another artifact",
        )
    if layer.media_type.endswith("+encrypted"):
        raise ImageError(f"image {name} has encrypted layers", hint="these are not supported")


def _names(target: Reference, digest: str) -> list[str]:
    """Return the names of a pulled image: its tag, and what the registry will always know it by."""
    pinned = f"{target.name}@{digest}"
    return [pinned] if target.digest else [f"{target.name}:{target.tag}", pinned]
