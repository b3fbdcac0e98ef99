"""The packet filter: one nftables table per bridge, whose rules never change.

Rules are written once, as the text that nft(8) reads and prints, when the bridge is made. What
changes with containers is the content of two maps, and that goes through netlink directly: one
transaction of some sixty microseconds, where running nft costs four to seven milliseconds.

    client ─▶ host:8080 ─▶ prerouting or output: is tcp . 8080 in the map? ─▶ 10.213.0.2:80

A verdict in this table does not overrule another table: every base chain at a hook is asked, and
one drop is final. ``compat.py`` deals with a host whose own rules drop what is forwarded.

See: nft(8), <linux/netfilter/nf_tables.h>. Next: ``compat.py``.
"""

from __future__ import annotations

import _socket
import errno
import struct

from ..errors import NetworkError, SyscallError
from .flows import delete_each
from .netlink import NLM_F_CREATE, NetlinkSocket, Request, attribute, nested, text
from .publish import ANY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .flows import Flow
    from .leases import Lease
    from .publish import PortMapping

_RULESET = """\
add table ip {table}
delete table ip {table}
table ip {table} {{
    # host port -> container; the second map is for ports published on one address only.
    map published {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
    map published_at {{
        type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service;
    }}
    set uplinks {{ type ifname; {uplinks} }}

    chain before_conntrack {{
        type filter hook prerouting priority raw; policy accept;
        # route_localnet is on for this bridge; without this line a container could
        # reach whatever the host serves on 127.0.0.1 (CVE-2020-8558).
        iifname "{bridge}" ip daddr 127.0.0.0/8 drop
        iifname "{bridge}" ip saddr != {subnet} drop
    }}
    chain from_outside {{
        type nat hook prerouting priority dstnat; policy accept;
        fib daddr type local jump publish
    }}
    chain from_host {{
        type nat hook output priority -100; policy accept;
        fib daddr type local jump publish
    }}
    chain publish {{
        meta l4proto {{ tcp, udp }} dnat ip to ip daddr . meta l4proto . th dport map @published_at
        meta l4proto {{ tcp, udp }} dnat ip to meta l4proto . th dport map @published
    }}
    chain leaving {{
        type nat hook postrouting priority srcnat; policy accept;
        # out into the world: answers must come back to the host
        ip saddr {subnet} oifname != "{bridge}" masquerade
        # a container that calls a published port: the answer must come back through the host
        ip saddr {subnet} oifname "{bridge}" ct status dnat masquerade
        # the host calling 127.0.0.1: a container could not answer to that address
        ip saddr 127.0.0.0/8 oifname "{bridge}" masquerade
    }}
    chain forwarding {{
        type filter hook forward priority filter; policy accept;
        oifname "{bridge}" ct state established,related accept
        oifname "{bridge}" iifname "{bridge}" accept
        oifname "{bridge}" ct status dnat accept
        # only published ports: the host's neighbours may well have a route to {subnet}
        oifname "{bridge}" drop
        # forwarding was off: the host did not route between its own links and still does not
        iifname @uplinks oifname @uplinks drop
    }}
}}
"""

_SUBSYSTEM = 10 << 8
_DELTABLE, _GETTABLE = _SUBSYSTEM | 2, _SUBSYSTEM | 1
_NEWSETELEM, _DELSETELEM = _SUBSYSTEM | 12, _SUBSYSTEM | 14
_FAMILY_IP = struct.pack("=BBH", _socket.AF_INET, 0, 0)  # struct nfgenmsg

_NFTA_TABLE_NAME = 1
_NFTA_LIST_TABLE, _NFTA_LIST_SET, _NFTA_LIST_ELEMENTS = 1, 2, 3
_NFTA_LIST_ELEM = 1
_NFTA_ELEM_KEY, _NFTA_ELEM_DATA, _NFTA_ELEM_USERDATA = 1, 2, 6
_NFTA_DATA_VALUE = 1
_PER_MESSAGE = 256  # an attribute ends at 64 KiB

_CT_DELETE = 1 << 8 | 2
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_FILTER = 1, 2, 25
_CTA_TUPLE_IP, _CTA_TUPLE_PROTO = 1, 2
_CTA_IP_V4_SRC, _CTA_PROTO_NUM, _CTA_PROTO_DST_PORT = 1, 1, 3
_FILTER_IP_SRC, _FILTER_PROTO_NUM, _FILTER_DST_PORT = 1 << 0, 1 << 3, 1 << 5
_PROTOCOLS = {"tcp": _socket.IPPROTO_TCP, "udp": _socket.IPPROTO_UDP}


