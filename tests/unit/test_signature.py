"""Signatures against openssl, and the policy that asks for them."""

from __future__ import annotations

import base64
import doctest
import json
from pathlib import Path

import pytest

from minirun.errors import ImageError
from minirun.image import signature_policy
from minirun.image.signature import (
    Claim,
    Signature,
    claim_of,
    keep,
    kept,
    private_key,
    public_key_file,
    sign,
)
from minirun.image.signature_policy import check, load
from tests.integration.signature_lab import KINDS, make_key, openssl

DIGEST = f"sha256:{'a' * 64}"
OTHER = f"sha256:{'b' * 64}"
NAME = "registry.lan:5000/team/app:1"
PINNED = f"registry.lan:5000/team/app@{DIGEST}"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name, kind in (("team", "ed25519"), ("cosign", "p256"), ("enemy", "ed25519")):
        make_key(folder, name, kind)
    return folder


@pytest.mark.parametrize("name", ["team", "cosign"])
def test_sign_makes_what_openssl_verifies(keys: Path, tmp_path: Path, name: str) -> None:
    made = sign(NAME, DIGEST, private_key(str(keys / f"{name}.key")))
    (tmp_path / "payload").write_bytes(made.payload)
    (tmp_path / "signature").write_bytes(made.signature)
    files = ("-in", tmp_path / "payload", "-sigfile", tmp_path / "signature")
    how = ("-rawin",) if name == "team" else ("-rawin", "-digest", "sha256")
    openssl("pkeyutl", "-verify", "-pubin", "-inkey", keys / f"{name}.pub", *files, *how)
    critical = json.loads(made.payload)["critical"]
    assert critical["image"]["docker-manifest-digest"] == DIGEST
    public = public_key_file(str(keys / f"{name}.pub"))
    assert claim_of(made, [public]) == Claim(NAME, DIGEST)


def test_claim_of_what_openssl_signed_as_cosign_does(keys: Path, tmp_path: Path) -> None:
    payload = tmp_path / "payload"
    payload.write_text(
        '{"critical":{"identity":{"docker-reference":"ghcr.io/a/b"},"image":'
        f'{{"docker-manifest-digest":"{DIGEST}"}},"type":"cosign container image signature"}},'
        '"optional":{"creator":"x","timestamp":1}}'
    )
    openssl("dgst", "-sha256", "-sign", keys / "cosign.key", "-out", tmp_path / "s", payload)
    made = Signature(payload.read_bytes(), (tmp_path / "s").read_bytes())
    assert claim_of(made, [public_key_file(str(keys / "cosign.pub"))]) == Claim(
        "ghcr.io/a/b", DIGEST
    )


def test_claim_of_anything_changed_is_none(keys: Path) -> None:
    key = private_key(str(keys / "team.key"))
    public = public_key_file(str(keys / "team.pub"))
    made = sign(NAME, DIGEST, key)
    assert claim_of(Signature(made.payload + b" ", made.signature), [public]) is None
    assert claim_of(Signature(made.payload, made.signature[:-1]), [public]) is None
    assert claim_of(Signature(made.payload, b""), [public]) is None
    assert claim_of(made, [public_key_file(str(keys / "enemy.pub"))]) is None
    for payload in (b"", b"[]", b'{"critical": 1}', b"[" * 100_000, b"x" * 100_000):
        assert claim_of(Signature(payload, key.sign(payload)), [public]) is None  # type: ignore[call-arg]


