"""The store: names, garbage, crashes, and several processes at once."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minirun.errors import ImageError
from minirun.image import archive, layout
from minirun.image.model import History, ImageConfig
from minirun.image.store import Image, Store
from minirun.image.writer import Writer
from minirun.record import replace

from .image_lab import PLAIN, everything_in, make_image, member, python, tar

pytestmark = pytest.mark.requires("root")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def content(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    (path / "bin").mkdir(parents=True)
    (path / "bin" / "true").write_bytes(b"#!/bin/sh\n")
    return path


@pytest.fixture
def image(store: Store, content: Path) -> Image:
    return make_image(store, content, "app")


def _archive(image: Image, path: Path) -> Path:
    with path.open("wb") as file:
        archive.save([image], file.write)
    return path


# ── names ─────────────────────────────────────────────────────────────────────────────────────


def test_resolve_finds_by_name_and_by_beginning_of_id(store: Store, image: Image) -> None:
    hexadecimal = image.id.removeprefix("sha256:")
    for text in ("app", "docker.io/library/app:latest", image.id, hexadecimal, hexadecimal[:6]):
        assert store.resolve(text) == image
    with pytest.raises(ImageError, match="no such image: ap") as caught:
        store.resolve("ap:latest")
    assert caught.value.hint == "did you mean app:latest"


def test_lower_dirs_are_short_newest_first_and_unique(store: Store, content: Path) -> None:
    with store.write() as writer:
        first = writer.add_layer_from_dir(str(content))
        (content / "second").touch()
        second = writer.add_layer_from_dir(str(content))
        image = writer.write_image(PLAIN, [first, second, first], ["three"])
        empty = writer.write_image(PLAIN, [])
    newest, oldest = image.lower_dirs()
    assert not (Path(newest) / "second").exists()
    assert (Path(oldest) / "second").exists()
    assert all(len(path) == 28 for path in image.lower_dirs(relative=True))
    assert os.listdir(*empty.lower_dirs()) == []


def test_tag_moves_a_name_and_leaves_the_image_without(
    store: Store, image: Image, content: Path
) -> None:
    (content / "new").touch()
    newer = make_image(store, content, "app")
    assert store.resolve("app").id == newer.id
    assert store.resolve(image.id).names == ()
    store.tag(image, "old:1")
    assert store.resolve("old:1").id == image.id


def test_tag_gives_no_name_to_an_image_that_was_removed(store: Store, image: Image) -> None:
    """What if somebody removes the image between the look and the tag: it must not come back."""
    store.remove(image.id, force=True)
    store.gc()
    with pytest.raises(ImageError, match="no such image"):
        store.tag(image, "again")
    assert store.images() == []


def test_remove_follows_docker(store: Store, image: Image) -> None:
    store.tag(image, "other")
    with pytest.raises(ImageError, match="several names: app:latest, other:latest"):
        store.remove(image.id)
    assert [r.kind for r in store.remove("other")] == ["Untagged"]
    with pytest.raises(ImageError, match="is used by web"):
        store.remove("app", used_by=lambda _: ["web"])
    gone = store.remove("app", force=True, used_by=lambda _: ["web"])
    assert [r.kind for r in gone] == ["Untagged", "Deleted"]
    assert store.images() == []


def test_remove_works_on_a_damaged_image(store: Store, image: Image) -> None:
    Path(store.root, "blobs", "sha256", image.id[7:]).write_bytes(b"{}")
    with pytest.raises(ImageError, match="is damaged"):
        store.resolve("app")
    store.remove(image.id[7:19])
    assert store.gc().layers == 1


def test_history_pairs_steps_with_layers(store: Store, content: Path) -> None:
    steps = (History(created_by="COPY"), History(created_by="ENV", empty_layer=True))
    with store.write() as writer:
        layer = writer.add_layer_from_dir(str(content))
        image = writer.write_image(replace(PLAIN, history=steps), [layer])
    rows = store.history(image)
    assert [(row.entry.created_by, row.layer) for row in rows] == [("ENV", None), ("COPY", layer)]


# ── garbage ───────────────────────────────────────────────────────────────────────────────────


def test_gc_keeps_what_is_needed_and_removes_the_rest(store: Store, image: Image) -> None:
    before = everything_in(store.root)
    assert store.gc().blobs == 0
    assert everything_in(store.root) == before
    store.remove("app")
    kept = store.gc(in_use=lambda: [image.id, *image.config.rootfs.diff_ids])
    assert (kept.layers, kept.blobs) == (0, 2)
    assert os.path.exists(image.lower_dirs()[0])
    assert store.gc().layers == 1
    assert (store.df().blobs, store.df().layers) == (0, 0)
    assert os.listdir(f"{store.root}/l") == ["empty"]


def test_gc_leaves_a_running_operation_alone(store: Store, content: Path) -> None:
    with store.write() as writer:
        layer = writer.add_layer_from_dir(str(content))
        assert store.gc().layers == 0
        image = writer.write_image(PLAIN, [layer], ["late"])
    assert store.resolve("late") == image
    assert os.listdir(f"{store.root}/tmp") == os.listdir(f"{store.root}/leases") == []


@pytest.mark.parametrize("broken", ["digest", "size", "layer"])
def test_a_refused_blob_leaves_nothing(store: Store, image: Image, broken: str) -> None:
    before = everything_in(store.root)
    raw = tar([member("../x")])
    options: dict[str, dict[str, Any]] = {
        "digest": {"digest": "sha256:" + "0" * 64},
        "size": {"size": 3},
        "layer": {},
    }
    with store.write() as writer, pytest.raises(ImageError):
        _add(writer, raw, image.layers[0].diff_id.replace("a", "b"), options[broken])
    store.gc()
    assert everything_in(store.root) == before


def _add(writer: Writer, raw: bytes, diff_id: str, options: dict[str, Any]) -> None:
    writer.unpack(writer.add_blob(io.BytesIO(raw), "x", **options), diff_id)


_FULL = """
import os, sys
from minirun.errors import ImageError
from minirun.image.store import Store
store = Store(sys.argv[1])
try:
    with store.write() as writer:
        writer.add_layer_from_dir(sys.argv[2], compress=False)
