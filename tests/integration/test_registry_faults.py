"""Broken wires and hostile registries: refused in words, resumed where it helps."""

from __future__ import annotations

import gzip
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from minirun.errors import ImageError
from minirun.image import model
from minirun.image.arrival import Interrupted
from minirun.image.layers import Packed, pack_layer
from minirun.image.model import RootFs
from minirun.image.registry.pull import pull
from minirun.image.registry.push import push
from minirun.image.registry.settings import Patience
from minirun.image.store import Store
from minirun.record import replace

from .image_lab import PLAIN, make_image, member, tar
from .registry_lab import (
    ADA,
    QUICK,
    Handler,
    Wire,
    access,
    cut_after,
    described,
    registry,
    server,
)

pytestmark = pytest.mark.requires("root")
real_registry = pytest.mark.requires("root", "docker-registry")

Reply = Callable[[Handler], None]


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
    path.mkdir()
    (path / "file").write_bytes(os.urandom(6_000_000))
    return path


# ── a wire that breaks ────────────────────────────────────────────────────────────────────────


@real_registry
def test_pull_goes_on_where_the_wire_was_cut(
    store: Store, other: Store, content: Path, host: str
) -> None:
    image = make_image(store, content, "app:1")
    push(store, image, f"{host}/faults/cut:1", how=access())
    with Wire(host) as wire:
        wire.on_down = cut_after(2_000_000, times=2)
        assert pull(other, f"{wire.host}/faults/cut:1", how=access()).id == image.id
        assert wire.connections >= 3
        assert wire.down < 6_500_000  # what had come was not fetched again


@real_registry
def test_pull_gives_up_on_a_wire_that_brings_nothing(
    store: Store, other: Store, content: Path, host: str
) -> None:
    image = make_image(store, content, "app:1")
    push(store, image, f"{host}/faults/dead:1", how=access())
    with Wire(host) as wire:
        wire.on_down = lambda _: None
        with pytest.raises(Interrupted, match=f"registry {wire.host}"):
            pull(other, f"{wire.host}/faults/dead:1", how=access())
        assert wire.connections == QUICK.attempts + 1  # one more found out whether it speaks TLS
    assert other.images() == []


@real_registry
def test_changed_byte_is_noticed_and_nothing_is_kept(
    store: Store, other: Store, content: Path, host: str
) -> None:
    image = make_image(store, content, "app:1")
    push(store, image, f"{host}/faults/flip:1", how=access())
    with Wire(host) as wire:
        wire.on_down = lambda data: (
            data[:-1] + bytes([data[-1] ^ 1]) if len(data) > 30_000 else data
        )
        with pytest.raises(ImageError, match=r"corrupt|damaged|truncated|not the one"):
            pull(other, f"{wire.host}/faults/flip:1", how=access())
        assert os.listdir(Path(other.root) / "partial") == []
    _assert_nothing_kept(other)


@real_registry
@pytest.mark.parametrize("bad", [b"\0" * 1_000_000, b"\x1f\x8b" + b"\xff" * 1_000_000])
def test_bad_part_of_an_earlier_attempt_is_fetched_again(
    store: Store, other: Store, content: Path, host: str, bad: bytes
) -> None:
    """What if the power failed, and the part that was kept holds zeros, or anything?"""
    image = make_image(store, content, "app:1")
    push(store, image, f"{host}/faults/bad:1", how=access())
    other.prepare()
    (layer,) = image.manifest.layers
    (Path(other.root) / "partial" / model.hex_of(layer.digest)).write_bytes(bad)
    assert pull(other, f"{host}/faults/bad:1", how=access()).id == image.id


@real_registry
def test_push_goes_on_where_the_wire_was_cut(
    store: Store, other: Store, content: Path, host: str
) -> None:
    image = make_image(store, content, "app:1")
    with Wire(host) as wire:
        wire.on_up = cut_after(3_000_000)
        push(store, image, f"{wire.host}/faults/push:1", how=access())
    assert pull(other, f"{host}/faults/push:1", how=access()).id == image.id


