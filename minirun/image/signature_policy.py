"""Which images may be pulled and run, by whose signature: a policy file as podman's.

    {"default": [{"type": "reject"}],
     "transports": {"docker": {
       "registry.lan/team": [{"type": "sigstoreSigned", "keyPath": "/etc/minirun/team.pub",
                              "signedIdentity": {"type": "matchRepository"}}],
       "docker.io/library": [{"type": "insecureAcceptAnything"}]}}}

The most specific scope decides: a whole name, a repository, each namespace above it, the registry,
``*.domain``, "" and at last ``default``. All requirements of a list must be met. The file is
MINIRUN_POLICY, else /etc/minirun/policy.json; without one everything is accepted.

Whatever is not understood is refused, never skipped. What ``run`` accepts is decided by digest: a
name alone proves nothing.

See: containers-policy.json(5). Next: ``registry/pull.py``.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

from ..errors import ImageError
from ..record import EMPTY, Record
from . import model, reference
from .signature import Claim, Signature, claim_of, public_key, public_key_file
from .store import Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .signature import PublicKey

DEFAULT_PATH = "/etc/minirun/policy.json"
_HINT = "the policy is {path}; who signs is its keyPath, see minirun image sign"


class Identity(Record):
    """Which name a signature must give to the image."""

    __json__: ClassVar[Mapping[str, str]] = {
        "docker_reference": "dockerReference",
        "docker_repository": "dockerRepository",
    }
    type: str = "matchRepoDigestOrExact"
    docker_reference: str = ""
    docker_repository: str = ""


class Requirement(Record):
    """One thing that an image must meet."""

    __json__: ClassVar[Mapping[str, str]] = {
        "key_path": "keyPath",
        "key_paths": "keyPaths",
        "key_data": "keyData",
        "key_datas": "keyDatas",
        "signed_identity": "signedIdentity",
    }
    type: str
    key_path: str = ""
    key_paths: tuple[str, ...] = ()
    key_data: str = ""
    key_datas: tuple[str, ...] = ()
    signed_identity: Identity = Identity()


class Policy(Record):
    """The whole file."""

    default: tuple[Requirement, ...]
    transports: Mapping[str, Mapping[str, tuple[Requirement, ...]]] = EMPTY
    path: str = ""


def load(path: str = "") -> Policy | None:
    """Return the policy of this host; None where there is none.

    Raises:
        ImageError: the file cannot be read, or holds what is not understood.
    """
    named = path or os.environ.get("MINIRUN_POLICY", "")
    try:
        with open(named or DEFAULT_PATH, "rb") as file:
            raw = file.read(model.MANIFEST_LIMIT_BYTES + 1)
    except FileNotFoundError:
        if named:
            raise ImageError(f"policy {named}: no such file") from None
        return None
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise ImageError(f"policy {named or DEFAULT_PATH}: {reason}") from error
    found = model.parse(Policy, raw, f"policy {named or DEFAULT_PATH}")
    _refuse_unknown(json.loads(raw), named or DEFAULT_PATH)
    return Policy(found.default, found.transports, named or DEFAULT_PATH)


def _refuse_unknown(value: object, path: str) -> None:
    """Refuse a demand on signatures that we would not check, such as rekorPublicKeyPath."""
    if isinstance(value, list):
        for item in value:
            _refuse_unknown(item, path)
    elif isinstance(value, dict) and value.get("type") == "sigstoreSigned":
        if unknown := set(value) - {"type", *Requirement.__json__.values()}:
            name = sorted(unknown)[0]
            hint = "keys are checked offline; fulcio and rekor are not supported"
            raise ImageError(f"policy {path}: sigstoreSigned with {name}", hint=hint)
    elif isinstance(value, dict):
        for item in value.values():
            _refuse_unknown(item, path)


def check(
    policy: Policy, name: str, digests: Sequence[str], signatures: Sequence[Signature]
) -> None:
    """Refuse an image that the policy does not accept.

    Args:
        policy: from ``load``.
        name: full, with a tag or a digest.
        digests: what the manifest, and the index it was chosen from, hash to.
        signatures: that came with it; none of them is trusted yet.

    Raises:
        ImageError: says which scope asks for what.
    """
    scope, requirements = requirements_for(policy, name)
    hint = _HINT.format(path=policy.path)
    where = f"the policy for {scope or 'everything else'}"
    if not requirements:
        raise ImageError(f"{where} is an empty list, which nothing can meet", hint=hint)
    for requirement in requirements:
        if requirement.type == "reject":
            raise ImageError(f"image {name} is rejected by {where}", hint=hint)
        if requirement.type == "sigstoreSigned":
            _check_signed(requirement, name, digests, signatures, where, hint)
        elif requirement.type != "insecureAcceptAnything":
            raise ImageError(
                f"{where} asks for {requirement.type!r}, which is not supported", hint=hint
            )


def requirements_for(policy: Policy, name: str) -> tuple[str, tuple[Requirement, ...]]:
    """Return the scope that decides about a name, and what it asks for."""
    docker = policy.transports.get("docker", {})
    for scope in scopes_of(name):
        if scope in docker:
            return scope, docker[scope]
    return "", policy.default


def scopes_of(name: str) -> Iterator[str]:
    """Yield the scopes of a full name, the most specific first.

    >>> list(scopes_of("a.org:5000/team/app:1"))[:4]
    ['a.org:5000/team/app:1', 'a.org:5000/team/app', 'a.org:5000/team', 'a.org:5000']
    >>> list(scopes_of("a.org:5000/team/app:1"))[4:]
    ['*.org:5000', '']
    """
    parsed = reference.parse(name, "")
    yield name
    path = parsed.name
    while path:
        if path != name:
            yield path
        path = path.rpartition("/")[0]
    labels = parsed.domain.split(".")
    for i in range(1, len(labels)):
        yield f"*.{'.'.join(labels[i:])}"
    yield ""


def check_stored(image: Image, names: Iterable[str]) -> None:
    """Refuse to run an image of the store that the policy does not accept.

    Args:
        image: by its digest; its signatures came with it, or from ``minirun image sign``.
        names: full, under which it is run; one that is accepted is enough.
    """
    policy = load()
    if policy is None:
        return
    from .signature import kept

    digest = image.descriptor.digest
    digests = [digest, *(pinned.partition("@")[2] for pinned in image.digests)]
    problem: ImageError | None = None
    for name in names:
        try:
            return check(policy, name, digests, kept(image.root, digest))
        except ImageError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    # An image without a name: what holds for everything else holds for it.
    check(policy, f"localhost/unnamed@{digest}", digests, kept(image.root, digest))


# ── one requirement ───────────────────────────────────────────────────────────────────────────


def _check_signed(
    requirement: Requirement,
    name: str,
    digests: Sequence[str],
    signatures: Sequence[Signature],
    where: str,
    hint: str,
) -> None:
    keys = _keys(requirement, where)
    claims = [claim for one in signatures if (claim := claim_of(one, keys))]
    good = [claim for claim in claims if claim.digest in digests]
    if any(_names(requirement.signed_identity, claim, name, where) for claim in good):
        return
    if good:
        told = ", ".join(sorted({claim.reference for claim in good}))
        raise ImageError(f"image {name} is signed as {told}, not as {where} asks", hint=hint)
    how = "its signatures are of other keys, or of another image" if signatures else "it has none"
    raise ImageError(f"image {name} needs a signature by {where}: {how}", hint=hint)


def _keys(requirement: Requirement, where: str) -> list[PublicKey]:
    """Return the keys, of which any will do; one source of them, as podman has it."""
    sources = (
        requirement.key_path,
        requirement.key_paths,
        requirement.key_data,
        requirement.key_datas,
    )
    if sum(map(bool, sources)) != 1:
        raise ImageError(f"{where} must have one of keyPath, keyPaths, keyData, keyDatas")
    paths = [*requirement.key_paths, *([requirement.key_path] if requirement.key_path else [])]
    texts = [*requirement.key_datas, *([requirement.key_data] if requirement.key_data else [])]
    return [public_key_file(p) for p in paths] + [
        public_key(_decoded(t, where), where) for t in texts
    ]


def _decoded(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ImageError(f"keyData of {where} is not base64") from error


def _names(identity: Identity, claim: Claim, name: str, where: str) -> bool:
    """Whether a claim is about the name that was asked for."""
    kind = identity.type
    try:
        told, asked = reference.parse(claim.reference), reference.parse(name, "")
    except ImageError:
        return False
    has_tag = ":" in claim.reference.rpartition("/")[2]
    if kind == "matchRepository":
        return told.name == asked.name
    if kind == "exactRepository":
        return told.name == reference.parse(identity.docker_repository).name
    if kind == "exactReference":
        return has_tag and str(told) == str(reference.parse(identity.docker_reference))
    if kind == "matchRepoDigestOrExact" and asked.digest:
        return told.name == asked.name
    if kind in ("matchExact", "matchRepoDigestOrExact"):
        return has_tag and not asked.digest and str(told) == str(asked)
    raise ImageError(f"{where} asks for the identity {kind!r}, which is not supported")
