from __future__ import annotations

import struct

from minirun.image.owners import OVERFLOW_ID, UNMAPPED, Owners
from minirun.spec import IdMapping

MAPPED = Owners(
    (IdMapping(0, 100000, 65536),), (IdMapping(0, 200000, 10), IdMapping(50, 300000, 1))
)


def test_inside_follows_each_map() -> None:
    assert MAPPED.inside(100033, 300000) == (33, 50)
    assert UNMAPPED.inside(100033, 7) == (100033, 7)


def test_inside_shows_strangers_as_the_container_does() -> None:
    assert MAPPED.inside(0, 199999) == (OVERFLOW_ID, OVERFLOW_ID)
    mixed = Owners(MAPPED.uids, MAPPED.gids, mixed=True)
    assert mixed.inside(0, 200001) == (0, 1)


def test_attribute_frees_a_capability_from_its_namespace() -> None:
    bound = struct.pack("<IIIIII", 0x03000001, 1 << 10, 0, 0, 0, 100000)
    plain = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    assert MAPPED.attribute("security.capability", bound) == plain
    assert MAPPED.attribute("security.capability", plain) == plain
    assert UNMAPPED.attribute("security.capability", bound) == bound


def test_attribute_translates_the_names_in_an_access_list() -> None:
    def acl(uid: int, gid: int) -> bytes:
        entries = [(1, 7, 2**32 - 1), (2, 6, uid), (8, 4, gid), (0x20, 0, 2**32 - 1)]
        return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)

    assert MAPPED.attribute("system.posix_acl_access", acl(100001, 200002)) == acl(1, 2)
    assert MAPPED.attribute("user.note", b"100001") == b"100001"