class Uploads:
    """A registry that keeps what came before the connection broke, as the specification says."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.pieces: list[tuple[str | None, int]] = []

    def reply(self, handler: Handler) -> None:
        name = handler.path.partition("?")[0].rpartition("/")[2]
        if handler.command == "HEAD":
            handler.send(404)
        elif handler.command == "POST":
            self.stored[str(len(self.stored))] = b""
            handler.send(202, Location=f"/v2/a/blobs/uploads/{len(self.stored) - 1}")
        elif handler.command == "GET" and name in self.stored:
            reached = len(self.stored[name]) - 1
            handler.send(204, Range=f"0-{reached}", Location=handler.path)
        elif handler.command == "PATCH":
            self.patch(handler, name)
        else:
            handler.send(201)

    def patch(self, handler: Handler, name: str) -> None:
        self.pieces.append((handler.headers.get("Content-Range"), len(handler.body)))
        if len(handler.body) > 1_000_000 and not self.stored[name]:
            self.stored[name] = handler.body[:1_000_000]
            handler.close_connection = True
            return
        self.stored[name] += handler.body
        handler.send(202, Location=handler.path)


def test_push_sends_only_what_the_registry_lacks(store: Store, content: Path) -> None:
    image = make_image(store, content, "app:1")
    uploads = Uploads()
    with server(uploads.reply) as host:
        push(store, image, f"{host}/a:1", how=access())
    (layer,) = image.manifest.layers
    assert (f"1000000-{layer.size - 1}", layer.size - 1_000_000) in uploads.pieces
    assert layer.digest in {described(blob, "").digest for blob in uploads.stored.values()}


# ── a registry that lies ─────────────────────────────────────────────────────────────────────


class Lab:
    """An image, and a server that has it; single answers can be replaced."""

    def __init__(self, tmp_path: Path) -> None:
        packed = _layer(tmp_path)
        self.layer = packed[1]
        config = replace(PLAIN, rootfs=RootFs("layers", (packed[0].diff_id,)))
        self.config = model.dump(config)
        layers = [described(self.layer, model.OCI_LAYER_GZIP)]
        manifest = model.Manifest(
            2, described(self.config, model.OCI_CONFIG), tuple(layers), model.OCI_MANIFEST
        )
        self.manifest = model.dump(manifest)
        self.digest = described(self.layer, "").digest
        self.answers: dict[str, Reply] = {}
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.blobs = {described(b, "").digest: b for b in (self.layer, self.config)}

    def reply(self, handler: Handler) -> None:
        path = handler.path.partition("?")[0]
        self.seen.append((handler.command, handler.path, dict(handler.headers.items())))
        for pattern, answer in self.answers.items():
            if re.search(pattern, path):
                answer(handler)
                return
        if "/manifests/" in path:
            handler.send(200, self.manifest, Content_Type=model.OCI_MANIFEST)
        elif "/blobs/" in path:
            handler.send(200, self.blobs[path.rpartition("/")[2]])
        else:
            handler.send(200, b"{}")


def _layer(tmp_path: Path) -> tuple[Packed, bytes]:
    folder, blob = tmp_path / "made", tmp_path / "made.tar.gz"
    folder.mkdir()
    (folder / "file").write_bytes(os.urandom(300_000))
    directory = os.open(folder, os.O_RDONLY)
    with blob.open("wb") as out:
        packed = pack_layer(directory, out.fileno())
    os.close(directory)
    return packed, blob.read_bytes()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def _assert_nothing_kept(store: Store) -> None:
    assert store.images() == []
    store.gc()
    for folder in ("blobs/sha256", "layers", "partial", "tmp", "leases", "locks"):
        assert os.listdir(Path(store.root) / folder) == []


def _answer(status: int, body: bytes = b"", **headers: str) -> Reply:
    return lambda handler: handler.send(status, body, **headers)


def _endless(handler: Handler) -> None:
    handler.send(200, b"", Transfer_Encoding="chunked")
    while True:
        handler.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")


def _huge_header(handler: Handler) -> None:
    handler.send_response(200)
    handler.wfile.write(b"X: " + b"x" * 1_000_000 + b"\r\n\r\n")


PAGE = b"<html><body>Bad gateway: ask your administrator</body></html>"
LIES: dict[str, tuple[str, Reply, str]] = {
    "blob of another digest": (
        "/blobs/LAYER",
        _answer(200, b"x" * 300_000),
        "tar|damaged|instead of",
    ),
    "empty blob": ("/blobs/LAYER", _answer(200), "bytes instead of|truncated|tar"),
    "endless blob": ("/blobs/LAYER", _endless, "longer than|tar"),
    "endless config": ("/blobs/CONFIG", _endless, "is not the"),
    "endless manifest": ("/manifests/", _endless, "larger than 4194304 bytes"),
    "manifest of another digest": (
        "/manifests/",
        _answer(200, b"{}", Docker_Content_Digest="sha256:" + "0" * 64),
        "is damaged",
    ),
    "page instead of a manifest": ("/manifests/", _answer(200, PAGE), "not JSON"),
    "page instead of an error": ("/manifests/", _answer(502, PAGE), "502 bad gateway"),
    "no such manifest": ("/manifests/", _answer(404, b'{"errors": []}'), "404 not found"),
    "errors of the wrong shape": ("/manifests/", _answer(400, b'{"errors": 7}'), "400 bad request"),
    "redirect loop": ("/manifests/", _answer(307, Location="/v2/x/manifests/1"), "redirects more"),
    "redirect to a file": ("/blobs/", _answer(307, Location="file:///etc/passwd"), "redirects to"),
    "huge header": ("/manifests/", _huge_header, "registry"),
    "authentication unknown": ("/", _answer(401, WWW_Authenticate="Negotiate"), "wants negotiate"),
    "schema 1": ("/manifests/", _answer(200, b'{"schemaVersion": 1}'), "schema 1"),
    "two things at once": (
        "/manifests/",
        _answer(200, b'{"schemaVersion": 2, "layers": [], "manifests": []}'),
        "two things at once",
    ),
    "path in a digest": (
        "/manifests/",
        _answer(200, b'{"schemaVersion": 2, "layers": [], "config": {"mediaType": "x",'
                     b' "digest": "sha256:../../x", "size": 1}}'),
        "not a sha256 digest",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_lie_is_refused(name: str, lab: Lab, other: Store) -> None:
    pattern, answer, message = LIES[name]
    config = described(lab.config, "").digest
    lab.answers[pattern.replace("LAYER", lab.digest).replace("CONFIG", config)] = answer
    with server(lab.reply) as host, pytest.raises(ImageError, match=message):
        pull(other, f"{host}/x:1", how=access())
    if os.path.isdir(other.root):
        _assert_nothing_kept(other)


def test_honest_server_is_believed(lab: Lab, other: Store) -> None:
    """The lies above are refused for what they are, not because nothing works."""
    with server(lab.reply) as host:
        assert pull(other, f"{host}/x:1", how=access()).layers[0].descriptor.digest == lab.digest
    agents = {headers["User-Agent"].partition("/")[0] for _, _, headers in lab.seen}
    assert agents == {"minirun"}


def test_short_body_is_asked_for_again(lab: Lab, other: Store) -> None:
    """This server does not know Range: what came before is skipped."""
    times: list[int] = []

    def short(handler: Handler) -> None:
        times.append(1)
        if len(times) > 1:
            handler.send(200, lab.layer)
            return
        handler.send(200, lab.layer[:100_000], Content_Length=str(len(lab.layer)))
        handler.close_connection = True

    lab.answers[f"/blobs/{lab.digest}"] = short
    with server(lab.reply) as host:
        pull(other, f"{host}/x:1", how=access())
    assert len(times) == 2
    asked = [headers.get("Range") for _, path, headers in lab.seen if lab.digest in path]
    assert asked == [None, "bytes=100000-"]


def test_answer_to_another_range_is_refused(lab: Lab, other: Store) -> None:
    def wrong(handler: Handler) -> None:
        if "Range" in handler.headers:
            handler.send(206, lab.layer, Content_Range=f"bytes 0-9/{len(lab.layer)}")
            return
        handler.send(200, lab.layer[:1000], Content_Length=str(len(lab.layer)))
        handler.close_connection = True

    lab.answers[f"/blobs/{lab.digest}"] = wrong
    with server(lab.reply) as host, pytest.raises(ImageError, match="asked from 1000, given"):
        pull(other, f"{host}/x:1", how=access())


def test_failure_of_one_layer_stops_the_others(tmp_path: Path, other: Store) -> None:
    lab = Lab(tmp_path)
    entered = threading.Event()
    bad = gzip.compress(b"not a tar archive" * 1000)
    lab.blobs[described(bad, "").digest] = bad
    layers = (described(bad, model.OCI_LAYER_GZIP), described(lab.layer, model.OCI_LAYER_GZIP))
    diff_ids = ("sha256:" + "1" * 64, "sha256:" + "2" * 64)
    config = model.dump(replace(PLAIN, rootfs=RootFs("layers", diff_ids)))
    lab.blobs[described(config, "").digest] = config
    found = model.Manifest(2, described(config, model.OCI_CONFIG), layers, model.OCI_MANIFEST)
    lab.manifest = model.dump(found)

    def slow(handler: Handler) -> None:
        handler.send(200, lab.layer[:1000], Content_Length=str(len(lab.layer)))
        entered.set()
        for i in range(1000, 200_000, 20):
            handler.wfile.write(lab.layer[i : i + 20])
            time.sleep(0.001)

    def late(handler: Handler) -> None:
        entered.wait(10)
        handler.send(200, bad)

    lab.answers[f"/blobs/{lab.digest}"] = slow
    lab.answers[f"/blobs/{layers[0].digest}"] = late
    begun = time.monotonic()
    with server(lab.reply) as host:
        with pytest.raises(ImageError, match="tar"):
            pull(other, f"{host}/x:1", how=access())
        assert time.monotonic() - begun < 5


# ── waiting, redirects, tokens ───────────────────────────────────────────────────────────────


def test_retry_after_is_obeyed(lab: Lab, other: Store) -> None:
    asked: list[float] = []

    def busy(handler: Handler) -> None:
        asked.append(time.monotonic())
        if len(asked) == 1:
            handler.send(429, Retry_After="1")
        else:
            handler.send(200, lab.manifest, Content_Type=model.OCI_MANIFEST)

    lab.answers["/manifests/"] = busy
    patience = Patience(attempts=3, first_s=0.01, longest_s=2)
    with server(lab.reply) as host:
        pull(other, f"{host}/x:1", how=access(patience=patience))
    assert asked[1] - asked[0] >= 1


def test_registry_that_asks_for_an_hour_is_told_to_the_user(lab: Lab, other: Store) -> None:
    lab.answers["/manifests/"] = _answer(503, Retry_After=formatdate(time.time() + 3600))
    with server(lab.reply) as host, pytest.raises(Interrupted, match="asks us to wait for"):
        pull(other, f"{host}/x:1", how=access())


def test_server_errors_are_tried_again_and_then_told(lab: Lab, other: Store) -> None:
    lab.answers["/manifests/"] = _answer(503)
    with server(lab.reply) as host, pytest.raises(ImageError, match="503 service unavailable"):
        pull(other, f"{host}/x:1", how=access())
    assert len(lab.seen) == QUICK.attempts


def test_redirect_to_another_host_takes_no_credentials_along(lab: Lab, other: Store) -> None:
    elsewhere: list[dict[str, str]] = []

    def storage(handler: Handler) -> None:
        elsewhere.append(dict(handler.headers.items()))
        handler.send(200, lab.blobs[handler.path.removeprefix("/")])

    def guarded(handler: Handler) -> None:
        if "Authorization" not in handler.headers:
            handler.send(401, WWW_Authenticate='Basic realm="r"')
        elif "/blobs/" in handler.path:
            handler.send(307, Location=f"http://{away}/{handler.path.rpartition('/')[2]}")
        else:
            handler.send(200, lab.manifest, Content_Type=model.OCI_MANIFEST)

    lab.answers["/"] = guarded
    with server(storage) as away, server(lab.reply) as host:
        pull(other, f"{host}/x:1", how=access(ADA))
    assert len(elsewhere) == 2
    assert all("Authorization" not in headers for headers in elsewhere)


class TokenServer:
    """Gives tokens, and notes who asked for what."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.asked: list[tuple[str, str, str]] = []
        self.valid = "first"
        self.host = ""

    def reply(self, handler: Handler) -> None:
        if handler.path.startswith("/token"):
            authorization = handler.headers.get("Authorization", "")
            self.asked.append((handler.path, authorization, handler.body.decode()))
            body = json.dumps({"token": self.valid, "expires_in": 300, "refresh_token": "again"})
            handler.send(200, body.encode())
        elif handler.headers.get("Authorization") != f"Bearer {self.valid}":
            realm = f'Bearer realm="http://{self.host}/token",service="s",scope="repository:x:pull"'
            handler.send(401, WWW_Authenticate=realm)
        else:
            self.lab.reply(handler)


