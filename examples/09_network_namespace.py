"""09 A network of one's own, and a cable to it.

Idea: a new network namespace has its own interfaces, addresses, routes, ports and firewall: one
    interface, lo, and even that is off. A veth pair is a cable whose two ends may be in two
    namespaces; what goes in at one end comes out at the other.
Run: python examples/09_network_namespace.py
    Both ends are in namespaces of ours. A cable to the machine itself takes the machine's root.
Look: ENETUNREACH turns into ECONNREFUSED once lo is up: now somebody is there to refuse. Then the
    route that the kernel adds for an address, and the default route that we add.
Break it: leave out set_up(LOOPBACK_INDEX): 127.0.0.1 stays unreachable, for every program in there.
Real world: minirun/network/connect.py; runc leaves it to hooks, Docker to libnetwork
man: network_namespaces(7), veth(4), rtnetlink(7)
"""

from __future__ import annotations

import errno
import os
import socket

from stage import become_root

from minirun import kernel
from minirun.flags import Clone
from minirun.network import links
from minirun.network.netlink import NETLINK_ROUTE, NetlinkSocket


def new_network() -> tuple[int, NetlinkSocket]:
    """Move to a new namespace; return a handle on it and a line to the kernel that stays there."""
    kernel.unshare(Clone.CLONE_NEWNET)
    return os.open("/proc/self/ns/net", os.O_RDONLY), NetlinkSocket(NETLINK_ROUTE)


def reach(address: str) -> str:
    """Try to connect, and return how that ended."""
    with socket.socket() as attempt:
        return errno.errorcode.get(attempt.connect_ex((address, 8080)), "connected")


become_root()
host_fd, host = new_network()
box_fd, box = new_network()  # and here we are
print(f"{[link.name for link in links.parse_links(box.request(links.list_links()))]}")
# expect: ['lo'…]
print(f"127.0.0.1: {reach('127.0.0.1')}")
# expect: 127.0.0.1: ENETUNREACH
box.request(links.set_up(links.LOOPBACK_INDEX))
print(f"127.0.0.1: {reach('127.0.0.1')}")
# expect: 127.0.0.1: ECONNREFUSED

host.request(links.new_veth("cable", 0, "eth0", "02:00:00:00:00:02", box_fd))
(near,) = links.parse_links(host.request(links.get_link("cable")))
host.request(links.add_address(near.index, "10.0.0.1", 24))
(far,) = links.parse_links(box.request(links.get_link("eth0")))
box.request(links.set_up(far.index), links.add_address(far.index, "10.0.0.2", 24))
box.request(links.add_default_route("10.0.0.1"))
print(f"routes: {sorted(links.parse_routes(box.request(links.list_routes())))}")
# expect: routes: [('0.0.0.0', 0), ('10.0.0.0', 24)]

kernel.setns(host_fd, Clone.CLONE_NEWNET)
server = socket.create_server(("10.0.0.1", 8080))  # a socket stays in the namespace it is made in
kernel.setns(box_fd, Clone.CLONE_NEWNET)
print(f"10.0.0.1: {reach('10.0.0.1')}, and the server sees {server.accept()[1][0]}")
# expect: 10.0.0.1: connected, and the server sees 10.0.0.2
