"""Owners as the container sees them: the way back through a user namespace's maps.

With ``--userns auto`` the writable layer is not id-mapped: what the container's root writes belongs
to a host id such as 100000. An image must say 0 again, in three places: the owner, the ids inside
access control lists, and the root id that the kernel adds to file capabilities.

Pure. See: user_namespaces(7), capabilities(7), acl(5). Next: ``pack.py``.
"""

from __future__ import annotations

import struct

from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..spec import IdMapping

#: Who an id that the namespace does not have looks like from inside.
OVERFLOW_ID = 65534
_CAPABILITY = "security.capability"
_CAPS_2, _CAPS_3, _REVISION_MASK = 0x02000000, 0x03000000, 0xFF000000
_CAPS_3_BYTES = 24
_ACLS = ("system.posix_acl_access", "system.posix_acl_default")
_ACL_ENTRY = struct.Struct("<HHI")
_ACL_HEADER_BYTES = 4
_ACL_USER, _ACL_GROUP = 0x02, 0x08


class Owners(Record):
    """The maps of a user namespace; without any, everything stays as it is.

    Args:
        uids: as in the runtime-spec's ``linux.uidMappings``.
        gids: as in ``linux.gidMappings``.
        mixed: files of the image are among them, whose ids are those of the image already.
    """

    uids: Sequence[IdMapping] = ()
    gids: Sequence[IdMapping] = ()
    mixed: bool = False

    def inside(self, uid: int, gid: int) -> tuple[int, int]:
        """Return the owner as the container sees it."""
        return self._inside(uid, self.uids), self._inside(gid, self.gids)

    def attribute(self, name: str, value: bytes) -> bytes:
        """Return an extended attribute with the ids in it as the container sees them."""
        if not self.uids and not self.gids:
            return value
        if name == _CAPABILITY:
            return _plain_capability(value)
        return self._acl(value) if name in _ACLS else value

    def _acl(self, value: bytes) -> bytes:
        """Translate the named users and groups; the other entries hold no id."""
        maps = {_ACL_USER: self.uids, _ACL_GROUP: self.gids}
        entries = [
            _ACL_ENTRY.pack(tag, rights, self._inside(number, maps.get(tag, ())))
            for tag, rights, number in _ACL_ENTRY.iter_unpack(value[_ACL_HEADER_BYTES:])
        ]
        return value[:_ACL_HEADER_BYTES] + b"".join(entries)

    def _inside(self, number: int, maps: Sequence[IdMapping]) -> int:
        for entry in maps:
            if entry.host_id <= number < entry.host_id + entry.size:
                return entry.container_id + number - entry.host_id
        return OVERFLOW_ID if maps and not self.mixed else number


UNMAPPED = Owners()


def _plain_capability(value: bytes) -> bytes:
    """Return version 2, which names no root: version 3 is good in the one namespace only."""
    (magic,) = struct.unpack_from("<I", value)
    if magic & _REVISION_MASK != _CAPS_3 or len(value) != _CAPS_3_BYTES:
        return value
    return struct.pack("<I", _CAPS_2 | magic & ~_REVISION_MASK) + value[4:20]
