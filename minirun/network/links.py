"""Links, addresses and routes, as messages: each function returns what to ask, none asks it.

    >>> delete_link("mr-0ad50002").call
    'RTM_DELLINK mr-0ad50002'

The numbers are those of <linux/if_link.h>, <linux/rtnetlink.h> and <linux/if_bridge.h>; the texts
in ``call`` are the messages' names, and ``ip monitor`` shows them arriving.

See: rtnetlink(7), veth(4), ip-link(8). Pure. Next: ``bridge.py``, which sends them.
"""

from __future__ import annotations

import _socket
import struct
import sys

from ..record import Record
from . import netlink
from .netlink import NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, Request, attribute, nested, text, u32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .netlink import Reply

LOOPBACK_INDEX = 1  # every network namespace is born with lo at this index

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26

_IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change mask
_IFADDRMSG = struct.Struct("=BBBBi")  # family, prefix, flags, scope, index
_RTMSG = struct.Struct(
    "=BBBBBBBBI"
)  # family, dst_len, src_len, tos, table, protocol, scope, type, flags

_IFF_UP = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 1, 3, 10, 18, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
_VETH_INFO_PEER = 1
_IFLA_BRPORT_MODE = 4  # what `bridge link` calls hairpin
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_IFA_F_PERMANENT = 0x80
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_TABLE = 1, 4, 5, 15
_RT_TABLE_MAIN = 254
_RTPROT_BOOT, _RT_SCOPE_UNIVERSE, _RTN_UNICAST = 3, 0, 1

_CREATE = NLM_F_CREATE | NLM_F_EXCL


class Link(Record):
    """What a link listing says; ``master`` is the index of the bridge it is a port of, or 0."""

    index: int
    name: str
    kind: str
    master: int


class Address(Record):
    """An IPv4 address of a link, as ``10.213.0.1``/``16``."""

    index: int
    ip: str
    prefix: int


def new_bridge(name: str, mac: str) -> Request:
    """Create a bridge.

    With an address of its own: otherwise it takes the lowest one of its ports, so that it changes
    as containers come and go and everybody's ARP cache is wrong for a while.
    """
    body = _ifinfo() + text(_IFLA_IFNAME, name) + attribute(_IFLA_ADDRESS, _mac(mac))
    body += nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, "bridge"))
    return Request(_RTM_NEWLINK, _CREATE, body, f"RTM_NEWLINK {name} type bridge")


def new_veth(name: str, bridge_index: int, peer: str, peer_mac: str, netns_fd: int) -> Request:
    """Create a cable: one end is a port of the bridge, the other is born inside a namespace.

    One message, so there is no moment in which the container's end lies about on the host, where
    a crash would leave it. The near end is switched on; the far end cannot be yet (ENOTCONN: its
    peer does not exist while it is made).
    """
    inside = _ifinfo() + text(_IFLA_IFNAME, peer) + attribute(_IFLA_ADDRESS, _mac(peer_mac))
    inside += u32(_IFLA_NET_NS_FD, netns_fd)
    cable = nested(_IFLA_INFO_DATA, nested(_VETH_INFO_PEER, inside))
    body = _ifinfo(up=True) + text(_IFLA_IFNAME, name) + u32(_IFLA_MASTER, bridge_index)
    body += nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, "veth"), cable)
    call = f"RTM_NEWLINK {name} type veth master {bridge_index} peer {peer} netns {netns_fd}"
    return Request(_RTM_NEWLINK, _CREATE, body, call)


def set_hairpin(name: str) -> Request:
    """Let the bridge send a frame back out of the port it came from.

    Otherwise a container cannot reach its own published port where br_netfilter is loaded: the
    translated frame leaves by the port it entered.
    """
    port = nested(_IFLA_INFO_SLAVE_DATA, attribute(_IFLA_BRPORT_MODE, b"\1"))
    body = _ifinfo() + text(_IFLA_IFNAME, name)
    body += nested(_IFLA_LINKINFO, text(_IFLA_INFO_SLAVE_KIND, "bridge"), port)
    return Request(_RTM_NEWLINK, 0, body, f"RTM_NEWLINK {name} hairpin on")


def set_up(index: int) -> Request:
    """Switch a link on."""
    return Request(_RTM_NEWLINK, 0, _ifinfo(index, up=True), f"RTM_NEWLINK {index} up")


def move_link(index: int, netns_fd: int, name: str) -> Request:
    """Move a link to another namespace and name it there, in one act: no name can collide here."""
    body = _ifinfo(index) + u32(_IFLA_NET_NS_FD, netns_fd) + text(_IFLA_IFNAME, name)
    return Request(_RTM_NEWLINK, 0, body, f"RTM_NEWLINK {index} netns {netns_fd} name {name}")


def delete_link(name: str) -> Request:
    """Delete a link; a cable disappears with both its ends."""
    body = _ifinfo() + text(_IFLA_IFNAME, name)
    return Request(_RTM_DELLINK, 0, body, f"RTM_DELLINK {name}")


def get_link(name: str) -> Request:
    """Ask for one link by name; ENODEV where there is none."""
    body = _ifinfo() + text(_IFLA_IFNAME, name)
    return Request(_RTM_GETLINK, 0, body, f"RTM_GETLINK {name}")


def list_links() -> Request:
    """Ask for all links."""
    return Request(_RTM_GETLINK, NLM_F_DUMP, _ifinfo(), "RTM_GETLINK")


