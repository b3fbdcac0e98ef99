"""What is said about an image beside its config: given at a build, shown, and kept on every way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minirun.image import layout, model
from minirun.image.blobs import read_index
from minirun.image.layout import host_architecture
from minirun.image.model import Descriptor, Index, Platform
from minirun.image.store import Store
from minirun.record import replace

from .cli_lab import Cli, fresh
from .image_lab import make_image
from .registry_lab import described, registry, skopeo

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "busybox")

SAID = {"org.opencontainers.image.title": "a=b c", "io.example/x": ""}


@pytest.fixture(scope="module")
def shared() -> Iterator[Cli]:
    with fresh() as made:
        yield made


@pytest.fixture
def cli(shared: Cli) -> Iterator[Cli]:
    yield shared
    shared.clear()


@pytest.fixture
def built(cli: Cli, tmp_path: Path) -> str:
    """Return the name of an image with two annotations in its manifest and one on its entry."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    words = [word for name, value in SAID.items() for word in ("--annotation", f"{name}={value}")]
    words += ["--annotation", "manifest-descriptor:kind=model", "--label", "kept=here"]
    cli("build", "-q", "-t", "said:1", *words, str(context))
    return "said:1"


def shown(cli: Cli, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the annotations of the manifest, and those of its entry, as inspect shows them."""
    found: dict[str, Any] = json.loads(cli("image", "inspect", name).out)[0]
    return found["Annotations"], found["Descriptor"].get("annotations", {})


def test_build_puts_annotations_where_they_are_asked_for(cli: Cli, built: str) -> None:
    assert shown(cli, built) == (SAID, {"kind": "model"})
    shown_labels = cli("image", "inspect", "-f", "{{json .Config.Labels}}", built).out
    assert json.loads(shown_labels) == {"kept": "here"}


def test_two_names_of_one_image_keep_what_was_said_of_each(
    cli: Cli, built: str, tmp_path: Path
) -> None:
    context = str(tmp_path / "context")
    cli("build", "-q", "-t", "other:1", "--label", "kept=here", "--annotation", "b=2", context)
    ids = cli("image", "inspect", "-f", "{{.Id}}", built, "other:1").out.split()
    assert ids[0] == ids[1]
    assert shown(cli, built) == (SAID, {"kind": "model"})
    assert shown(cli, "other:1") == ({"b": "2"}, {})
    cli("rmi", "other:1")
    assert shown(cli, ids[0])[0] == SAID
    cli("image", "verify", built)


@pytest.mark.parametrize("flags", [(), ("--oci",)])
def test_save_and_load_keep_annotations(
    cli: Cli, built: str, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    archive = str(tmp_path / "said.tar")
    cli("save", *flags, "-o", archive, built)
    raw = json.loads(skopeo("inspect", "--raw", f"oci-archive:{archive}"))
    assert raw["annotations"] == SAID
    cli("rmi", built)
    cli("load", "-i", archive)
    assert shown(cli, built) == (SAID, {"kind": "model"})


@pytest.mark.requires("docker-registry")
def test_push_and_pull_keep_those_of_the_manifest(cli: Cli, built: str, tmp_path: Path) -> None:
    with registry(tmp_path / "registry") as host:
        name = f"{host}/said:1"
        cli("tag", built, name)
        cli("push", name)
        raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}")
        assert json.loads(raw)["annotations"] == SAID
        cli("rmi", built, name)
        cli("pull", name)
        assert shown(cli, name) == (SAID, {})  # the entry was in our index only


def test_commit_keeps_those_of_the_manifest_and_build_inherits_none(
    cli: Cli, built: str, tmp_path: Path
) -> None:
    cli("create", "--name", "one", built, "/x")
    cli("commit", "one", "committed:1")
    assert shown(cli, "committed:1") == (SAID, {})
    (tmp_path / "Dockerfile").write_text(f"FROM {built}\nLABEL more=1\n")
    cli("build", "-q", "-t", "derived:1", str(tmp_path))
    assert shown(cli, "derived:1") == ({}, {})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nothing", "no name and value"),
        ("index:a=b", "index is not supported"),
        ("manifest,index-descriptor:a=b", "index-descriptor is not supported"),
        ("manifest[linux/s390x]:a=b", "foreign to this host"),
    ],
)
def test_build_refuses_annotations_by_name(
    cli: Cli, tmp_path: Path, text: str, problem: str
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nLABEL a=b\n")
    refused = cli("build", "--annotation", text, str(tmp_path), check=False)
    assert problem in refused.err
    assert "hint: " in refused.err


# ── of an index ──────────────────────────────────────────────────────────────────────────────────


def indexed(folder: Path, notes: dict[str, str]) -> Path:
    """Return a layout whose only entry is an index for this platform, with annotations."""
    store = Store(str(folder / "made"))
    (folder / "content").mkdir()
    image = make_image(store, folder / "content", "one:1")
    path = folder / "layout"
    layout.save([image], str(path))
    platform = Platform(host_architecture(), "linux")
    entry = replace(image.descriptor, platform=platform, annotations={"of": "entry"})
    inner = Index(2, (entry,), model.OCI_INDEX, {"of": "index", **notes})
    raw = model.dump(inner)
    outer = described(raw, model.OCI_INDEX)
    (path / "blobs/sha256" / outer.digest.removeprefix("sha256:")).write_bytes(raw)
    named = replace(outer, annotations={"org.opencontainers.image.ref.name": "one:1"})
    (path / "index.json").write_bytes(model.dump(Index(2, (named,), model.OCI_INDEX)))
    return path


def test_index_annotations_are_shown_after_load(cli: Cli, tmp_path: Path) -> None:
    path = indexed(tmp_path, {"about": "all platforms", "minirun.image-id": "sha256:lie"})
    cli("load", "-i", str(path))
    assert shown(cli, "one:1") == ({}, {"of": "entry", "about": "all platforms"})
    cli("tag", "one:1", "two:1")
    assert shown(cli, "two:1")[1]["about"] == "all platforms"


@pytest.mark.requires("docker-registry")
def test_index_annotations_are_shown_after_pull(cli: Cli, tmp_path: Path) -> None:
    path = indexed(tmp_path, {"about": "all platforms"})
    with registry(tmp_path / "registry") as host:
        words = ("--all", "--dest-tls-verify=false", f"oci:{path}:one:1", f"docker://{host}/one:1")
        skopeo("copy", *words)
        cli("pull", f"{host}/one:1")
        assert shown(cli, f"{host}/one:1")[1] == {"of": "entry", "about": "all platforms"}


def test_index_with_annotations_without_end_is_refused(cli: Cli, tmp_path: Path) -> None:
    refused = cli("load", "-i", str(indexed(tmp_path, {"a": "x" * (1 << 17)})), check=False)
    assert "characters of annotations are more than" in refused.err
    entries: tuple[Descriptor, ...] = read_index(str(cli.data)).manifests
    assert not [entry for entry in entries if "a" in entry.annotations]
