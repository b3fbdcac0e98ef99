"""The kernel's table of flows, walked by hand.

Newer kernels delete flows that fit a pattern. Older ones, Linux 6.1 among them, delete one that is
named in full or all of them: there we read the table and name each.

See: <linux/netfilter/nfnetlink_conntrack.h>. Next: ``firewall.py``.
"""

from __future__ import annotations

import _socket
import errno
import struct

from ..errors import SyscallError
from ..record import Record
from .netlink import NLM_F_DUMP, NetlinkSocket, Request, attribute, attributes, nested

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CT_GET, _CT_DELETE = 1 << 8 | 1, 1 << 8 | 2
_FAMILY_IP = struct.pack("=BBH", _socket.AF_INET, 0, 0)  # struct nfgenmsg
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_ID = 1, 2, 12
_CTA_TUPLE_IP, _CTA_TUPLE_PROTO = 1, 2
_CTA_IP_V4_SRC, _CTA_PROTO_NUM, _CTA_PROTO_DST_PORT = 1, 1, 3


class Flow(Record):
    """One entry.

    Args:
        protocol: as in /etc/protocols.
        port: where its first packet went.
        answered_by: the IPv4 address that its answers come from: after translation.
        name: the attributes that name this flow and no other.
    """

    protocol: int
    port: int
    answered_by: str
    name: bytes


def delete_each(netfilter: NetlinkSocket, is_wanted: Callable[[Flow], bool]) -> None:
    """Delete every flow that is wanted; one that has ended meanwhile is no error."""
    dump = Request(_CT_GET, NLM_F_DUMP, _FAMILY_IP, "IPCTNL_MSG_CT_GET")
    for flow in [_parse(reply.body) for reply in netfilter.request(dump)]:
        if not is_wanted(flow):
            continue
        call = f"IPCTNL_MSG_CT_DELETE {flow.answered_by}"
        try:
            netfilter.request(Request(_CT_DELETE, 0, _FAMILY_IP + flow.name, call))
        except SyscallError as error:
            if error.errno != errno.ENOENT:
                raise


def _parse(body: bytes) -> Flow:
    found = attributes(body[len(_FAMILY_IP) :])
    original, reply = attributes(found[_CTA_TUPLE_ORIG]), attributes(found[_CTA_TUPLE_REPLY])
    protocol = attributes(original[_CTA_TUPLE_PROTO])
    source = attributes(reply[_CTA_TUPLE_IP])[_CTA_IP_V4_SRC]
    name = nested(_CTA_TUPLE_ORIG, found[_CTA_TUPLE_ORIG]) + attribute(_CTA_ID, found[_CTA_ID])
    return Flow(
        protocol=protocol[_CTA_PROTO_NUM][0],
        port=int.from_bytes(protocol.get(_CTA_PROTO_DST_PORT, b""), "big"),
        answered_by=_socket.inet_ntoa(source[:4]),
        name=name,
    )
