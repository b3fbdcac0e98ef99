"""Names of images, as the index changes."""

from __future__ import annotations

from minirun.image import names
from minirun.image.model import OCI_MANIFEST, Descriptor
from minirun.record import replace

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
MANIFEST_A = Descriptor(OCI_MANIFEST, "sha256:" + "1" * 64, 1)
MANIFEST_B = Descriptor(OCI_MANIFEST, "sha256:" + "2" * 64, 1)


def _two() -> dict[str, names.Named]:
    return names.put(names.put({}, A, MANIFEST_A, ["x:1", "x:2"]), B, MANIFEST_B, [])


def _names(groups: dict[str, names.Named]) -> dict[str, tuple[str, ...]]:
    return {image_id: named.names for image_id, named in groups.items()}


def test_group_and_ungroup_are_inverse() -> None:
    entries = names.ungroup(_two())
    assert [entry.digest for entry in entries] == [MANIFEST_A.digest] * 2 + [MANIFEST_B.digest]
    assert _names(names.group(entries)) == _names(_two())


def test_put_takes_the_name_from_who_had_it_and_leaves_the_image() -> None:
    moved = names.put(_two(), B, MANIFEST_B, ["x:1", "x:2"])
    assert _names(moved) == {A: (), B: ("x:1", "x:2")}


def test_put_again_changes_nothing() -> None:
    assert _names(names.put(_two(), A, MANIFEST_A, ["x:2"])) == _names(_two())


def test_each_name_keeps_its_own_manifest() -> None:
    other = replace(MANIFEST_A, digest="sha256:" + "3" * 64, annotations={"a": "b"})
    named = names.group(names.ungroup(names.put(_two(), A, other, ["x:2", "x:3"])))[A]
    assert named.names == ("x:1", "x:2", "x:3")
    assert named.descriptor("x:1") == MANIFEST_A
    assert named.descriptor("x:2") == named.descriptor("x:3") == named.descriptor() == other
    assert names.put(_two(), A, other, [])[A].descriptor() == MANIFEST_A


def test_take_removes_the_image_with_its_last_name() -> None:
    once = names.take(_two(), A, ["x:1"])
    assert _names(once)[A] == ("x:2",)
    assert A not in names.take(once, A, ["x:2"])
    assert B not in names.take(_two(), B, [])