except ImageError as error:
    print(error.message, "|", error.hint)
store.gc()
print(store.df())
"""


@pytest.mark.parametrize(
    ("options", "message"),
    [("size=200k", "no space left on device"), ("ro", "read-only file system")],
)
def test_a_full_or_read_only_disk_is_explained(
    tmp_path: Path, content: Path, options: str, message: str
) -> None:
    (content / "big").write_bytes(os.urandom(1_000_000))
    (tmp_path / "mnt").mkdir()
    code = f'mount -t tmpfs -o {options} none mnt && exec "$0" -c "$1" mnt/store "$2"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", code, sys.executable, _FULL, str(content)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert message in done.stdout
    assert "| " in done.stdout
    if "size" in options:
        assert "blobs=0" in done.stdout, done.stderr


# ── several processes, and sudden death ───────────────────────────────────────────────────────

_LOAD = """
import sys
from minirun.image import archive
from minirun.image.store import Store
print(archive.load(Store(sys.argv[1]), sys.argv[2])[0].id)
"""


def test_four_processes_load_the_same_image_at_once(
    tmp_path: Path, store: Store, content: Path
) -> None:
    for i in range(2000):
        (content / f"file{i}").write_bytes(b"%d" % i)
    path = _archive(make_image(Store(str(tmp_path / "from")), content, "app"), tmp_path / "a.tar")
    running = [python(_LOAD, store.root, str(path)) for _ in range(4)]
    ids = {process.communicate()[0].strip() for process in running}
    assert [process.returncode for process in running] == [0] * 4
    (image,) = store.images()
    assert ids == {image.id}
    assert len(os.listdir(image.lower_dirs()[0])) == 2001
    assert os.listdir(f"{store.root}/tmp") == os.listdir(f"{store.root}/locks") == []
    assert store.gc().size_bytes == 0


_SLOW = """
import os, sys
from minirun.image import unpack, archive
from minirun.image.store import Store
original, seen = unpack.Unpacker._count, []
def count(self, entry):
    seen.append(entry)
    if len(seen) == 500:
        print("half", flush=True)
        os.read(0, 1)
    original(self, entry)
