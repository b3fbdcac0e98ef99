"""Option words become attributes, propagation, requests or data."""

from __future__ import annotations

from typing import Any

import pytest

from minirun.flags import Mount, MountAttr
from minirun.mount_options import MountOptions, known_options, parse

A = MountAttr
ATIME = A.MOUNT_ATTR__ATIME
NONE = MountAttr(0)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", {}),
        ("defaults async loud silent nolazytime", {}),
        ("ro", {"attr_set": A.MOUNT_ATTR_RDONLY}),
        ("rw", {"attr_clr": A.MOUNT_ATTR_RDONLY}),
        ("rro", {"recursive_set": A.MOUNT_ATTR_RDONLY}),
        ("rrw", {"recursive_clr": A.MOUNT_ATTR_RDONLY}),
        ("nosuid nodev", {"attr_set": A.MOUNT_ATTR_NOSUID | A.MOUNT_ATTR_NODEV}),
        ("ro rnoexec", {"attr_set": A.MOUNT_ATTR_RDONLY, "recursive_set": A.MOUNT_ATTR_NOEXEC}),
        ("noatime", {"attr_set": A.MOUNT_ATTR_NOATIME, "attr_clr": ATIME}),
        ("rrelatime", {"recursive_clr": ATIME}),
        ("shared", {"propagation": (Mount.MS_SHARED,)}),
        ("rslave shared", {"propagation": (Mount.MS_SLAVE | Mount.MS_REC, Mount.MS_SHARED)}),
        ("bind", {"bind": "bind"}),
        ("bind rbind", {"bind": "rbind"}),
        ("ridmap", {"idmap": "ridmap"}),
        ("tmpcopyup", {"tmpcopyup": True}),
        ("size=64k sync mode=755", {"data": ("size=64k", "sync", "mode=755")}),
        ("RO rsize=1", {"data": ("RO", "rsize=1")}),  # neither is an attribute
    ],
)
def test_parse_sorts_each_word(words: str, expected: dict[str, Any]) -> None:
    assert parse(tuple(words.split())) == MountOptions(**expected)


@pytest.mark.parametrize(
    ("words", "attr_set", "attr_clr"),
    [
        ("ro rw", NONE, A.MOUNT_ATTR_RDONLY),
        ("rw ro", A.MOUNT_ATTR_RDONLY, NONE),
        ("exec noexec exec", NONE, A.MOUNT_ATTR_NOEXEC),
        ("noatime strictatime", A.MOUNT_ATTR_STRICTATIME, ATIME),
        ("noatime relatime", NONE, ATIME),
        # The kernel takes an atime mode only when the whole field is cleared with it.
        ("relatime noatime", A.MOUNT_ATTR_NOATIME, ATIME),
    ],
)
def test_parse_lets_the_later_word_win(
    words: str, attr_set: MountAttr, attr_clr: MountAttr
) -> None:
    options = parse(tuple(words.split()))
    assert (options.attr_set, options.attr_clr) == (attr_set, attr_clr)


def test_parse_keeps_the_tree_and_the_mount_apart() -> None:
    options = parse(("rro", "rw"))
    assert options.recursive_set == A.MOUNT_ATTR_RDONLY
    assert options.attr_clr == A.MOUNT_ATTR_RDONLY


def test_known_options_are_sorted_and_of_every_kind() -> None:
    known = known_options()
    assert list(known) == sorted(set(known))
    assert {"ro", "rro", "rprivate", "rbind", "tmpcopyup", "ridmap", "sync", "defaults"} <= {*known}
