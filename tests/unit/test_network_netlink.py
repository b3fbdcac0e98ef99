"""Our messages, read by pyroute2: a second implementation of the same format."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from minirun.errors import SyscallError
from minirun.network import links
from minirun.network.netlink import (
    NETLINK_ROUTE,
    NetlinkSocket,
    Request,
    attribute,
    attributes,
    nested,
)


def decoded(request: Request, kind: str) -> Any:  # noqa: ANN401 - the library has no types
    """Return what pyroute2 understands of a message."""
    pyroute2 = pytest.importorskip("pyroute2.netlink.rtnl." + kind)
    header = struct.pack("=IHHII", 16 + len(request.body), request.kind, request.flags, 1, 0)
    message = getattr(pyroute2, kind)(header + request.body)
    message.decode()
    return message


def test_new_bridge_is_understood() -> None:
    message = decoded(links.new_bridge("minirun0", "02:42:0a:d5:00:01"), "ifinfmsg")
    assert message.get("ifname") == "minirun0"
    assert message.get("address") == "02:42:0a:d5:00:01"
    assert message.get(("linkinfo", "kind")) == "bridge"


def test_new_veth_is_understood() -> None:
    request = links.new_veth("mr-0ad50002", 7, "eth0", "02:42:0a:d5:00:02", 9)
    message = decoded(request, "ifinfmsg")
    peer = message.get(("linkinfo", "data")).get_attr("VETH_INFO_PEER")
    assert (message.get("master"), message["flags"] & 1) == (7, 1)
    assert (peer.get("ifname"), peer.get("net_ns_fd")) == ("eth0", 9)
    assert peer.get("address") == "02:42:0a:d5:00:02"


def test_set_hairpin_is_understood() -> None:
    message = decoded(links.set_hairpin("mr-0ad50002"), "ifinfmsg")
    assert message.get(("linkinfo", "slave_kind")) == "bridge"
    assert message.get(("linkinfo", "slave_data")).get("mode") == 1


def test_add_address_is_understood() -> None:
    message = decoded(links.add_address(3, "10.213.0.2", 16), "ifaddrmsg")
    assert (message["index"], message["prefixlen"]) == (3, 16)
    assert message.get("local") == message.get("address") == "10.213.0.2"
    assert message.get("broadcast") == "10.213.255.255"


def test_add_default_route_is_understood() -> None:
    message = decoded(links.add_default_route("10.213.0.1"), "rtmsg")
    assert (message["family"], message["dst_len"]) == (socket.AF_INET, 0)
    assert message.get("gateway") == "10.213.0.1"


def test_attributes_reads_what_nested_wrote() -> None:
    data = nested(5, attribute(1, b"odd"), attribute(2, b""))
    assert attributes(attributes(data)[5]) == {1: b"odd", 2: b""}


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\1\0", b"\xff\xff\1\0ab"])
def test_attributes_survives_garbage(data: bytes) -> None:
    """What if a length is zero, or longer than what is there: no endless loop, no exception."""
    attributes(data)


def test_request_finds_loopback() -> None:
    with NetlinkSocket(NETLINK_ROUTE) as route:
        (link,) = links.parse_links(route.request(links.get_link("lo")))
        assert link == links.Link(1, "lo", "", 0)
        names = [found.name for found in links.parse_links(route.request(links.list_links()))]
        assert sorted(names) == sorted(name for _, name in socket.if_nameindex())
        addresses = list(links.parse_addresses(route.request(links.list_addresses(1))))
    assert links.Address(1, "127.0.0.1", 8) in addresses


def test_request_reports_the_call_and_the_kernels_words() -> None:
    missing = links.get_link("no-such-link")
    with NetlinkSocket(NETLINK_ROUTE) as route, pytest.raises(SyscallError, match="link: ENODEV"):
        route.request(missing)
    with NetlinkSocket(NETLINK_ROUTE) as route, pytest.raises(SyscallError) as error:
        route.request(Request(24, 0, b"\2" + bytes(11) + attribute(1, b"short"), "RTM_NEWROUTE"))
    assert error.value.call == "RTM_NEWROUTE"