unpack.Unpacker._count = count
archive.load(Store(sys.argv[1]), sys.argv[2])
"""


def test_kill_while_unpacking_leaves_nothing_after_gc(
    tmp_path: Path, store: Store, image: Image, content: Path
) -> None:
    for i in range(1000):
        (content / f"file{i}").touch()
    path = _archive(make_image(Store(str(tmp_path / "from")), content, "big"), tmp_path / "a.tar")
    before = everything_in(store.root)
    reader, writer = os.pipe()
    with os.fdopen(reader) as stdin, os.fdopen(writer, "w"):
        process = python(_SLOW, store.root, str(path), stdin=stdin)
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        assert store.gc().layers == 0  # it is alive: its files stay
        assert len(os.listdir(f"{store.root}/tmp")) == 1
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert [found.id for found in store.images()] == [image.id]
    store.gc()
    assert everything_in(store.root) == before
    assert archive.load(store, str(path))[0].familiar_names == ("big:latest",)


# ── formats ───────────────────────────────────────────────────────────────────────────────────


def test_save_and_load_keep_every_digest(tmp_path: Path, store: Store, image: Image) -> None:
    path = _archive(image, tmp_path / "a.tar")
    layout.save([image], str(tmp_path / "layout"))
    for i, load in enumerate((archive.load, layout.load)):
        other = Store(str(tmp_path / f"other{i}"))
        (found,) = load(other, str(path if load is archive.load else tmp_path / "layout"))
        assert replace(found, root=image.root, descriptor=image.descriptor) == image
        assert found.descriptor.digest == image.descriptor.digest
    assert path.read_bytes() == _archive(store.resolve("app"), tmp_path / "b.tar").read_bytes()


def test_load_picks_the_manifest_for_this_machine(
    tmp_path: Path, store: Store, image: Image
) -> None:
    folder = tmp_path / "layout"
    layout.save([image], str(folder))
    index = json.loads((folder / "index.json").read_text())
    mine = {**index["manifests"][0], "platform": {"os": "linux", "architecture": "other"}}
    other = {**mine, "platform": {"os": "linux", "architecture": layout.host_architecture()}}
    _nest(folder, [mine, other])
    assert layout.load(store, str(folder))[0].id == image.id
    _nest(folder, [mine])
    with pytest.raises(ImageError, match="no image for linux/") as caught:
        layout.load(store, str(folder))
    assert "linux/other" in caught.value.hint


def _nest(folder: Path, manifests: list[dict[str, object]]) -> None:
    kind = "application/vnd.oci.image.index.v1+json"
    raw = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": manifests}).encode()
    digest = hashlib.sha256(raw).hexdigest()
    (folder / "blobs" / "sha256" / digest).write_bytes(raw)
    entry = {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(raw)}
    top = {"schemaVersion": 2, "manifests": [entry]}
    (folder / "index.json").write_text(json.dumps(top))


def test_the_same_content_gives_the_same_image(tmp_path: Path, content: Path) -> None:
    ids = set()
    for name in ("one", "two"):
        with Store(str(tmp_path / name)).write() as writer:
            (content / "bin").touch()  # a new time, which the clamp takes away
            layer = writer.add_layer_from_dir(str(content), clamp_s=1)
            ids.add(writer.write_image(PLAIN, [layer], ["app"]).descriptor.digest)
    assert len(ids) == 1


def test_config_of_a_loaded_image_keeps_what_we_do_not_know(store: Store, image: Image) -> None:
    raw = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "x-new": 1,
            "rootfs": {"type": "layers", "diff_ids": [image.layers[0].diff_id]},
        }
    ).encode()
    with store.write() as writer:
        found = writer.write_config(raw, image.layers, ["raw"])
    assert isinstance(found.config, ImageConfig)
    assert Path(store.root, "blobs", "sha256", found.id[7:]).read_bytes() == raw
