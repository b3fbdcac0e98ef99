"""Signed, pushed, pulled and run: the policy against a real registry; and the SBOM beside it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from minirun.image.reference import parse
from minirun.image.registry.attach import signatures_of
from minirun.image.registry.remote import opened
from minirun.image.store import Store
from tests.integration.cli_lab import Cli, fresh
from tests.integration.registry_lab import access, registry, skopeo
from tests.integration.signature_lab import make_key, openssl

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "busybox", "docker-registry")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture
def cli() -> Iterator[Cli]:
    with fresh() as made:
        yield made


def make_image(cli: Cli, name: str, script: str = "true") -> None:
    cli("run", "--name", "one", "--network", "none", str(cli.rootfs), "sh", "-c", script)
    cli("commit", "-c", 'CMD ["echo", "hi"]', "one", name)
    cli("rm", "one")


def demand(cli: Cli, folder: Path, host: str, key: str) -> None:
    """Let nothing of this registry's team run without a signature."""
    signed = {"type": "sigstoreSigned", "keyPath": key}
    policy = {
        "default": [{"type": "insecureAcceptAnything"}],
        "transports": {"docker": {f"{host}/team": [signed]}},
    }
    (folder / "policy.json").write_text(json.dumps(policy))
    cli.extra["MINIRUN_POLICY"] = str(folder / "policy.json")


@pytest.fixture
def pushed(cli: Cli, host: str) -> str:
    """Return the name of an image that the registry has, and the store as well."""
    name = f"{host}/team/app:1"
    make_image(cli, name)
    cli("push", name)
    return name


RUN = ("run", "--rm", "--network", "none", "--pull", "never")


def test_an_unsigned_image_is_neither_run_nor_pulled(
    cli: Cli, tmp_path: Path, host: str, pushed: str
) -> None:
    _, public = make_key(tmp_path, "team", "p256")
    demand(cli, tmp_path, host, public)
    assert "needs a signature" in cli.fails(*RUN, pushed)
    cli("rmi", "-f", pushed)
    cli("image", "prune", "-af")
    assert "it has none" in cli.fails("pull", pushed)
    assert cli("images", "-q").out == ""


def test_a_signed_image_is_pulled_and_run(cli: Cli, tmp_path: Path, host: str, pushed: str) -> None:
    private, public = make_key(tmp_path, "team", "p256")
    enemy, _ = make_key(tmp_path, "enemy")
    assert "sent to" in cli("image", "sign", "--key", enemy, pushed).out
    demand(cli, tmp_path, host, public)
    assert "of other keys" in cli.fails("pull", pushed)
    cli("image", "sign", "--key", private, pushed)  # beside the enemy's, not instead
    with opened(access(), parse(pushed)) as remote:
        digest = remote.manifest("1").descriptor.digest
        assert len(signatures_of(remote, [digest])) == 2
    cli("image", "prune", "-af")
    assert not list((cli.data / "signatures").iterdir())
    cli("pull", pushed)
    assert cli(*RUN, pushed).out == "hi\n"
    assert f"signed as {pushed}" in cli("image", "verify", "--key", public, pushed).out


def test_another_name_for_the_same_bytes_proves_nothing(
    cli: Cli, tmp_path: Path, host: str, pushed: str
) -> None:
    private, public = make_key(tmp_path, "team")
    cli("image", "sign", "--key", private, pushed)
    other = f"{host}/team/other:1"
    cli("tag", pushed, other)
    cli("push", other)
    demand(cli, tmp_path, host, public)
    assert cli(*RUN, pushed).out == "hi\n"
    assert "is signed as" in cli.fails(*RUN, other)
    assert "it has none" in cli.fails("pull", other)


def test_a_local_signature_is_enough_to_run_what_was_built_here(
    cli: Cli, tmp_path: Path, host: str
) -> None:
    private, public = make_key(tmp_path, "team")
    name = f"{host}/team/local:1"
    make_image(cli, name)
    demand(cli, tmp_path, host, public)
    assert "push the image first" in cli.fails("image", "sign", "--key", private, name)
    cli("image", "sign", "--key", private, "--local", name)
    assert cli("run", "--rm", "--network", "none", name).out == "hi\n"
    assert cli("image", "verify", "--key", make_key(tmp_path, "x")[1], name, check=False).code == 1
    image_id = cli("images", "-q").out.strip()
    assert "no name with a tag" in cli.fails("image", "sign", "--key", private, image_id)


def test_no_build_and_no_run_pulls_what_is_not_signed(
    cli: Cli, tmp_path: Path, host: str, pushed: str
) -> None:
    private, public = make_key(tmp_path, "team")
    demand(cli, tmp_path, host, public)
    (tmp_path / "from").mkdir()
    (tmp_path / "from/Dockerfile").write_text(f"FROM {pushed}\nENV A=1\n")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/Dockerfile").write_text(
        f"FROM scratch\nCOPY --from={pushed} /bin/busybox /bin/\n"
    )
    for there in (True, False):
        for context in ("from", "copy"):
            assert "needs a signature" in cli.fails("build", "-q", str(tmp_path / context)), there
        assert "needs a signature" in cli.fails("run", "--rm", "--network", "none", pushed)
        cli("rmi", "-f", pushed, check=False)
    cli("image", "prune", "-af")
    assert cli("images", "-q").out == ""
    make_image(cli, pushed)
    cli("push", pushed)
    cli("image", "sign", "--key", private, pushed)
    cli("image", "prune", "-af")
    assert cli("build", "-q", str(tmp_path / "from")).out.startswith("sha256:")


