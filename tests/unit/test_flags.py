"""Flags behave as enum's would, and print as strace does."""

from __future__ import annotations

import enum
import os

import pytest

from minirun.flags import Clone, FsConfig, Mount, MountAttr, Umount, spell

MASKS = [Mount(0), Mount.MS_BIND, Mount.MS_BIND | Mount.MS_REC, Mount.MS_RDONLY | Mount.MS_PRIVATE]


class Twin(enum.IntFlag):
    """The same bits, made by the class that flags.py does without."""

    MS_RDONLY = 1
    MS_BIND = 4096
    MS_REC = 16384
    MS_PRIVATE = 1 << 18


@pytest.mark.parametrize("one", MASKS)
@pytest.mark.parametrize("other", MASKS)
def test_flags_calculate_as_enum_does(one: Mount, other: Mount) -> None:
    mine = [one | other, one & other, one ^ other, one & ~other]
    a, b = Twin(int(one)), Twin(int(other))
    assert [int(bits) for bits in mine] == [int(x) for x in (a | b, a & b, a ^ b, a & ~b)]
    assert (other in one) == (b in a)
    assert all(isinstance(bits, Mount) for bits in mine)


def test_flags_mixed_with_a_number_stay_flags() -> None:
    assert isinstance(4096 | Mount.MS_REC, Mount)
    assert isinstance(Mount.MS_REC & 0xFFFF, Mount)


@pytest.mark.parametrize("bit", list(Clone))
def test_clone_has_the_kernel_s_values(bit: Clone) -> None:
    expected = getattr(os, str(bit.name), None)  # Python knows them since 3.12
    assert expected in (None, int(bit))


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        (Mount(0), "0"),
        (Mount.MS_BIND, "MS_BIND"),
        (Mount.MS_PRIVATE | Mount.MS_REC, "MS_REC|MS_PRIVATE"),
        (Umount.MNT_DETACH | Umount.UMOUNT_NOFOLLOW, "MNT_DETACH|UMOUNT_NOFOLLOW"),
        (Clone.CLONE_NEWNS | Clone.CLONE_NEWTIME, "CLONE_NEWTIME|CLONE_NEWNS"),
        (MountAttr.MOUNT_ATTR_RDONLY, "MOUNT_ATTR_RDONLY"),
    ],
)
def test_spell_prints_as_strace_does(bits: enum.IntFlag, text: str) -> None:
    assert spell(bits) == text


def test_name_of_a_value_is_exact() -> None:
    """What if a command is the sum of others' bits?"""
    assert FsConfig.FSCONFIG_SET_FD.name == "FSCONFIG_SET_FD"
    assert FsConfig(0).name == "FSCONFIG_SET_FLAG"
