"""What is about an image, kept beside it in a registry: signatures and other referrers.

    sha256-<hex>.sig     a tag with the signatures of a manifest, as cosign and podman have it
    referrers            manifests whose ``subject`` is the image's; where a registry has no API
                         for them, an index under the tag ``sha256-<hex>``, kept by who pushes

See: cosign specs/SIGNATURE_SPEC.md; distribution-spec "Pushing Manifests with Subject".
Next: ``push.py``.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

import httpx

from ...errors import ImageError
from .. import model, reference
from ..model import Descriptor, Digest, Manifest
from ..signature import ANNOTATION, PAYLOAD_TYPE, Signature
from . import endpoint as endpoints
from .remote import Access, Remote, access, transport_to
from .repository import Repository
from .transport import Refused
from .upload import Upload, put_manifest

EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_TITLE = "org.opencontainers.image.title"
_EMPTY = b"{}"
#: More signatures than this are those of somebody who wants us to try them all.
_MOST_SIGNATURES = 32
_PAYLOAD_LIMIT_BYTES = 64 << 10


def signatures_of(remote: Remote, digests: Iterable[str]) -> list[Signature]:
    """Return the signatures that a registry has of some manifests; none of them is trusted yet."""
    found = []
    for digest in digests:
        try:
            document = remote.manifest(_signature_tag(digest))
        except Refused as error:
            if error.status == httpx.codes.NOT_FOUND:
                continue
            raise
        manifest = model.parse(Manifest, document.raw, f"signatures of {digest}")
        for layer in manifest.layers[:_MOST_SIGNATURES]:
            if layer.media_type == PAYLOAD_TYPE and layer.size <= _PAYLOAD_LIMIT_BYTES:
                found += _signature(remote, layer)
    return found


def _signature(remote: Remote, layer: Descriptor) -> list[Signature]:
    try:
        made = base64.b64decode(layer.annotations.get(ANNOTATION, ""), validate=True)
    except binascii.Error:
        return []
    return [Signature(remote.config(layer), made)]


def attach_signatures(
    text: str, digest: str, signatures: Sequence[Signature], how: Access | None = None
) -> str:
    """Add signatures to those that a registry has; returns the tag they are under.

    Args:
        text: the full name of the repository, with or without a tag.
        digest: of the manifest that is signed; the registry must have it.
        signatures: of it.
        how: None takes the host's settings and the user's credentials.
    """
    with _opened(text, how) as repository:
        if repository.has_manifest(digest) is None:
            raise ImageError(f"{repository.name} has no {digest}", hint="push the image first")
        tag = _signature_tag(digest)
        before = _layers_of(repository, tag)
        added = [_push_signature(repository, one) for one in signatures]
        layers = [*before, *(one for one in added if one not in before)]
        config = {"rootfs": {"type": "layers", "diff_ids": [one["digest"] for one in layers]}}
        described = _push_bytes(
            repository,
            json.dumps({"architecture": "", "os": "", **config}).encode(),
            model.OCI_CONFIG,
        )
        document = {"config": described, "layers": layers}
        _put(repository, tag, document, model.OCI_MANIFEST)
        return tag


def _push_signature(repository: Repository, one: Signature) -> dict[str, object]:
    described = _push_bytes(repository, one.payload, PAYLOAD_TYPE)
    return {**described, "annotations": {ANNOTATION: base64.b64encode(one.signature).decode()}}


def _layers_of(repository: Repository, tag: str) -> list[dict[str, object]]:
    """Return the layers of a manifest as they stand there; none where there is no such tag."""
    if repository.has_manifest(tag) is None:
        return []
    found: list[dict[str, object]] = json.loads(repository.manifest(tag).raw)["layers"]
    return found


def attach_referrer(
    text: str,
    subject: Descriptor,
    content: bytes,
    artifact_type: str,
    *,
    title: str,
    how: Access | None = None,
) -> str:
    """Push a document that is about an image; returns the digest of its manifest.

    Args:
        text: the full name of the repository.
        subject: of the image's manifest.
        content: of the document.
        artifact_type: its media type, which is how others look for it.
        title: file name, without which ``oras pull`` fetches nothing.
        how: None takes the host's settings and the user's credentials.
    """
    with _opened(text, how) as repository:
        layer = _push_bytes(repository, content, artifact_type)
        document = {
            "artifactType": artifact_type,
            "config": _push_bytes(repository, _EMPTY, EMPTY_TYPE),
            "layers": [{**layer, "annotations": {_TITLE: title}}],
            "subject": _described(subject),
        }
        found = _put(repository, "", document, model.OCI_MANIFEST)
        _list_referrer(repository, subject, {**_described(found), "artifactType": artifact_type})
        return found.digest


def _list_referrer(
    repository: Repository, subject: Descriptor, entry: Mapping[str, object]
) -> None:
    """Keep the index of referrers for a registry that does not do it itself."""
    tag = subject.digest.replace(":", "-", 1)
    try:
        for _ in repository.pages(f"/v2/{repository.path}/referrers/{subject.digest}", "referrers"):
            return
    except Refused as error:
        if error.status not in (400, 404, 405):
            raise
    before: list[Mapping[str, object]] = []
    if repository.has_manifest(tag) is not None:
        before = json.loads(repository.manifest(tag).raw)["manifests"]
    entries = [one for one in before if one.get("digest") != entry["digest"]]
    _put(repository, tag, {"manifests": [*entries, entry]}, model.OCI_INDEX)


# ── pieces ────────────────────────────────────────────────────────────────────────────────────


def _signature_tag(digest: str) -> str:
    return f"sha256-{model.hex_of(digest)}.sig"


@contextlib.contextmanager
def _opened(text: str, how: Access | None) -> Iterator[Repository]:
    """Yield the repository of a name, to push to."""
    target, how = reference.parse(text, ""), how or access()
    with transport_to(endpoints.of(target.domain, how.settings), how) as transport:
        yield Repository(transport, target.path, "pull,push")


def _push_bytes(repository: Repository, content: bytes, media_type: str) -> dict[str, object]:
    """Store a small blob, unless it is there; returns its descriptor as JSON."""
    found = Descriptor(media_type, _digest(content), len(content))
    if not repository.has_blob(found.digest):
        fd = os.memfd_create("minirun-blob")
        try:
            os.write(fd, content)
            Upload(repository, found, fd, lambda _: None).run()
        finally:
            os.close(fd)
    return _described(found)


def _put(
    repository: Repository, name: str, document: Mapping[str, object], media_type: str
) -> Descriptor:
    whole = {"schemaVersion": 2, "mediaType": media_type, **document}
    raw = json.dumps(whole, separators=(",", ":")).encode()
    found = Descriptor(media_type, _digest(raw), len(raw))
    put_manifest(repository, name or found.digest, found, raw)
    return found


def _described(one: Descriptor) -> dict[str, object]:
    return {"mediaType": one.media_type, "digest": one.digest, "size": one.size}


def _digest(content: bytes) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(content).hexdigest()}")