def ruleset(table: str, bridge: str, subnet: str, uplinks: Iterable[str] = ()) -> str:
    """Return the table as nft(8) reads it.

    Args:
        table: its name.
        bridge: the link whose containers it serves.
        subnet: their addresses, as ``10.213.0.0/16``.
        uplinks: the host's links, where it was minirun that switched forwarding on.
    """
    names = ", ".join(f'"{name}"' for name in uplinks)
    elements = f"elements = {{ {names} }}" if names else ""
    return _RULESET.format(table=table, bridge=bridge, subnet=subnet, uplinks=elements)


def load(rules: str) -> None:
    """Hand a ruleset to nft(8), which makes one transaction of it.

    Raises:
        NetworkError: nft is not installed, or refuses; nothing was changed.
    """
    import subprocess

    try:
        done = subprocess.run(
            ["nft", "-f", "-"], input=rules, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        hint = "install the package nftables, or use --network none or host"
        raise NetworkError("nft is not installed", hint=hint) from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[0]
        hint = "the kernel needs nf_tables and nft_nat; `nft list ruleset` should work"
        raise NetworkError(f"nft refused the rules: {said}", hint=hint)


def table_exists(netfilter: NetlinkSocket, table: str) -> bool:
    """Return True when the table is there: a firewall reload on the host may have flushed it."""
    body = _FAMILY_IP + text(_NFTA_TABLE_NAME, table)
    try:
        netfilter.request(Request(_GETTABLE, 0, body, f"NFT_MSG_GETTABLE {table}"))
    except SyscallError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def delete_table(netfilter: NetlinkSocket, table: str) -> None:
    """Delete the table with everything in it, where it exists."""
    if table_exists(netfilter, table):
        body = _FAMILY_IP + text(_NFTA_TABLE_NAME, table)
        netfilter.send_batch([Request(_DELTABLE, 0, body, f"NFT_MSG_DELTABLE {table}")])


def publish(netfilter: NetlinkSocket, table: str, lease: Lease) -> None:
    """Translate the lease's host ports to its container, all of them in one transaction."""
    if lease.ports:
        netfilter.send_batch(list(_elements(_NEWSETELEM, table, lease)))
        forget_before(netfilter, lease.ports)


def unpublish(netfilter: NetlinkSocket, table: str, lease: Lease) -> None:
    """Stop translating; what is not there any more is no error."""
    together = list(_elements(_DELSETELEM, table, lease))
    if together and not _is_deleted(netfilter, together):
        # One that is missing makes a transaction fail as a whole: one transaction for each.
        for request in _elements(_DELSETELEM, table, lease, per_message=1):
            _is_deleted(netfilter, [request])


def _is_deleted(netfilter: NetlinkSocket, requests: list[Request]) -> bool:
    try:
        netfilter.send_batch(requests)
    except SyscallError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def rebuild(netfilter: NetlinkSocket, table: str, leases: Iterable[Lease]) -> None:
    """Make the maps say exactly what the leases say: flush and fill, in one transaction."""
    requests = [_flush(table, name) for name in ("published", "published_at")]
    for lease in leases:
        requests += _elements(_NEWSETELEM, table, lease)
    netfilter.send_batch(requests)


def forget(netfilter: NetlinkSocket, ip: str) -> None:
    """Make the kernel forget translated flows to an address that is given back.

    A UDP client that keeps sending would otherwise be led to whoever gets the address next.
    """
    source = nested(_CTA_TUPLE_IP, attribute(_CTA_IP_V4_SRC, _socket.inet_aton(ip)))
    mask = nested(_CTA_FILTER, *_filter_flags(0, _FILTER_IP_SRC))
    body = _FAMILY_IP + nested(_CTA_TUPLE_REPLY, source) + mask
    request = Request(_CT_DELETE, 0, body, f"IPCTNL_MSG_CT_DELETE reply from {ip}")
    _forget(netfilter, request, lambda flow: flow.answered_by == ip)


def forget_before(netfilter: NetlinkSocket, ports: Sequence[PortMapping]) -> None:
    """Make the kernel forget UDP flows that began before their port was published.

    Translation is decided at a flow's first packet: a client that was sending already would never
    reach the container.
    """
    for port in ports:
        if port.protocol != "udp":
            continue
        number = attribute(_CTA_PROTO_NUM, bytes([_socket.IPPROTO_UDP]))
        target = attribute(_CTA_PROTO_DST_PORT, struct.pack(">H", port.host_port))
        mask = nested(_CTA_FILTER, *_filter_flags(_FILTER_PROTO_NUM | _FILTER_DST_PORT, 0))
        flow = nested(_CTA_TUPLE_ORIG, nested(_CTA_TUPLE_PROTO, number, target))
        call = f"IPCTNL_MSG_CT_DELETE udp dport {port.host_port}"
        request = Request(_CT_DELETE, 0, _FAMILY_IP + flow + mask, call)
        _forget(netfilter, request, _is_udp_to(port.host_port))


def _forget(netfilter: NetlinkSocket, request: Request, is_meant: Callable[[Flow], bool]) -> None:
    """Delete flows by pattern, or one by one where the kernel cannot."""
    try:
        netfilter.request(request)
    except SyscallError as error:
        if error.errno not in (errno.ENOENT, errno.EINVAL, errno.EOPNOTSUPP):
            raise
        delete_each(netfilter, is_meant)


def _is_udp_to(port: int) -> Callable[[Flow], bool]:
    return lambda flow: (flow.protocol, flow.port) == (_socket.IPPROTO_UDP, port)


def _filter_flags(original: int, reply: int) -> Iterator[bytes]:
    """Yield CTA_FILTER_ORIG_FLAGS and CTA_FILTER_REPLY_FLAGS: which parts of a tuple count."""
    yield attribute(1, struct.pack("=I", original))
    yield attribute(2, struct.pack("=I", reply))


# ── map elements ──────────────────────────────────────────────────────────────────────────────


def _elements(
    kind: int, table: str, lease: Lease, per_message: int = _PER_MESSAGE
) -> Iterator[Request]:
    """Yield the messages that add or delete a lease's elements."""
    anywhere = [port for port in lease.ports if port.host_ip == ANY]
    somewhere = [port for port in lease.ports if port.host_ip != ANY]
    for name, ports in (("published", anywhere), ("published_at", somewhere)):
        for start in range(0, len(ports), per_message):
            chunk = ports[start : start + per_message]
            elements = [_element(port, lease, with_data=kind == _NEWSETELEM) for port in chunk]
            texts = ", ".join(element_text(port, lease.ip) for port in chunk)
            verb = "NFT_MSG_NEWSETELEM" if kind == _NEWSETELEM else "NFT_MSG_DELSETELEM"
            body = _map(table, name) + nested(_NFTA_LIST_ELEMENTS, *elements)
            flags = NLM_F_CREATE if kind == _NEWSETELEM else 0
            yield Request(kind, flags, body, f"{verb} {name} {{ {texts} }}")


def element_text(port: PortMapping, ip: str) -> str:
    """Return an element as ``nft list`` prints it.

    >>> from minirun.network.publish import PortMapping
    >>> element_text(PortMapping(80, "tcp", "0.0.0.0", 8080), "10.213.0.2")
    'tcp . 8080 : 10.213.0.2 . 80'
    """
    key = "" if port.host_ip == ANY else f"{port.host_ip} . "
    return f"{key}{port.protocol} . {port.host_port or '<free>'} : {ip} . {port.container_port}"


def _element(port: PortMapping, lease: Lease, *, with_data: bool) -> bytes:
    """Return one element; every part of a concatenation takes four bytes."""
    parts = b"" if port.host_ip == ANY else _socket.inet_aton(port.host_ip)
    parts += bytes([_PROTOCOLS[port.protocol], 0, 0, 0]) + struct.pack(">HH", port.host_port, 0)
    element = nested(_NFTA_ELEM_KEY, attribute(_NFTA_DATA_VALUE, parts))
    if with_data:
        target = _socket.inet_aton(lease.ip) + struct.pack(">HH", port.container_port, 0)
        element += nested(_NFTA_ELEM_DATA, attribute(_NFTA_DATA_VALUE, target))
        # What `nft list` prints as the element's comment: a type, a length, a string.
        comment = lease.container_id.encode()[:120] + b"\0"
        element += attribute(_NFTA_ELEM_USERDATA, bytes([0, len(comment)]) + comment)
    return nested(_NFTA_LIST_ELEM, element)


def _flush(table: str, name: str) -> Request:
    return Request(_DELSETELEM, 0, _map(table, name), f"NFT_MSG_DELSETELEM {table} {name}")


def _map(table: str, name: str) -> bytes:
    return _FAMILY_IP + text(_NFTA_LIST_TABLE, table) + text(_NFTA_LIST_SET, name)
