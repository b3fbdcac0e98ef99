"""Who vouches for an image: signatures in sigstore's simple form, made and checked offline.

A signature covers a small JSON document that names the repository and the manifest's digest. It is
what cosign calls a simple signing payload, and what podman and skopeo check by their policy:

    {"critical": {"identity": {"docker-reference": "ghcr.io/team/app:1"},
                  "image": {"docker-manifest-digest": "sha256:…"},
                  "type": "cosign container image signature"}, "optional": null}

Keys are PEM files: ECDSA on P-256 with SHA-256 (cosign's own) and Ed25519.

See: containers/image docs/containers-signature.5.md; cosign specs/SIGNATURE_SPEC.md.
Next: ``signature_policy.py``, which asks for them.
"""

from __future__ import annotations

import base64
import json
import os
from typing import ClassVar

from ..errors import ImageError
from ..record import Record
from . import model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

    PublicKey = EllipticCurvePublicKey | Ed25519PublicKey
    PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey

TYPES = frozenset({"cosign container image signature", "atomic container signature"})
PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
ANNOTATION = "dev.cosignproject.cosign/signature"
_PAYLOAD_LIMIT_BYTES = 64 << 10
_KEY_LIMIT_BYTES = 64 << 10


class Signature(Record):
    """A payload as it was signed, and the signature of its bytes."""

    payload: bytes
    signature: bytes


class Claim(Record):
    """What a payload says: this digest is what that name means."""

    reference: str
    digest: str


class _Identity(Record):
    __json__: ClassVar[Mapping[str, str]] = {"reference": "docker-reference"}
    reference: str


class _Image(Record):
    __json__: ClassVar[Mapping[str, str]] = {"digest": "docker-manifest-digest"}
    digest: str


class _Critical(Record):
    identity: _Identity
    image: _Image
    type: str


class _Payload(Record):
    critical: _Critical


# ── signing ───────────────────────────────────────────────────────────────────────────────────


def sign(reference: str, digest: str, key: PrivateKey) -> Signature:
    """Return the signature of one image under one name.

    Args:
        reference: the full name, with a tag.
        digest: of the manifest, or of the index that a tag leads to.
        key: from ``private_key``.
    """
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    critical = {
        "identity": {"docker-reference": reference},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }
    payload = json.dumps(
        {"critical": critical, "optional": None}, sort_keys=True, separators=(",", ":")
    ).encode()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return Signature(payload, key.sign(payload, ec.ECDSA(SHA256())))
    return Signature(payload, key.sign(payload))


def private_key(path: str, password: str = "") -> PrivateKey:
    """Return the key in a PEM file (PKCS #8), which others must not be able to read.

    Raises:
        ImageError: no such key, of another kind, or its password is missing or wrong.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    raw = _read(path)
    if b"ENCRYPTED SIGSTORE" in raw or b"ENCRYPTED COSIGN" in raw:
        hint = "make one with: openssl genpkey -algorithm ed25519 -out KEY"
        raise ImageError(f"{path} is in cosign's own encrypted form", hint=hint)
    try:
        key = load_pem_private_key(raw, password.encode() or None)
    except (ValueError, TypeError) as error:
        hint = "a PEM file of openssl genpkey; MINIRUN_KEY_PASSWORD opens an encrypted one"
        raise ImageError(f"{path} cannot be used as a private key: {error}", hint=hint) from error
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise _other_kind(path)


# ── checking ──────────────────────────────────────────────────────────────────────────────────


def public_key(raw: bytes, what: str) -> PublicKey:
    """Return the key in the content of a PEM file.

    Raises:
        ImageError: it is none, or of another kind.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(raw)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ImageError(f"{what} is no public key in PEM form", hint="as in cosign.pub") from error
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise _other_kind(what)


def public_key_file(path: str) -> PublicKey:
    """Return the key in a file."""
    return public_key(_read(path), path)


def claim_of(signature: Signature, keys: Sequence[PublicKey]) -> Claim | None:
    """Return what a signature says, if one of the keys has made it, else None.

    Nothing in the payload is looked at before its signature was found good.
    """
    if len(signature.payload) > _PAYLOAD_LIMIT_BYTES:
        return None
    if not any(_is_by(key, signature) for key in keys):
        return None
    try:
        critical = model.parse(_Payload, signature.payload, "signature").critical
    except ImageError:
        return None
    if critical.type not in TYPES:
        return None
    return Claim(critical.identity.reference, critical.image.digest)


def _is_by(key: PublicKey, signature: Signature) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature.signature, signature.payload, ec.ECDSA(SHA256()))
        else:
            key.verify(signature.signature, signature.payload)
    except InvalidSignature:
        return False
    return True


# ── kept beside the store ─────────────────────────────────────────────────────────────────────


def kept(root: str, digest: str) -> list[Signature]:
    """Return the signatures that came with an image, as far as they can be read."""
    try:
        with open(_path(root, digest), encoding="ascii") as file:
            rows = json.load(file)
        return [Signature(*(base64.b64decode(part) for part in row)) for row in rows]
    except (OSError, ValueError, TypeError):
        return []


def keep(root: str, digest: str, signatures: Sequence[Signature]) -> None:
    """Keep signatures of an image of the store, beside those that it has; gc takes them with it."""
    from .locks import store_errors

    found = dict.fromkeys((*kept(root, digest), *signatures))
    rows = [[base64.b64encode(part).decode() for part in (s.payload, s.signature)] for s in found]
    path = _path(root, digest)
    with store_errors(root):
        os.makedirs(os.path.dirname(path), 0o711, exist_ok=True)
        part = f"{path}.{os.getpid()}.part"
        with open(part, "w", encoding="ascii") as file:
            json.dump(rows, file)
        os.rename(part, path)


def _path(root: str, digest: str) -> str:
    return os.path.join(root, "signatures", model.hex_of(digest))


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_KEY_LIMIT_BYTES)
    except OSError as error:
        raise ImageError(f"{path}: {os.strerror(error.errno or 0).lower()}") from error


def _other_kind(what: str) -> ImageError:
    return ImageError(f"{what} is of another kind than ECDSA P-256 or Ed25519")
