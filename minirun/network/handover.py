"""Give an interface of the host to a container, and keep its addresses.

A device that is moved to another network namespace arrives there without addresses and switched
off, so they are noted before and put back after. When the namespace ends, a physical device returns
to the host by itself; a virtual one is deleted with it.

See: network_namespaces(7); runtime-spec, config-linux.md, Network Devices. Next: ``connect.py``.
"""

from __future__ import annotations

import _socket
import os

from ..errors import NetworkError, SyscallError
from . import links
from .connect import Inside
from .netlink import NETLINK_ROUTE, NetlinkSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .links import Link


def move_device(name: str, netns_fd: int, new_name: str = "") -> None:
    """Move one interface into a namespace, rename it there, and switch it on with its addresses.

    Args:
        name: on the host.
        netns_fd: where to.
        new_name: inside; "" keeps the name.

    Raises:
        NetworkError: there is no such interface, it cannot be moved, or the name is taken inside.
    """
    try:
        with NetlinkSocket(NETLINK_ROUTE) as outside:
            link = _find(outside, name)
            addresses = [
                reply
                for family in _families()
                for reply in outside.request(links.list_addresses(link.index, family))
            ]
            outside.request(links.move_link(link.index, netns_fd, new_name or name))
        with Inside(netns_fd), NetlinkSocket(NETLINK_ROUTE) as inside:
            moved = _find(inside, new_name or name)
            inside.request(*links.same_addresses(addresses, moved.index), links.set_up(moved.index))
    except SyscallError as error:
        raise NetworkError(
            f"cannot move the interface {name}: {error}",
            hint="a bridge, lo and a tunnel cannot be moved; the name must be free inside",
        ) from error


def _families() -> tuple[int, ...]:
    """Return the families of addresses that this kernel has."""
    has_ipv6 = os.path.exists("/proc/self/net/if_inet6")
    return (_socket.AF_INET, _socket.AF_INET6) if has_ipv6 else (_socket.AF_INET,)


def _find(sock: NetlinkSocket, name: str) -> Link:
    """Return a link by name."""
    for link in links.parse_links(sock.request(links.get_link(name))):
        return link
    raise NetworkError(f"no interface {name}", hint="ip link lists them")