def test_signatures_of_other_tools_are_accepted_and_ours_by_them(
    cli: Cli, tmp_path: Path, host: str, pushed: str
) -> None:
    """Openssl signs and verifies; skopeo brings and fetches, in cosign's form."""
    private, public = make_key(tmp_path, "team", "p256")
    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{pushed}").rstrip("\n")
    digest = f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}"
    payload = json.dumps({
        "critical": {
            "identity": {"docker-reference": pushed.rpartition(":")[0] + ":1"},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": None,
    }).encode()  # fmt: skip
    signatures = f"{pushed.rpartition(':')[0]}:{digest.replace(':', '-')}.sig"
    layout = tmp_path / "layout"
    write_signature(layout, payload, openssl_signs(private, payload, tmp_path))
    skopeo("copy", "-q", "--dest-tls-verify=false", f"oci:{layout}", f"docker://{signatures}")
    demand(cli, tmp_path, host, public)
    assert cli("pull", "-q", pushed).out == f"{pushed}\n"
    cli("image", "sign", "--key", private, pushed)
    got = tmp_path / "got"
    skopeo("copy", "-q", "--src-tls-verify=false", f"docker://{signatures}", f"dir:{got}")
    manifest = json.loads((got / "manifest.json").read_text())
    for layer in manifest["layers"]:
        (tmp_path / "sig").write_bytes(
            base64.b64decode(layer["annotations"]["dev.cosignproject.cosign/signature"])
        )
        words = ("-verify", public, "-signature", tmp_path / "sig")
        openssl("dgst", "-sha256", *words, got / layer["digest"].removeprefix("sha256:"))
    assert len(manifest["layers"]) == 2


def openssl_signs(private: str, payload: bytes, folder: Path) -> bytes:
    (folder / "payload").write_bytes(payload)
    openssl("dgst", "-sha256", "-sign", private, "-out", folder / "made", folder / "payload")
    return (folder / "made").read_bytes()


def write_signature(layout: Path, payload: bytes, signature: bytes) -> None:
    """Write an OCI layout of the image that cosign keeps a signature in."""

    def blob(data: bytes) -> dict[str, object]:
        name = hashlib.sha256(data).hexdigest()
        (layout / "blobs/sha256" / name).write_bytes(data)
        return {"digest": f"sha256:{name}", "size": len(data)}

    (layout / "blobs/sha256").mkdir(parents=True)
    layer = blob(payload) | {
        "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
        "annotations": {"dev.cosignproject.cosign/signature": base64.b64encode(signature).decode()},
    }
    diff_ids = {"rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
    config = blob(json.dumps({"architecture": "", "os": "", **diff_ids}).encode()) | {
        "mediaType": "application/vnd.oci.image.config.v1+json"
    }
    manifest_type = "application/vnd.oci.image.manifest.v1+json"
    about = {"schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": [layer]}
    manifest = blob(json.dumps(about).encode()) | {"mediaType": manifest_type}
    index = {"schemaVersion": 2, "manifests": [manifest]}
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


DPKG = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9
Description: GNU C Library
 more of it: not a field

Package: gone
Status: deinstall ok config-files
Version: 1
"""
METADATA = (
    "Metadata-Version: 2.1\nName: Flask\nVersion: 3.1\nLicense-Expression: BSD-3-Clause\n\nhi"
)


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


@pytest.mark.requires("skopeo")
def test_sbom_lists_what_is_installed_and_goes_along_with_a_push(
    cli: Cli, tmp_path: Path, host: str
) -> None:
    root = tmp_path / "root"
    write(root, "var/lib/dpkg/status", DPKG)
    write(root, "lib/apk/db/installed", "P:musl\nV:1.2\nA:x86_64\nL:MIT\n\n")
    write(root, "usr/lib/python3/dist-packages/Flask-3.1.dist-info/METADATA", METADATA)
    # A link that leads out must not let the host's packages in.
    (root / "opt").mkdir()
    (root / "opt/x.dist-info").symlink_to("/var/lib")
    with Store(str(cli.data)).write() as writer:
        from tests.integration.image_lab import PLAIN

        layer = writer.add_layer_from_dir(str(root))
        writer.write_image(PLAIN, [layer], [f"{host}/team/parts:1"])
    name = f"{host}/team/parts:1"
    document = json.loads(cli("image", "sbom", name).out)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert sorted(part["purl"] for part in document["components"]) == [
        "pkg:apk/alpine/musl@1.2?arch=x86_64",
        "pkg:deb/debian/libc6@2.36-9?arch=amd64",
        "pkg:pypi/flask@3.1",
    ]
    cli("image", "sbom", "-o", str(tmp_path / "a"), name)
    assert json.loads((tmp_path / "a").read_text()) == document  # the same each time
    cli("push", "--sbom", name)
    with opened(access(), parse(name)) as remote:
        digest = remote.manifest("1").descriptor.digest
        (found,) = remote.referrers(digest, "application/vnd.cyclonedx+json")
        manifest = json.loads(remote.manifest(found.digest).raw)
    assert manifest["subject"]["digest"] == digest
    raw = skopeo(
        "inspect", "--raw", "--tls-verify=false", f"docker://{host}/team/parts@{found.digest}"
    )
    assert json.loads(raw) == manifest
