"""Pull and push against Debian's docker-registry, with skopeo as the witness."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minirun.errors import ImageError
from minirun.image import model
from minirun.image.arrival import PRESENT, UNPACKED, Event
from minirun.image.model import Index, Manifest
from minirun.image.registry import endpoint as endpoints
from minirun.image.registry.credentials import Keychain
from minirun.image.registry.login import login, logout
from minirun.image.registry.pull import pull, tags
from minirun.image.registry.push import KNOWN, MOUNTED, SENT, push
from minirun.image.registry.remote import Access, transport_to
from minirun.image.registry.repository import Repository
from minirun.image.registry.search import referrers, search
from minirun.image.registry.settings import Settings
from minirun.image.registry.upload import Upload, put_manifest
from minirun.image.store import Image, Store

from .image_lab import PLAIN, listing, make_image, python
from .registry_lab import ADA, Wire, access, described, registry, skopeo

pytestmark = pytest.mark.requires("root", "docker-registry", "skopeo")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "other"))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def content(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    (path / "usr/bin").mkdir(parents=True)
    (path / "usr/bin/tool").write_bytes(os.urandom(200_000))
    (path / "usr/bin/tool").chmod(0o4755)
    (path / "bin").symlink_to("usr/bin")
    os.chown(path / "usr", 5, 6)
    return path


def layered(store: Store, tmp_path: Path, name: str, *layers: bytes) -> Image:
    """Return an image with one file in each layer."""
    with store.write() as writer:
        made = []
        for i, data in enumerate(layers):
            folder = tmp_path / os.urandom(4).hex()
            folder.mkdir()
            (folder / f"file{i}").write_bytes(data)
            os.utime(folder / f"file{i}", (1, 1))
            os.utime(folder, (1, 1))
            made.append(writer.add_layer_from_dir(str(folder)))
        return writer.write_image(PLAIN, made, [name])


def publish(how: Access, host: str, path: str, reference: str, raw: bytes, kind: str) -> str:
    """Store a document that no image of a store stands for."""
    end = endpoints.of(host, how.settings)
    with transport_to(end, how) as transport:
        repository = Repository(transport, path, "pull,push")
        return put_manifest(repository, reference, described(raw, kind), raw)


def publish_blob(how: Access, host: str, path: str, data: bytes, scratch: Path) -> str:
    """Store a blob, and return its digest."""
    file = scratch / os.urandom(4).hex()
    file.write_bytes(data)
    descriptor = described(data, "application/octet-stream")
    with (
        transport_to(endpoints.of(host, how.settings), how) as transport,
        file.open("rb") as opened,
    ):
        repository = Repository(transport, path, "pull,push")
        Upload(repository, descriptor, opened.fileno(), lambda _: None).run()
    return descriptor.digest


# ── there and back ────────────────────────────────────────────────────────────────────────────


def test_pull_returns_what_was_pushed(store: Store, other: Store, content: Path, host: str) -> None:
    image = make_image(store, content, f"{host}/team/app:1")
    pushed = push(store, image, f"{host}/team/app:1", how=access())
    pulled = pull(other, f"{host}/team/app:1", how=access())
    assert (pulled.id, pulled.descriptor.digest) == (image.id, pushed.digest)
    assert pulled.names == (f"{host}/team/app:1",)
    assert pulled.digests == (f"{host}/team/app@{pushed.digest}",)
    assert listing(os.path.realpath(pulled.lower_dirs()[0])) == listing(content)
    assert store.resolve(f"{host}/team/app@{pushed.digest}").id == image.id


def test_skopeo_reads_what_was_pushed(
    store: Store, content: Path, host: str, tmp_path: Path
) -> None:
    image = make_image(store, content, f"{host}/team/seen:1")
    pushed = push(store, image, f"{host}/team/seen:1", how=access())
    inspected = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{host}/team/seen:1"))
    assert inspected["Digest"] == pushed.digest
    assert inspected["Layers"] == [layer.digest for layer in image.manifest.layers]
    target = tmp_path / "copied"
    skopeo("copy", "--src-tls-verify=false", f"docker://{host}/team/seen:1", f"oci:{target}:1")
    copied = {path.name for path in (target / "blobs/sha256").iterdir()}
    assert {
        model.hex_of(image.id),
        *(model.hex_of(la.digest) for la in image.manifest.layers),
    } <= copied


@pytest.mark.parametrize("form", ["oci", "v2s2"])
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_pull_reads_what_skopeo_pushed(
    store: Store,
    other: Store,
    content: Path,
    host: str,
    form: str,
    compression: str,
    tmp_path: Path,
) -> None:
    if (form, compression) == ("v2s2", "zstd"):
        compression = "gzip"  # Docker's format has no media type for it
    image = make_image(store, content, "app:1")
    layout = tmp_path / "layout"
    from minirun.image.layout import save

    save([image], str(layout))
    name = f"{host}/skopeo/{form}-{compression}:1"
    skopeo(
        "copy", "--dest-tls-verify=false", f"--format={form}", "--dest-compress-format",
        compression, "--dest-compress", f"oci:{layout}", f"docker://{name}",
    )  # fmt: skip
    pulled = pull(other, name, how=access())
    assert pulled.config.rootfs == image.config.rootfs
    assert listing(os.path.realpath(pulled.lower_dirs()[0])) == listing(content)


def test_pull_by_digest_takes_no_tag(store: Store, other: Store, content: Path, host: str) -> None:
    image = make_image(store, content, f"{host}/team/pinned:1")
    digest = push(store, image, f"{host}/team/pinned:1", how=access()).digest
    pulled = pull(other, f"{host}/team/pinned:1@{digest}", how=access())
    assert (pulled.names, pulled.digests) == ((), (f"{host}/team/pinned@{digest}",))


def test_events_tell_what_happened_to_each_layer(
    store: Store, other: Store, tmp_path: Path, host: str
) -> None:
    image = layered(store, tmp_path, f"{host}/team/told:1", b"one", b"two")
    layers = {layer.digest for layer in image.manifest.layers}
    sent: list[Event] = []
    push(store, image, f"{host}/team/told:1", seen=sent.append, how=access())
    assert {e.digest for e in sent if e.state == SENT} == {*layers, image.id}
    again: list[Event] = []
    push(store, image, f"{host}/team/told:1", seen=again.append, how=access())
    assert {e.state for e in again} == {KNOWN}
    first: list[Event] = []
    pull(other, f"{host}/team/told:1", seen=first.append, how=access())
    assert {e.digest for e in first if e.state == UNPACKED and e.done == e.size} == layers
    second: list[Event] = []
    pull(other, f"{host}/team/told:1", seen=second.append, how=access())
    assert {(e.digest, e.state) for e in second} == {(digest, PRESENT) for digest in layers}


def test_second_image_moves_only_the_layer_that_differs(
    store: Store, other: Store, tmp_path: Path, host: str
) -> None:
    shared = [os.urandom(300_000) for _ in range(3)]
    for tag, last in (("1", b"a"), ("2", b"b")):
        image = layered(store, tmp_path, f"app:{tag}", *shared, last * 1000)
        push(store, image, f"{host}/team/shared:{tag}", how=access())
    with Wire(host) as wire:
        pull(other, f"{wire.host}/team/shared:1", how=access())
        first = wire.down
        pull(other, f"{wire.host}/team/shared:2", how=access())
        second = wire.down - first
    assert first > 900_000
    assert second < 10_000


def test_push_mounts_what_another_repository_has(store: Store, tmp_path: Path, host: str) -> None:
    image = layered(store, tmp_path, "app:1", os.urandom(500_000))
    push(store, image, f"{host}/team/first:1", how=access())
    events: list[Event] = []
    with Wire(host) as wire:
        pushed = store.resolve("app:1")
        store.publish(
            pushed.descriptor, (f"{wire.host}/team/first@{pushed.descriptor.digest}",), pushed.id
        )
        push(store, pushed, f"{wire.host}/team/second:1", seen=events.append, how=access())
        assert wire.up < 20_000
    assert {e.state for e in events} == {MOUNTED}
    assert tags(f"{host}/team/second", how=access()) == ["1"]


# ── several platforms, artifacts, referrers ──────────────────────────────────────────────────


@pytest.fixture
def multi(store: Store, tmp_path: Path, host: str) -> tuple[str, dict[str, str]]:
    """Return the name of an index, and the ids of its images by platform."""
    from minirun.record import replace

    ids, entries = {}, []
    for architecture, variant in (("amd64", ""), ("arm64", "v8"), ("arm", "v6")):
        with store.write() as writer:
            folder = tmp_path / f"{architecture}"
            folder.mkdir()
            (folder / architecture).touch()
            config = replace(PLAIN, architecture=architecture, variant=variant)
            layer = writer.add_layer_from_dir(str(folder))
            image = writer.write_image(config, [layer], [f"multi:{architecture}"])
        found = push(store, image, f"{host}/team/multi:{architecture}", how=access())
        platform = {"os": "linux", "architecture": architecture, "variant": variant}
        entries.append({"mediaType": found.media_type, "digest": found.digest,
                        "size": found.size, "platform": platform})  # fmt: skip
        ids[architecture] = image.id
    document = {"schemaVersion": 2, "mediaType": model.OCI_INDEX, "manifests": entries}
    raw = json.dumps(document).encode()
    publish(access(), host, "team/multi", "all", raw, model.OCI_INDEX)
    return f"{host}/team/multi:all", ids


@pytest.mark.parametrize(
    ("platform", "architecture"),
    [("linux/arm64", "arm64"), ("linux/arm64/v8", "arm64"), ("arm/v7", "arm"), ("amd64", "amd64")],
)
def test_pull_chooses_the_platform(
    other: Store, multi: tuple[str, dict[str, str]], platform: str, architecture: str
) -> None:
    name, ids = multi
    assert pull(other, name, platform=platform, how=access()).id == ids[architecture]


def test_pull_names_the_platforms_there_are(
    other: Store, multi: tuple[str, dict[str, str]]
) -> None:
    with pytest.raises(ImageError, match="has no image for linux/s390x") as caught:
        pull(other, multi[0], platform="linux/s390x", how=access())
    assert caught.value.hint == "there is one for: linux/amd64, linux/arm/v6, linux/arm64/v8"
    with pytest.raises(ImageError, match="is for linux/amd64, not for linux/arm64"):
        pull(other, multi[0].replace(":all", ":amd64"), platform="linux/arm64", how=access())
    assert other.images() == []


def test_artifacts_are_refused_by_name_and_listed_as_referrers(
    store: Store, other: Store, content: Path, host: str, tmp_path: Path
) -> None:
    how = access()
    image = make_image(store, content, f"{host}/team/signed:1")
    subject = push(store, image, f"{host}/team/signed:1", how=how)
    empty = publish_blob(how, host, "team/signed", b"{}", tmp_path)
    config = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2}
    artifact = {"schemaVersion": 2, "mediaType": model.OCI_MANIFEST, "config": config,
                "artifactType": "application/spdx+json", "layers": [config]}  # fmt: skip
    raw = json.dumps(artifact).encode()
    digest = publish(how, host, "team/signed", "sbom", raw, model.OCI_MANIFEST)
    with pytest.raises(ImageError, match="is an artifact of type application") as caught:
        pull(other, f"{host}/team/signed:sbom", how=how)
    assert "oras" in caught.value.hint
    # This registry has no referrers API: by agreement the list is a tag.
    entry = {"mediaType": model.OCI_MANIFEST, "digest": digest, "size": len(raw),
             "artifactType": "application/spdx+json"}  # fmt: skip
    index = {"schemaVersion": 2, "mediaType": model.OCI_INDEX, "manifests": [entry]}
    tag = subject.digest.replace(":", "-")
    publish(how, host, "team/signed", tag, json.dumps(index).encode(), model.OCI_INDEX)
    found = referrers(f"{host}/team/signed:1", how=how)
    assert [(r.digest, r.artifact_type) for r in found] == [(digest, "application/spdx+json")]
    assert referrers(f"{host}/team/signed:1", artifact_type="x/y", how=how) == []
    assert referrers(f"{host}/team/signed:sbom", how=how) == []


def test_search_looks_through_the_catalog(store: Store, content: Path, host: str) -> None:
    image = make_image(store, content, "app:1")
    for name in ("needle-one", "needle-two"):
        push(store, image, f"{host}/hay/{name}:1", how=access())
    found = search(f"{host}/needle", how=access())
    assert [item.name for item in found] == [f"{host}/hay/needle-{n}" for n in ("one", "two")]
    short = search("needle", default_registry=host, how=access())
    assert [item.name for item in short] == ["hay/needle-one", "hay/needle-two"]
    assert len(search(f"{host}/needle", limit=1, how=access())) == 1


# ── names, mirrors, credentials, certificates ────────────────────────────────────────────────


def test_names_need_a_registry_where_there_is_no_default(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no registry") as caught:
        pull(Store(str(tmp_path / "s"), default_registry=""), "ubuntu", how=access())
    assert caught.value.hint.startswith("write it as HOST/NAME")


def test_default_registry_is_where_short_names_lead(
    store: Store, content: Path, host: str, tmp_path: Path
) -> None:
    image = make_image(store, content, "app:1")
    push(store, image, f"{host}/short:latest", how=access())
    pulled = pull(Store(str(tmp_path / "s"), default_registry=host), "short", how=access())
    assert pulled.names == (f"{host}/short:latest",)


def test_mirror_serves_in_place_of_the_registry(
    store: Store, other: Store, content: Path, host: str
) -> None:
    image = make_image(store, content, "app:1")
    push(store, image, f"{host}/library/mirrored:1", how=access())
    settings = Settings(hub_mirrors=("http://127.0.0.1:1", f"http://{host}"))
    pulled = pull(other, "mirrored:1", how=access(settings=settings))
    assert pulled.names == ("docker.io/library/mirrored:1",)
    settings = Settings(mirrors={host: ("http://127.0.0.1:1",)})
    assert pull(other, f"{host}/library/mirrored:1", how=access(settings=settings)).id == image.id


def test_wrong_password_is_refused_and_not_kept(tmp_path: Path) -> None:
    keychain = Keychain(str(tmp_path / "docker/config.json"))
    with registry(tmp_path / "r", htpasswd=True) as host:
        with pytest.raises(ImageError, match="does not accept user 'ada'"):
            login(host, "ada", "wrong", keychain=keychain, how=access())
        assert keychain.find(host) is None
        assert login(host, "ada", "secret", keychain=keychain, how=access()) == keychain.path
    assert keychain.find(host) == ADA
    assert logout(host, keychain=keychain, settings=Settings())
    assert not logout(host, keychain=keychain, settings=Settings())


def test_private_registry_takes_a_body_only_with_credentials(
    store: Store, other: Store, tmp_path: Path
) -> None:
    """What if the first request with a body were the one that is answered with 401?"""
    image = layered(store, tmp_path, "app:1", os.urandom(5_000_000))
    with registry(tmp_path / "r", htpasswd=True) as host, Wire(host) as wire:
        with pytest.raises(ImageError, match="wants a user and a password") as caught:
            push(store, image, f"{wire.host}/a:1", how=access())
        assert caught.value.hint == f"minirun login {wire.host}"
        push(store, image, f"{wire.host}/a:1", how=access(ADA))
        assert wire.up < 5_200_000  # nothing was sent twice
        assert pull(other, f"{wire.host}/a:1", how=access(ADA)).id == image.id


def test_private_authority_is_trusted_for_its_host_only(
    store: Store, other: Store, content: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = make_image(store, content, "app:1")
    certificates = tmp_path / "certs"
    monkeypatch.setenv("MINIRUN_CERTS", str(certificates))
    with registry(tmp_path / "r", htpasswd=True, tls=True) as host:
        with pytest.raises(ImageError, match="certificate is not trusted") as caught:
            push(store, image, f"{host}/a:1", how=access(ADA))
        assert caught.value.hint == f"put its authority into /etc/docker/certs.d/{host}/ca.crt"
        (certificates / host).mkdir(parents=True)
        shutil.copy(tmp_path / "r/cert.pem", certificates / host / "ca.crt")
        push(store, image, f"{host}/a:1", how=access(ADA))
        assert pull(other, f"{host}/a:1", how=access(ADA)).id == image.id
        shutil.rmtree(certificates)
        listed = Settings(insecure=(host,))
        assert tags(f"{host}/a", how=access(ADA, listed)) == ["1"]


# ── many at once, killed, and what it leaves ─────────────────────────────────────────────────

_PULL = """
import sys
from minirun.image.registry.pull import pull
from minirun.image.registry.remote import Access
from minirun.image.registry.settings import Settings
from minirun.image.store import Store
print(pull(Store(sys.argv[1]), sys.argv[2], how=Access(Settings(), lambda _: None)).id)
"""


def test_four_pulls_of_one_image_fetch_each_layer_once(
    store: Store, other: Store, tmp_path: Path, host: str
) -> None:
    size = 2_000_000
    image = layered(store, tmp_path, "app:1", os.urandom(size), os.urandom(size))
    push(store, image, f"{host}/team/four:1", how=access())
    with Wire(host) as wire:
        running = [python(_PULL, other.root, f"{wire.host}/team/four:1") for _ in range(4)]
        assert {process.communicate()[0].strip() for process in running} == {image.id}
        assert wire.down < 2 * size * 1.1
    assert other.resolve(f"{wire.host}/team/four:1").id == image.id
    assert os.listdir(Path(other.root) / "partial") == []


def test_memory_of_a_pull_does_not_grow_with_the_image(
    store: Store, other: Store, tmp_path: Path, host: str
) -> None:
    size = 160 << 20
    folder = tmp_path / "large"
    folder.mkdir()
    with (folder / "file").open("wb") as file:
        file.truncate(size)
    with store.write() as writer:
        layer = writer.add_layer_from_dir(str(folder), compress=False)
        image = writer.write_image(PLAIN, [layer], ["large:1"])
    push(store, image, f"{host}/team/large:1", how=access())
    # Not ru_maxrss: that also counts what this process was before it executed Python.
    report = "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    process = python(_PULL + report, other.root, f"{host}/team/large:1")
    image_id, peak_kib = process.communicate()[0].split()
    assert image_id == image.id
    assert int(peak_kib) < 150 << 10


def test_pull_that_was_killed_is_resumed(
    store: Store, other: Store, tmp_path: Path, host: str
) -> None:
    size = 8_000_000
    image = layered(store, tmp_path, "app:1", os.urandom(size))
    push(store, image, f"{host}/team/killed:1", how=access())
    with Wire(host) as wire:
        reached, go_on = threading.Event(), threading.Event()
        wire.on_down = _hold_at(wire, size // 2, reached, go_on)
        process = python(_PULL, other.root, f"{wire.host}/team/killed:1")
        assert reached.wait(30)
        (part,) = (Path(other.root) / "partial").iterdir()
        while process.poll() is None and part.stat().st_size < 1_000_000:
            os.sched_yield()  # what the wire let through is still on its way to the file
        process.kill()
        process.communicate()
        go_on.set()
        assert other.images() == []
        kept = part.stat().st_size
        wire.on_down = lambda data: data
        before = wire.down
        assert pull(other, f"{wire.host}/team/killed:1", how=access()).id == image.id
        assert wire.down - before < size - kept + 50_000
    other.gc()
    assert os.listdir(Path(other.root) / "tmp") == []


def test_collection_leaves_a_running_pull_alone(
    store: Store, other: Store, tmp_path: Path, host: str
) -> None:
    size = 4_000_000
    image = layered(store, tmp_path, "app:1", os.urandom(size))
    push(store, image, f"{host}/team/running:1", how=access())
    with Wire(host) as wire:
        reached, go_on = threading.Event(), threading.Event()

        def hold(data: bytes) -> bytes:
            if wire.down > size // 2 and not reached.is_set():
                reached.set()
                go_on.wait(30)
            return data

        wire.on_down = hold
        process = python(_PULL, other.root, f"{wire.host}/team/running:1")
        assert reached.wait(30)
        other.gc()
        assert len(os.listdir(Path(other.root) / "partial")) == 1
        go_on.set()
        assert process.communicate()[0].strip() == image.id


def test_collection_takes_away_what_a_killed_pull_left(other: Store) -> None:
    other.prepare()
    part = Path(other.root) / "partial" / ("0" * 64)
    part.write_bytes(b"half")
    other.gc()
    assert not part.exists()


def _hold_at(
    wire: Wire, count: int, reached: threading.Event, go_on: threading.Event
) -> Callable[[bytes], bytes | None]:
    def hook(data: bytes) -> bytes | None:
        if wire.down + len(data) > count:
            reached.set()
            go_on.wait(30)
            return None
        return data

    return hook


def test_interrupt_ends_a_pull_that_waits_for_a_silent_registry(
    store: Store, other: Store, tmp_path: Path, host: str
) -> None:
    image = layered(store, tmp_path, "app:1", os.urandom(2_000_000))
    push(store, image, f"{host}/team/silent:1", how=access())
    with Wire(host) as wire:
        reached, go_on = threading.Event(), threading.Event()
        wire.on_down = _hold_at(wire, 1_000_000, reached, go_on)
        argv = [sys.executable, "-c", _PULL, other.root, f"{wire.host}/team/silent:1"]
        process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        try:
            assert reached.wait(30)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=20)
        finally:
            process.kill()
            go_on.set()
    assert "KeyboardInterrupt" in said, said
    assert len(os.listdir(Path(other.root) / "partial")) == 1, said
    assert os.listdir(Path(other.root) / "tmp") == []


def test_manifest_is_the_same_bytes_after_a_round_trip(
    store: Store, other: Store, tmp_path: Path, host: str
) -> None:
    image = layered(store, tmp_path, "app:1", b"x")
    push(store, image, f"{host}/team/bytes:1", how=access())
    pulled = pull(other, f"{host}/team/bytes:1", how=access())
    again = push(other, pulled, f"{host}/team/bytes:2", how=access())
    assert again.digest == image.descriptor.digest
    with transport_to(endpoints.of(host, Settings()), access()) as transport:
        document = Repository(transport, "team/bytes").manifest("2")
        blob = other.root + "/blobs/sha256/" + model.hex_of(again.digest)
        assert Path(blob).read_bytes() == document.raw
    assert model.parse(Manifest, document.raw, "manifest") == image.manifest
    with pytest.raises(ImageError, match="manifests"):
        model.parse(Index, document.raw, "index")
