"""The dictionary of capabilities, against the kernel's own header and Docker's rules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minirun.capabilities import BITS, CAPABILITIES, DEFAULT, mask, names, select
from minirun.errors import SpecError, UsageError

HEADER = Path("/usr/include/linux/capability.h")


def test_bits_are_those_of_the_kernel() -> None:
    assert BITS["CAP_CHOWN"] == 0
    assert BITS["CAP_SYS_ADMIN"] == 21
    assert BITS["CAP_CHECKPOINT_RESTORE"] == 40
    assert len(CAPABILITIES) == 41
    if HEADER.exists():
        found = re.findall(r"^#define (CAP_[A-Z_]+)\s+(\d+)$", HEADER.read_text(), re.MULTILINE)
        assert {name: int(bit) for name, bit in found} == BITS


def test_default_is_what_docker_keeps() -> None:
    """0xa80425fb is CapEff of a root in a plain Docker container."""
    assert mask(DEFAULT) == 0x00000000A80425FB


def test_mask_and_names_are_inverse() -> None:
    assert names(mask(CAPABILITIES)) == tuple(CAPABILITIES)
    assert names(0) == ()


def test_names_shows_a_bit_that_is_newer_than_the_table() -> None:
    assert names(1 << 41 | 1) == ("CAP_CHOWN", "CAP_41")


def test_mask_names_the_path_and_the_likely_word() -> None:
    with pytest.raises(SpecError) as caught:
        mask(["CAP_CHOWN", "CAP_SYSADMIN"], "$.process.capabilities.bounding")
    assert "$.process.capabilities.bounding[1]: unknown capability 'CAP_SYSADMIN'" in str(
        caught.value
    )
    assert caught.value.hint == "did you mean CAP_SYS_ADMIN?"


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ([], [], set(DEFAULT)),
        (["NET_ADMIN"], [], {*DEFAULT, "CAP_NET_ADMIN"}),
        (["cap_net_admin"], [], {*DEFAULT, "CAP_NET_ADMIN"}),
        ([], ["chown", "CAP_KILL"], set(DEFAULT) - {"CAP_CHOWN", "CAP_KILL"}),
        (["CHOWN"], ["CHOWN"], set(DEFAULT)),
        ([], ["ALL"], set()),
        (["SYS_PTRACE"], ["all"], {"CAP_SYS_PTRACE"}),
        (["ALL"], [], set(CAPABILITIES)),
        (["ALL"], ["SYS_ADMIN"], set(CAPABILITIES) - {"CAP_SYS_ADMIN"}),
        (["ALL"], ["ALL"], set(CAPABILITIES)),
    ],
)
def test_select_follows_docker(add: list[str], drop: list[str], expected: set[str]) -> None:
    chosen = select(add, drop)
    assert set(chosen) == expected
    assert list(chosen) == sorted(chosen, key=BITS.__getitem__)


def test_select_privileged_keeps_everything() -> None:
    assert select([], ["ALL"], privileged=True) == tuple(CAPABILITIES)


def test_select_refuses_an_unknown_name() -> None:
    with pytest.raises(UsageError, match="--cap-drop: unknown capability 'net_rwa'") as caught:
        select([], ["net_rwa"])
    assert caught.value.hint == "did you mean CAP_NET_RAW?"


def test_select_refuses_an_unknown_name_for_the_privileged_too() -> None:
    with pytest.raises(UsageError, match="'XYZZY'") as caught:
        select(["XYZZY"], [], privileged=True)
    assert caught.value.hint == "see capabilities(7) for the names"