def test_keys_of_other_kinds_are_refused(keys: Path, tmp_path: Path) -> None:
    openssl("genrsa", "-out", tmp_path / "rsa", "2048")
    openssl("genpkey", *KINDS["ed25519"], "-aes256", "-pass", "pass:x", "-out", tmp_path / "locked")
    (tmp_path / "cosign").write_text("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
    with pytest.raises(ImageError, match="another kind"):
        private_key(str(tmp_path / "rsa"))
    with pytest.raises(ImageError, match="cannot be used") as caught:
        private_key(str(tmp_path / "locked"))
    assert "MINIRUN_KEY_PASSWORD" in caught.value.hint
    private_key(str(tmp_path / "locked"), "x")
    with pytest.raises(ImageError, match="cosign's own"):
        private_key(str(tmp_path / "cosign"))
    with pytest.raises(ImageError, match="no public key"):
        public_key_file(str(keys / "team.key"))
    with pytest.raises(ImageError, match="no such file"):
        public_key_file(str(tmp_path / "none"))


def test_kept_signatures_come_back_once(tmp_path: Path) -> None:
    one, two = Signature(b"a", b"1"), Signature(b"b", b"2")
    keep(str(tmp_path), DIGEST, [one])
    keep(str(tmp_path), DIGEST, [one, two])
    assert kept(str(tmp_path), DIGEST) == [one, two]
    (tmp_path / "signatures" / DIGEST[7:]).write_text("not json")
    assert kept(str(tmp_path), DIGEST) == []


# ── the policy ────────────────────────────────────────────────────────────────────────────────


def signed_by(
    keys: Path, name: str = "team", identity: str = "matchRepository", **more: str
) -> dict[str, object]:
    return {
        "type": "sigstoreSigned",
        "keyPath": str(keys / f"{name}.pub"),
        "signedIdentity": {"type": identity, **more},
    }


def verdict(
    folder: Path, policy: object, name: str = NAME, signatures: tuple[Signature, ...] = ()
) -> str:
    """Return why the policy refuses an image; "" where it does not."""
    path = folder / "policy.json"
    path.write_text(json.dumps(policy))
    try:
        found = load(str(path))
        assert found is not None
        check(found, name, [DIGEST], signatures)
    except ImageError as error:
        return error.message
    return ""


ACCEPT = [{"type": "insecureAcceptAnything"}]
REJECT = [{"type": "reject"}]


@pytest.mark.parametrize(
    ("scopes", "name", "refused"),
    [
        ({}, NAME, True),
        ({"": ACCEPT}, NAME, False),
        ({"registry.lan:5000": ACCEPT}, NAME, False),
        ({"registry.lan:5000": ACCEPT, "registry.lan:5000/team": REJECT}, NAME, True),
        ({"registry.lan:5000/team": REJECT, NAME: ACCEPT}, NAME, False),
        ({"registry.lan:5000/team/ap": ACCEPT}, NAME, True),
        ({"*.lan:5000": ACCEPT}, NAME, False),
        ({"docker.io/library": ACCEPT}, "docker.io/library/busybox:latest", False),
        ({"registry.lan:5000/team/app": []}, NAME, True),
    ],
)
def test_the_most_specific_scope_decides(
    tmp_path: Path, scopes: dict[str, object], name: str, refused: bool
) -> None:
    policy = {"default": REJECT, "transports": {"docker": scopes}}
    assert bool(verdict(tmp_path, policy, name)) == refused


def test_a_signature_must_be_of_the_key_the_image_and_the_name(keys: Path, tmp_path: Path) -> None:
    team, enemy = (private_key(str(keys / f"{name}.key")) for name in ("team", "enemy"))
    policy = {"default": [signed_by(keys)]}
    assert "it has none" in verdict(tmp_path, policy)
    good = sign(NAME, DIGEST, team)
    assert verdict(tmp_path, policy, signatures=(good,)) == ""
    assert verdict(tmp_path, policy, signatures=(sign(NAME, DIGEST, enemy), good)) == ""
    assert "of other keys" in verdict(tmp_path, policy, signatures=(sign(NAME, DIGEST, enemy),))
    assert "of another image" in verdict(tmp_path, policy, signatures=(sign(NAME, OTHER, team),))
    other = sign("registry.lan:5000/team/other:1", DIGEST, team)
    assert "is signed as" in verdict(tmp_path, policy, signatures=(other,))


@pytest.mark.parametrize(
    ("identity", "reference", "name", "good"),
    [
        ({"type": "matchRepository"}, "registry.lan:5000/team/app", NAME, True),
        ({"type": "matchExact"}, NAME, NAME, True),
        ({"type": "matchExact"}, "registry.lan:5000/team/app:2", NAME, False),
        ({"type": "matchRepoDigestOrExact"}, "registry.lan:5000/team/app:2", NAME, False),
        ({"type": "matchRepoDigestOrExact"}, "registry.lan:5000/team/app:2", PINNED, True),
        ({"type": "exactReference", "dockerReference": "x.org/a:1"}, "x.org/a:1", NAME, True),
        ({"type": "exactRepository", "dockerRepository": "x.org/a"}, "x.org/a:9", NAME, True),
        ({"type": "exactRepository", "dockerRepository": "x.org/b"}, "x.org/a:9", NAME, False),
    ],
)  # fmt: skip
def test_identities_are_those_of_podman(
    keys: Path, tmp_path: Path, identity: dict[str, str], reference: str, name: str, good: bool
) -> None:
    made = sign(reference, DIGEST, private_key(str(keys / "team.key")))
    policy = {"default": [{**signed_by(keys), "signedIdentity": identity}]}
    assert (verdict(tmp_path, policy, name, (made,)) == "") == good


def test_all_requirements_of_a_scope_must_be_met(keys: Path, tmp_path: Path) -> None:
    both = {"default": [signed_by(keys, "team"), signed_by(keys, "cosign")]}
    one, two = (sign(NAME, DIGEST, private_key(str(keys / f"{n}.key"))) for n in ("team", "cosign"))
    assert verdict(tmp_path, both, signatures=(one,))
    assert verdict(tmp_path, both, signatures=(one, two)) == ""


def test_key_data_is_a_key(keys: Path, tmp_path: Path) -> None:
    data = base64.b64encode((keys / "team.pub").read_bytes()).decode()
    made = sign(NAME, DIGEST, private_key(str(keys / "team.key")))
    policy = {"default": [{"type": "sigstoreSigned", "keyData": data}]}
    assert verdict(tmp_path, policy, signatures=(made,)) == ""


@pytest.mark.parametrize(
    ("requirement", "told"),
    [
        ({"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/x"}, "'signedBy', which is not"),
        ({"type": "sigstoreSigned", "keyPath": "/x", "rekorPublicKeyPath": "/y"}, "rekorPublicKey"),
        ({"type": "sigstoreSigned"}, "must have one of"),
        ({"type": "sigstoreSigned", "keyPath": "/nowhere"}, "/nowhere: no such file"),
        ({"type": "sigstoreSigned", "keyData": "!"}, "not base64"),
        ({"type": 7}, "expected a string"),
    ],
)
def test_what_is_not_understood_is_refused(
    tmp_path: Path, requirement: dict[str, object], told: str
) -> None:
    assert told in verdict(tmp_path, {"default": [requirement]})


def test_a_policy_that_is_named_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIRUN_POLICY", str(tmp_path / "none"))
    with pytest.raises(ImageError, match="no such file"):
        load()
    (tmp_path / "none").write_text("{")
    with pytest.raises(ImageError, match="not JSON"):
        load()


def test_docstrings_are_true() -> None:
    assert doctest.testmod(signature_policy).failed == 0