def test_token_is_asked_for_once_per_scope_and_sent_unasked(lab: Lab, other: Store) -> None:
    tokens = TokenServer(lab)
    with server(tokens.reply) as host:
        tokens.host = host
        pull(other, f"{host}/x:1", how=access(ADA))
    ((path, authorization, _),) = tokens.asked
    assert path == "/token?service=s&account=ada&scope=repository%3Ax%3Apull"
    assert authorization == "Basic YWRhOnNlY3JldA=="


def test_token_that_expired_is_replaced_by_a_refresh_token(lab: Lab, other: Store) -> None:
    tokens = TokenServer(lab)

    def expire(handler: Handler) -> None:
        handler.send(200, lab.manifest, Content_Type=model.OCI_MANIFEST)
        tokens.valid = "second"

    lab.answers["/manifests/"] = expire
    with server(tokens.reply) as host:
        tokens.host = host
        pull(other, f"{host}/x:1", how=access(ADA))
    first, second = tokens.asked
    assert first[2] == ""
    assert "grant_type=refresh_token" in second[2]
    assert "refresh_token=again" in second[2]


def test_entry_that_climbs_out_is_named_and_nothing_is_kept(tmp_path: Path, other: Store) -> None:
    lab = Lab(tmp_path)
    raw = tar([member("../../etc/evil", b"x")])
    blob = gzip.compress(raw)
    config = model.dump(replace(PLAIN, rootfs=RootFs("layers", (described(raw, "").digest,))))
    layers = (described(blob, model.OCI_LAYER_GZIP),)
    found = model.Manifest(2, described(config, model.OCI_CONFIG), layers, model.OCI_MANIFEST)
    lab.manifest = model.dump(found)
    lab.blobs |= {described(b, "").digest: b for b in (blob, config)}
    with server(lab.reply) as host, pytest.raises(ImageError, match="etc/evil"):
        pull(other, f"{host}/x:1", how=access())
    _assert_nothing_kept(other)