def add_address(index: int, ip: str, prefix: int) -> Request:
    """Give a link an IPv4 address; the kernel adds the route to its subnet."""
    raw = _socket.inet_aton(ip)
    host_bits = (1 << 32 - prefix) - 1
    broadcast = struct.pack(">I", int.from_bytes(raw, "big") | host_bits)
    body = _IFADDRMSG.pack(_socket.AF_INET, prefix, 0, 0, index) + attribute(_IFA_LOCAL, raw)
    body += attribute(_IFA_ADDRESS, raw) + attribute(_IFA_BROADCAST, broadcast)
    return Request(_RTM_NEWADDR, _CREATE, body, f"RTM_NEWADDR {ip}/{prefix} dev {index}")


def same_addresses(replies: Iterable[Reply], index: int) -> Iterator[Request]:
    """Give a link the lasting addresses that another one has, by a list_addresses answer.

    Those are the permanent ones that hold beyond the link: config-linux.md, Network Devices.
    """
    for reply in replies:
        family, prefix, short, scope, _ = _IFADDRMSG.unpack_from(reply.body)
        found = netlink.attributes(reply.body[_IFADDRMSG.size :])
        flags = int.from_bytes(found.get(_IFA_FLAGS, bytes([short])), sys.byteorder)
        if scope != _RT_SCOPE_UNIVERSE or not flags & _IFA_F_PERMANENT:
            continue
        kinds = [k for k in (_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST) if k in found]
        body = _IFADDRMSG.pack(family, prefix, 0, 0, index)
        body += b"".join(attribute(kind, found[kind]) for kind in kinds)
        shown = _socket.inet_ntop(family, found[_IFA_ADDRESS])
        yield Request(_RTM_NEWADDR, _CREATE, body, f"RTM_NEWADDR {shown}/{prefix} dev {index}")


def list_addresses(index: int, family: int = _socket.AF_INET) -> Request:
    """Ask for the addresses of one link."""
    body = _IFADDRMSG.pack(family, 0, 0, 0, index)
    return Request(_RTM_GETADDR, NLM_F_DUMP, body, f"RTM_GETADDR dev {index}")


def add_default_route(gateway: str) -> Request:
    """Send everything that is not in a connected subnet to the gateway."""
    kinds = (_RT_TABLE_MAIN, _RTPROT_BOOT, _RT_SCOPE_UNIVERSE, _RTN_UNICAST, 0)
    body = _RTMSG.pack(_socket.AF_INET, 0, 0, 0, *kinds)
    body += attribute(_RTA_GATEWAY, _socket.inet_aton(gateway))
    return Request(_RTM_NEWROUTE, _CREATE, body, f"RTM_NEWROUTE default via {gateway}")


def list_routes() -> Request:
    """Ask for the IPv4 routes of the main table."""
    body = _RTMSG.pack(_socket.AF_INET, 0, 0, 0, _RT_TABLE_MAIN, 0, 0, 0, 0)
    body += u32(_RTA_TABLE, _RT_TABLE_MAIN)
    return Request(_RTM_GETROUTE, NLM_F_DUMP, body, "RTM_GETROUTE table main")


def parse_links(replies: Iterable[Reply]) -> Iterator[Link]:
    """Yield the links of a get_link or list_links answer."""
    for reply in replies:
        _, _, index, _, _ = _IFINFOMSG.unpack_from(reply.body)
        found = netlink.attributes(reply.body[_IFINFOMSG.size :])
        info = netlink.attributes(found.get(_IFLA_LINKINFO, b""))
        kind = _string(info.get(_IFLA_INFO_KIND, b""))
        (master,) = struct.unpack("=I", found.get(_IFLA_MASTER, bytes(4)))
        yield Link(index, _string(found[_IFLA_IFNAME]), kind, master)


def parse_addresses(replies: Iterable[Reply]) -> Iterator[Address]:
    """Yield the addresses of a list_addresses answer."""
    for reply in replies:
        _, prefix, _, _, index = _IFADDRMSG.unpack_from(reply.body)
        found = netlink.attributes(reply.body[_IFADDRMSG.size :])
        yield Address(index, _socket.inet_ntoa(found[_IFA_LOCAL]), prefix)


def parse_routes(replies: Iterable[Reply]) -> Iterator[tuple[str, int]]:
    """Yield (network, prefix length) of the routes; the default route is ("0.0.0.0", 0)."""
    for reply in replies:
        _, prefix, *_ = _RTMSG.unpack_from(reply.body)
        found = netlink.attributes(reply.body[_RTMSG.size :])
        yield _socket.inet_ntoa(found.get(_RTA_DST, bytes(4))), prefix


def parse_uplinks(replies: Iterable[Reply]) -> Iterator[int]:
    """Yield the index of the outgoing link of every route."""
    for reply in replies:
        found = netlink.attributes(reply.body[_RTMSG.size :])
        if _RTA_OIF in found:
            yield struct.unpack("=I", found[_RTA_OIF])[0]


def _ifinfo(index: int = 0, *, up: bool = False) -> bytes:
    flags = _IFF_UP if up else 0
    return _IFINFOMSG.pack(_socket.AF_UNSPEC, 0, index, flags, flags)


def _mac(address: str) -> bytes:
    return bytes.fromhex(address.replace(":", ""))


def _string(value: bytes) -> str:
    return value.rstrip(b"\0").decode()
